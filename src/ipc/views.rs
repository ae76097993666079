//! Compacting view columns whose buffers hold mostly what no row refers to.

use arrow::{
    array::{ArrayData, ArrayRef, AsArray, make_array},
    datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType},
};

use super::tree::{any_type, children, rebuild};
use crate::error::{Error, Result};

/// Buffers below this size are written as they are: less than a page is not worth a pass over the rows.
const SMALL: usize = 4096;
/// Above this many rows the share is estimated from evenly spread blocks, since reading every view of a frame costs
/// about a tenth of writing it.
const SAMPLED_ABOVE: usize = 1 << 16;
const BLOCK: usize = 1 << 10;
const STRIDE: usize = 16 * BLOCK;
/// Arrow's offset in a view is 32 bits, and readers take it as signed.
const MAX_BUFFER: usize = (1 << 31) - 1;

/// Compacts every view array inside the column that needs it; others are shared.
pub(super) fn compact(name: &str, column: ArrayRef, gathered: bool) -> Result<ArrayRef> {
    let is_view = |data_type: &DataType| matches!(data_type, DataType::Utf8View | DataType::BinaryView);
    if !any_type(column.data_type(), &is_view) {
        return Ok(column);
    }
    let data = column.to_data();
    drop(column);
    // Gathering has compacted what is no child already (`batches`).
    let gathered = gathered && !is_view(data.data_type());
    let data = compact_data(data, gathered);
    check_limit(name, &data)?;
    Ok(make_array(data))
}

fn compact_data(data: ArrayData, gathered: bool) -> ArrayData {
    match data.data_type() {
        DataType::Utf8View => compact_views::<StringViewType>(data, gathered),
        DataType::BinaryView => compact_views::<BinaryViewType>(data, gathered),
        nested if children(nested).next().is_some() => {
            let inner = data.child_data().iter().map(|child| compact_data(child.clone(), gathered)).collect();
            let data_type = nested.clone();
            rebuild(data, data_type, inner)
        }
        _ => data,
    }
}

fn compact_views<T: ByteViewType>(data: ArrayData, gathered: bool) -> ArrayData {
    let buffers = data.buffers().get(1..).unwrap_or_default();
    let held: usize = buffers.iter().map(arrow::buffer::Buffer::len).sum();
    // A gathered column lists the buffers of all its parts, the same ones many times over.
    let repeated = gathered && buffers.len() > 1;
    let oversized = buffers.iter().any(|buffer| buffer.len() > MAX_BUFFER);
    if !repeated && !oversized && held <= SMALL {
        return data;
    }
    let array = make_array(data);
    let views = array.as_byte_view::<T>();
    // Fewer than three quarters referenced: the same copy that writing needs also saves the room.
    if repeated || oversized || referenced(views.views(), held) < held / 4 * 3 {
        return arrow::array::Array::to_data(&views.gc());
    }
    arrow::array::Array::to_data(views)
}

/// Bytes outside the views that rows refer to; an estimate for long columns.
fn referenced(views: &[u128], held: usize) -> usize {
    if views.len() <= SAMPLED_ABOVE {
        return outside(views);
    }
    let blocks = views.chunks(STRIDE).map(|stride| stride.get(..BLOCK).unwrap_or(stride));
    let (seen, bytes) = blocks.fold((0, 0), |(seen, bytes), block| (seen + block.len(), bytes + outside(block)));
    let share = bytes.saturating_mul(views.len()) / seen.max(1);
    share.min(held)
}

/// Bytes that these views keep outside themselves.
pub(super) fn outside(views: &[u128]) -> usize {
    views.iter().map(|view| outside_len(*view)).sum()
}

/// The length that a view keeps outside itself: its low 32 bits, where they are above 12.
fn outside_len(view: u128) -> usize {
    let [a, b, c, d, ..] = view.to_le_bytes();
    let len = u32::from_le_bytes([a, b, c, d]);
    if len > 12 { usize::try_from(len).unwrap_or(usize::MAX) } else { 0 }
}

fn check_limit(name: &str, data: &ArrayData) -> Result<()> {
    if matches!(data.data_type(), DataType::Utf8View | DataType::BinaryView) {
        let largest = data.buffers().iter().skip(1).map(arrow::buffer::Buffer::len).max().unwrap_or(0);
        if largest > MAX_BUFFER {
            return Err(Error::unsupported(
                format_args!("column `{name}`, one of whose values has {largest} bytes, more than {MAX_BUFFER},"),
                "publish it with Layout::Classic",
            ));
        }
    }
    data.child_data().iter().try_for_each(|child| check_limit(name, child))
}
