//! Columns that the caller declares to be sorted, checked while they are written.

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    datatypes::Schema,
};

use super::claims::{has_checked_order, in_order};
use crate::error::{Error, Result};

/// Declared columns, and the last row that was checked.
#[derive(Default)]
pub(crate) struct DeclaredOrder {
    columns: Vec<Declared>,
    rows: usize,
}

struct Declared {
    position: usize,
    name: String,
    descending: bool,
    /// The last row so far.
    last: Option<ArrayRef>,
}

impl DeclaredOrder {
    /// `declared` has names of columns, and whether they descend.
    pub(crate) fn new(declared: &[(String, bool)], schema: &Schema) -> Result<Self> {
        let column = |(name, descending): &(String, bool)| {
            let what = || format!("`{name}` as a sorted column");
            let Some((position, field)) = schema.column_with_name(name) else {
                return Err(Error::invalid(what(), "the table has no such column"));
            };
            if !has_checked_order(field.data_type()) {
                let detail = format_args!("columns of type {} have no order that is checked", field.data_type());
                return Err(Error::invalid(what(), detail));
            }
            Ok(Declared { position, name: name.clone(), descending: *descending, last: None })
        };
        Ok(Self { columns: declared.iter().map(column).collect::<Result<_>>()?, rows: 0 })
    }

    /// Checks the next rows.
    pub(crate) fn check(&mut self, batch: &RecordBatch) -> Result<()> {
        for declared in &mut self.columns {
            let Some(column) = batch.columns().get(declared.position).filter(|column| !column.is_empty()) else {
                continue;
            };
            let wrong =
                |detail: String| Err(Error::invalid(format_args!("`{}` as a sorted column", declared.name), detail));
            if column.null_count() > 0 {
                return wrong("it has nulls".to_owned());
            }
            let follows = |last: &ArrayRef| in_order(last, column, std::iter::once((0, 0)), declared.descending);
            let pairs = || (0..column.len()).zip(1..column.len());
            let is_sorted =
                declared.last.as_ref().is_none_or(follows) && in_order(column, column, pairs(), declared.descending);
            if !is_sorted {
                let at = pairs().position(|pair| !in_order(column, column, std::iter::once(pair), declared.descending));
                let row = self.rows + at.map_or(0, |pair| pair + 1);
                let order = if declared.descending { "descending" } else { "ascending" };
                return wrong(format!("row {row} is not in {order} order"));
            }
            declared.last = Some(column.slice(column.len() - 1, 1));
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Positions of the columns, and whether they descend.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (usize, bool)> {
        self.columns.iter().map(|declared| (declared.position, declared.descending))
    }
}
