//! The data buffers of string and binary views: parts to which rows refer are kept or copied, and the rest is left out.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray, GenericByteViewArray, make_array},
    buffer::{Buffer, NullBuffer},
    datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType},
    error::ArrowError,
};

use super::view_use::{Tally, Use, View, tally};
use crate::error::{Error, Result};
use crate::ipc::tree::view_array;

/// Arrow's offset in a view has 32 bits, and readers treat it as signed (FORMAT.md, rule S6).
const MAX_BUFFER: usize = (1 << 31) - 1;
/// Values that are copied go into blocks of this size at most.
const BLOCK: usize = 1 << 30;
/// Fewer bytes than an alignment gap, or than one byte a row, are not worth a pass over the rows.
const SMALL: usize = 64;
/// A lone buffer below this size is copied, so that a batch does not have thousands of buffers.
const MIN_KEPT: usize = 4096;
/// The same where small batches are gathered.
const MIN_KEPT_GATHERED: usize = 1 << 20;

pub(in crate::ipc) fn is_view(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView)
}

/// Compacts a view array whose buffers hold many bytes to which no row refers. Any other array is shared.
pub(in crate::ipc) fn compact(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8View => compact_views::<StringViewType>(array),
        DataType::BinaryView => compact_views::<BinaryViewType>(array),
        _ => Ok(array.clone()),
    }
}

fn compact_views<T: ByteViewType>(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let views = array.as_byte_view::<T>();
    let buffers = views.data_buffers();
    if buffers.is_empty() {
        return Ok(array.clone());
    }
    let distinct = Distinct::new(&[views]);
    let held: usize = distinct.buffers.iter().map(Buffer::len).sum();
    let is_plain = distinct.buffers.len() == buffers.len() && buffers.iter().all(|buffer| buffer.len() <= MAX_BUFFER);
    if is_plain && (held <= SMALL.max(views.len()) || is_well_used(views, &distinct, held)) {
        return Ok(array.clone());
    }
    join(&[views], &distinct, MIN_KEPT)
}

/// Whether rows refer to at least three quarters of the buffers.
fn is_well_used<T: ByteViewType>(views: &GenericByteViewArray<T>, distinct: &Distinct, held: usize) -> bool {
    let uses = tally(views.views(), views.nulls(), &distinct.slot_of_part(0), distinct.buffers.len(), Tally::Sampled);
    let used = uses.iter().zip(&distinct.buffers).map(|(used, buffer)| used.bytes.min(buffer.len()));
    used.sum::<usize>().saturating_mul(4) >= held.saturating_mul(3)
}

/// Joins the rows of several arrays, whose buffers may be different, or the same ones many times.
pub(in crate::ipc) fn gather<T: ByteViewType>(parts: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
    let parts: Vec<&GenericByteViewArray<T>> = parts.iter().map(|part| part.as_byte_view::<T>()).collect();
    join(&parts, &Distinct::new(&parts), MIN_KEPT_GATHERED)
}

fn join<T: ByteViewType>(
    parts: &[&GenericByteViewArray<T>],
    distinct: &Distinct,
    min_kept: usize,
) -> Result<ArrayRef, ArrowError> {
    let mut uses = vec![Use::default(); distinct.buffers.len()];
    for (part, slots) in parts.iter().zip(&distinct.slots) {
        let more = tally(part.views(), part.nulls(), slots, uses.len(), Tally::Exact);
        uses.iter_mut().zip(more).for_each(|(used, more)| used.add(&more));
    }
    let mut target = Target::new(&distinct.buffers, &uses, min_kept);
    let mut joined = Vec::with_capacity(parts.iter().map(Array::len).sum());
    for (part, slots) in parts.iter().zip(&distinct.slots) {
        for (row, view) in part.views().iter().enumerate() {
            // A null row refers to no bytes.
            let view = if part.is_null(row) { 0 } else { *view };
            joined.push(target.place(View::new(view), slots, &distinct.buffers).ok_or_else(|| {
                ArrowError::InvalidArgumentError(format!("the view in row {row} refers to no bytes of its buffers"))
            })?);
        }
    }
    let nulls = join_nulls(parts);
    Ok(make_array(view_array(T::DATA_TYPE, joined, target.finish(), nulls)))
}

fn join_nulls<T: ByteViewType>(parts: &[&GenericByteViewArray<T>]) -> Option<NullBuffer> {
    if let [one] = parts {
        return one.nulls().cloned();
    }
    if parts.iter().all(|part| part.null_count() == 0) {
        return None;
    }
    Some(parts.iter().flat_map(|part| (0..part.len()).map(|row| part.is_valid(row))).collect::<Vec<_>>().into())
}

