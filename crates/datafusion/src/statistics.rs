//! What a table knows of its rows before it reads them.

use std::cmp::Ordering;

use arrow::{
    array::{Array, ArrayRef},
    datatypes::{DataType, Schema},
};
use coframe::ColumnStatistics as Recorded;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics, stats::Precision};

use crate::parts::{Part, Parts};

/// Statistics of the first `rows` rows, for these columns; those of the others are unknown.
pub(crate) fn statistics(parts: &Parts, rows: usize, columns: &[usize], schema: &Schema) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    for column in columns {
        if let (Some(entry), Some(field)) =
            (statistics.column_statistics.get_mut(*column), schema.fields().get(*column))
        {
            *entry = of_column(parts, *column, field.data_type());
        }
    }
    let bytes = parts.frames.iter().map(|part| part.frame.size_bytes()).sum();
    statistics.total_byte_size = Precision::Inexact(bytes);
    if rows < parts.rows {
        statistics = statistics.to_inexact();
    }
    statistics.num_rows = Precision::Exact(rows);
    statistics
}

fn of_column(parts: &Parts, column: usize, data_type: &DataType) -> ColumnStatistics {
    let mut found = ColumnStatistics::new_unknown();
    let recorded = |part: &Part| part.statistics.as_ref().and_then(|all| all.columns().get(column)).cloned();
    let Some(columns) = parts.frames.iter().map(recorded).collect::<Option<Vec<Recorded>>>() else { return found };
    let mut nulls = columns.iter().flat_map(|column| column.null_counts().iter());
    if let Some(nulls) = nulls.try_fold(0_usize, |sum, nulls| sum.checked_add(usize::try_from(nulls?).ok()?)) {
        found.null_count = Precision::Exact(nulls);
    }
    // DataFusion expects bounds in the column's own type, and computes `min` of a dictionary in that of its values.
    if !matches!(data_type, DataType::Dictionary(..)) {
        let bound = |which, side| bound(parts, &columns, which, side).unwrap_or(Precision::Absent);
        found.min_value = bound(Recorded::min, Ordering::Less);
        found.max_value = bound(Recorded::max, Ordering::Greater);
    }
    found
}

/// The least or greatest of the bounds of all batches; `None` if one of them is not known.
fn bound(
    parts: &Parts,
    columns: &[Recorded],
    which: fn(&Recorded) -> Option<&ArrayRef>,
    side: Ordering,
) -> Option<Precision<ScalarValue>> {
    let (mut best, mut exact) = (None::<ScalarValue>, true);
    for (part, column) in parts.frames.iter().zip(columns) {
        let (bounds, nulls) = (which(column)?, column.null_counts());
        for batch in &part.batches {
            let position = batch.position;
            if bounds.is_null(position) {
                // A batch without any value has no bounds; one with a NaN has none either, and then they are not known.
                if nulls.is_valid(position) && usize::try_from(nulls.value(position)) == Ok(batch.rows.len()) {
                    continue;
                }
                return None;
            }
            exact &= column.is_exact().value(position);
            let value = ScalarValue::try_from_array(bounds, position).ok()?;
            if best.as_ref().is_none_or(|best| value.partial_cmp(best) == Some(side)) {
                best = Some(value);
            }
        }
    }
    best.map(|best| if exact { Precision::Exact(best) } else { Precision::Inexact(best) })
}
