//! Statistics of a table, without reading its rows.

use std::cmp::Ordering;

use arrow::{
    array::{Array, ArrayData, ArrayRef},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema},
};
use coframe::ColumnStatistics as Recorded;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics, stats::Precision};

use crate::{
    cut::width,
    parts::{Part, Parts},
};

/// Batches of a frame whose arrays are measured. The other batches are expected to be similar.
const MEASURED: usize = 8;

/// Statistics of the first `rows` rows, for these columns; those of the others are unknown.
pub(crate) fn statistics(parts: &Parts, rows: usize, columns: &[usize], schema: &Schema) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let mut total = 0;
    for column in columns {
        if let (Some(entry), Some(field)) =
            (statistics.column_statistics.get_mut(*column), schema.fields().get(*column))
        {
            *entry = of_column(parts, *column, field.data_type());
            let bytes = scaled(bytes_of_column(parts, field), rows, parts.rows);
            entry.byte_size = Precision::Inexact(bytes);
            total += bytes;
        }
    }
    // Of these columns only: DataFusion plans joins by it, and keeps the side with fewer bytes in memory.
    statistics.total_byte_size = Precision::Inexact(total);
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
                // A batch of nulls has no bounds. A batch with a NaN has no bounds either, and then those of the column are unknown.
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

/// Bytes that a column takes in memory. Reads no values: strings and lists are measured by the lengths of their buffers.
fn bytes_of_column(parts: &Parts, field: &Field) -> usize {
    match field.data_type().primitive_width() {
        Some(width) => parts.rows * width,
        None => parts.frames.iter().filter_map(|part| bytes_of_part(part, field.name())).sum(),
    }
}

fn bytes_of_part(part: &Part, column: &str) -> Option<usize> {
    let step = part.batches.len().div_ceil(MEASURED).max(1);
    let (mut rows, mut bytes) = (0, 0);
    for batch in part.batches.iter().step_by(step) {
        for array in part.frame.slice(batch.rows.clone()).ok()?.column(column).ok()? {
            rows += array.len();
            bytes += weight(&array.to_data());
        }
    }
    Some(scaled(bytes, part.frame.num_rows(), rows))
}

/// Bytes of the rows of an array, as their share of its buffers. Values of dictionaries are shared by many batches, and
/// count nothing.
fn weight(data: &ArrayData) -> usize {
    let rows = data.len();
    let children = match data.data_type() {
        DataType::Boolean => return rows.div_ceil(8),
        DataType::Dictionary(..) => 0,
        _ => data.child_data().iter().map(weight).sum(),
    };
    // A slice has shorter buffers of fixed width, but their capacity is that of the whole batch.
    let mut buffers: usize = data.buffers().iter().map(Buffer::capacity).sum();
    if matches!(data.data_type(), DataType::Utf8View | DataType::BinaryView) {
        // A join copies long strings into blocks of which each is twice as large as the one before, and accounts whole
        // blocks. So does `MemTable`.
        buffers += data.buffers().iter().skip(1).map(Buffer::len).sum::<usize>();
    }
    let held =
        width(data.data_type()).zip(data.buffers().first()).map(|(width, first)| first.capacity() / width.max(1));
    scaled(buffers + children, rows, held.unwrap_or(rows).max(rows)) + data.nulls().map_or(0, |_| rows.div_ceil(8))
}

/// `value * part / whole`; 0 of nothing.
fn scaled(value: usize, part: usize, whole: usize) -> usize {
    let product = value as u128 * part as u128;
    product.checked_div(whole as u128).and_then(|share| usize::try_from(share).ok()).unwrap_or(0)
}