/// The buffers of several arrays, each once.
struct Distinct {
    buffers: Vec<Buffer>,
    /// For each array, the place in `buffers` of each of its buffers.
    slots: Vec<Vec<usize>>,
}

impl Distinct {
    fn new<T: ByteViewType>(parts: &[&GenericByteViewArray<T>]) -> Self {
        let (mut known, mut buffers) = (HashMap::new(), Vec::new());
        let mut slot = |buffer: &Buffer| {
            *known.entry((buffer.as_ptr(), buffer.len())).or_insert_with(|| {
                buffers.push(buffer.clone());
                buffers.len() - 1
            })
        };
        let slots = parts.iter().map(|part| part.data_buffers().iter().map(&mut slot).collect()).collect();
        Self { buffers, slots }
    }

    fn slot_of_part(&self, part: usize) -> Vec<usize> {
        self.slots.get(part).cloned().unwrap_or_default()
    }
}

/// The new buffers of an array while its views are moved to them.
struct Target {
    /// The plan for each distinct buffer.
    plans: Vec<Plan>,
    kept: Vec<Buffer>,
    blocks: Vec<Vec<u8>>,
    /// Bytes that are still to be copied.
    to_copy: usize,
}

enum Plan {
    /// Its values are copied one by one.
    Copy,
    /// The part from `first` on is the buffer at `index`.
    Keep { index: usize, first: usize },
}

impl Target {
    fn new(buffers: &[Buffer], uses: &[Use], min_kept: usize) -> Self {
        let mut target =
            Self { plans: Vec::with_capacity(uses.len()), kept: Vec::new(), blocks: Vec::new(), to_copy: 0 };
        for (buffer, used) in buffers.iter().zip(uses) {
            let span = used.span();
            let is_dense = used.bytes.saturating_mul(4) >= span.saturating_mul(3) && span >= min_kept;
            // Rows that refer to the same bytes would multiply them.
            let is_repeated = used.bytes > span;
            if used.bytes == 0 || span > MAX_BUFFER || !(is_dense || is_repeated) {
                target.to_copy += used.bytes;
                target.plans.push(Plan::Copy);
                continue;
            }
            let part = buffer.slice_with_length(used.first, span);
            // A small part must not keep a large allocation alive while it waits to be written.
            let is_wasteful = min_kept == MIN_KEPT_GATHERED && span < part.capacity() / 4 * 3;
            target.plans.push(Plan::Keep { index: target.kept.len(), first: used.first });
            target.kept.push(if is_wasteful { Buffer::from(part.as_slice()) } else { part });
        }
        target
    }

    /// The view of the same bytes in the new buffers; `None` if it refers to none of the old ones.
    fn place(&mut self, view: View, slots: &[usize], buffers: &[Buffer]) -> Option<u128> {
        if view.is_inline() {
            return Some(view.bits());
        }
        let slot = *slots.get(view.buffer())?;
        match self.plans.get(slot)? {
            Plan::Keep { index, first } => view.moved(*index, view.offset().checked_sub(*first)?),
            Plan::Copy => {
                let bytes = buffers.get(slot)?.get(view.offset()..view.offset().checked_add(view.len())?)?;
                let (block, offset) = self.copy(bytes)?;
                view.moved(self.kept.len() + block, offset)
            }
        }
    }

    /// Copies bytes to the end of the last block, or of a new one; returns where they are.
    fn copy(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let is_full = |block: &Vec<u8>| block.len() + bytes.len() > BLOCK.max(bytes.len());
        if self.blocks.last().is_none_or(is_full) {
            // Allocated in its final size: a block that grows could stay half empty.
            self.blocks.push(Vec::with_capacity(self.to_copy.min(BLOCK).max(bytes.len())));
        }
        self.to_copy = self.to_copy.saturating_sub(bytes.len());
        let index = self.blocks.len() - 1;
        let block = self.blocks.last_mut()?;
        let offset = block.len();
        block.extend_from_slice(bytes);
        Some((index, offset))
    }

    fn finish(self) -> Vec<Buffer> {
        self.kept.into_iter().chain(self.blocks.into_iter().map(Buffer::from_vec)).collect()
    }
}

/// Refuses views of values that no buffer can hold.
pub(in crate::ipc) fn check_limit(name: &str, data: &ArrayData) -> Result<()> {
    if is_view(data.data_type()) {
        let largest = data.buffers().iter().skip(1).map(Buffer::len).max().unwrap_or(0);
        if largest > MAX_BUFFER {
            return Err(Error::unsupported(
                format_args!("column `{name}`, one of whose values has {largest} bytes, more than {MAX_BUFFER},"),
                "publish it with StringLayout::Offset",
            ));
        }
    }
    data.child_data().iter().try_for_each(|child| check_limit(name, child))
}
