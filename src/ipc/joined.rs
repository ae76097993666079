//! The hints of a frame that consists of several tables.

use arrow::array::{Array, ArrayRef, RecordBatch};

use super::{
    claims::{has_checked_order, in_order},
    footer::PolarsHints,
};

/// The hints of the rows that were written so far, one table after the other.
#[derive(Default)]
pub(crate) struct JoinedHints {
    is_begun: bool,
    polars: bool,
    sorted: Vec<Sorted>,
    /// Number of tables with rows.
    tables: usize,
    is_new: bool,
}

/// A column that is sorted so far.
struct Sorted {
    column: usize,
    descending: bool,
    has_nulls: bool,
    /// Its last row.
    last: Option<ArrayRef>,
}

impl JoinedHints {
    /// Starts a table with these hints; the next batches belong to it.
    pub(crate) fn start_table(&mut self, hints: PolarsHints) {
        if self.is_begun {
            self.polars &= hints.polars;
            self.sorted.retain(|known| hints.sorted.contains(&(known.column, known.descending)));
        } else {
            let sorted = |(column, descending)| Sorted { column, descending, has_nulls: false, last: None };
            self.sorted = hints.sorted.into_iter().map(sorted).collect();
            self.polars = hints.polars;
            self.is_begun = true;
        }
        self.is_new = true;
    }

    /// Takes the next batch of the table into account. Reads at most two rows.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        if batch.num_rows() == 0 {
            return;
        }
        let is_first = std::mem::take(&mut self.is_new);
        self.tables += usize::from(is_first);
        let several = self.tables > 1;
        self.sorted.retain_mut(|known| {
            let Some(column) = batch.columns().get(known.column) else { return false };
            known.has_nulls |= column.null_count() > 0;
            let is_checked = !known.has_nulls && has_checked_order(column.data_type());
            let follows = |last: &ArrayRef| {
                in_order(last, column, std::iter::once((last.len().saturating_sub(1), 0)), known.descending)
            };
            if several && !(is_checked && (!is_first || known.last.as_ref().is_some_and(follows))) {
                return false;
            }
            known.last = Some(column.slice(column.len() - 1, 1));
            true
        });
    }

    pub(crate) fn finish(self) -> PolarsHints {
        let sorted = self.sorted.into_iter().map(|known| (known.column, known.descending)).collect();
        PolarsHints { polars: self.polars, sorted }
    }
}
