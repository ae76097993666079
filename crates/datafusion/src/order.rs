//! In which order a table has its rows.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    compute::SortOptions,
    datatypes::DataType,
};
use coframe::SortedColumn;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column};

use crate::parts::Parts;

/// The orders that hold for all rows, in terms of these columns of the table.
///
/// A table of one frame has those of its sorted columns. For several frames no order is known: each is sorted by itself.
pub(crate) fn orderings(parts: &Parts, columns: &[usize]) -> Vec<LexOrdering> {
    let [part] = parts.frames.as_slice() else { return Vec::new() };
    let sorted = part.frame.sorted_columns().into_iter().filter(|sorted| columns.contains(&sorted.position));
    let expressions = sorted.filter_map(|SortedColumn { position, descending, .. }| {
        let field = part.frame.schema().fields().get(position)?;
        if !is_ordered_alike(field.data_type()) {
            return None;
        }
        let nulls_first = nulls_first(&part.frame.column(field.name()).ok()?, descending)?;
        let options = SortOptions { descending, nulls_first };
        Some(PhysicalSortExpr::new(Arc::new(Column::new(field.name(), position)), options))
    });
    expressions.filter_map(|expression| LexOrdering::new([expression])).collect()
}

/// Whether Polars, which set the flags of the frame, orders values of this type as Arrow does. It does not for floats, because
/// it treats both zeros as equal; for dictionaries, which it may order by key; and for 128-bit integers, which are binaries in
/// Arrow.
fn is_ordered_alike(data_type: &DataType) -> bool {
    let other = data_type.is_floating() || data_type.is_nested();
    !other
        && !matches!(
            data_type,
            DataType::Dictionary(..) | DataType::FixedSizeBinary(_) | DataType::Null | DataType::Interval(_)
        )
}

/// At which end the nulls are; without nulls, where SQL expects them. `None` if they are at neither end.
fn nulls_first(arrays: &[ArrayRef], descending: bool) -> Option<bool> {
    let mut arrays = arrays.iter().filter(|array| !array.is_empty());
    if arrays.clone().all(|array| array.null_count() == 0) {
        return Some(descending);
    }
    if arrays.clone().next()?.is_null(0) {
        return Some(true);
    }
    let last = arrays.next_back()?;
    last.is_null(last.len() - 1).then_some(false)
}
