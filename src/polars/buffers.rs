//! Shares single buffers and bitmaps between Arrow and Polars. The only unsafe code of this folder.
#![expect(unsafe_code, reason = "arrays cross the border without their values being checked again")]

use arrow::{
    array::{ArrayData, ArrayDataBuilder},
    buffer::{BooleanBuffer, Buffer, NullBuffer},
};
use bytemuck::Pod;
use bytes::Bytes;
use polars::{
    datatypes::DataType,
    prelude::{ChunkedArray, Int64Chunked, IntoSeries, PlSmallStr, Series, StructChunked, TimeChunked},
};
use polars_arrow::{
    array::{Array as PlArray, BinaryViewArrayGeneric, View, ViewType},
    bitmap::Bitmap,
    datatypes::ArrowDataType,
    offset::OffsetsBuffer,
};
use polars_buffer::{Buffer as PlBuffer, SharedStorage};

use crate::ipc::{ArrayParts, SharedBytes};

/// A Polars buffer as the owner of an Arrow one.
struct OfPolars<T>(PlBuffer<T>);

impl<T: Pod> AsRef<[u8]> for OfPolars<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::must_cast_slice(self.0.as_slice())
    }
}

/// Shares a Polars buffer with Arrow.
pub(super) fn to_arrow<T: Pod + Send + Sync>(buffer: &PlBuffer<T>) -> Buffer {
    Buffer::from(Bytes::from_owner(OfPolars(buffer.clone())))
}

/// Shares a Polars bitmap with Arrow, at its own bit offset.
pub(super) fn to_arrow_bits(bitmap: &Bitmap) -> BooleanBuffer {
    let (bytes, offset, len) = bitmap.as_buffer();
    BooleanBuffer::new(to_arrow(&bytes), offset, len)
}

pub(super) fn to_arrow_nulls(array: &dyn PlArray) -> Option<NullBuffer> {
    array.validity().map(|bitmap| NullBuffer::new(to_arrow_bits(bitmap)))
}

/// An Arrow array from the parts of a Polars one.
///
/// Polars aligns views to 4 bytes and Arrow to 16, so views of other memory than Polars' own (a mapped file, the C data
/// interface) may have to be copied: 16 bytes a row.
pub(super) fn assemble(builder: ArrayDataBuilder) -> ArrayData {
    let builder = builder.align_buffers(true);
    // SAFETY: the parts come from one valid Polars array whose layout Arrow shares: views are the same 16 bytes over
    // the same buffers, list offsets are monotonic and end inside their values, strings are UTF-8. Keys of rows
    // that are not null are below the number of their dictionary's values, which `dictionaries` made to reach the
    // largest key; below a null Arrow allows anything. With validation skipped `build_unchecked` cannot fail;
    // with arrow's feature `force_validate` it validates parts that are valid.
    unsafe { builder.build_unchecked() }
}

/// Bytes of a segment or of an Arrow array as the owner of a Polars buffer.
struct OfPart(SharedBytes);

impl<T: Pod> AsRef<[T]> for OfPart {
    fn as_ref(&self) -> &[T] {
        // `to_polars` has tried this cast before.
        bytemuck::try_cast_slice(self.0.as_ref()).unwrap_or_default()
    }
}

/// Whether 16-byte integers can be shared: Arrow knows them as bytes, which need no alignment.
pub(super) fn is_aligned(values: &ArrayParts<'_>) -> bool {
    bytemuck::try_cast_slice::<u8, u128>(values.buffer(0).as_ref()).is_ok()
}

/// Shares a buffer with Polars; a misaligned one (16-byte integers of a foreign file) is copied.
pub(super) fn to_polars<T: Pod + Send + Sync>(part: SharedBytes) -> PlBuffer<T> {
    match bytemuck::try_cast_slice::<u8, T>(part.as_ref()) {
        Ok([]) => PlBuffer::new(),
        Ok(_) => PlBuffer::from_owner(OfPart(part)),
        Err(_) => PlBuffer::from_vec(bytemuck::pod_collect_to_vec(part.as_ref())),
    }
}

/// Shares bits with Polars, starting at an offset. `unset` is the number of zero bits, if known.
fn to_polars_bits((bits, offset): (SharedBytes, usize), len: usize, unset: Option<usize>) -> Bitmap {
    let storage: SharedStorage<u8> = SharedStorage::from_owner(OfPart(bits));
    // SAFETY: the bits are those of one Arrow array of `len` values, which has at least offset + len of them, and
    // `unset`, where given, is what Arrow counted or what the segment's metadata records (SAFETY.md, T1).
    unsafe { Bitmap::from_inner_unchecked(storage, offset, len, unset) }
}

pub(super) fn to_polars_booleans(values: &ArrayParts<'_>) -> Bitmap {
    to_polars_bits(values.bits(), values.len(), None)
}

pub(super) fn to_polars_validity(values: &ArrayParts<'_>) -> Option<Bitmap> {
    values.validity().map(|bits| to_polars_bits(bits, values.len(), Some(values.null_count())))
}

pub(super) fn to_polars_offsets(offsets: SharedBytes) -> OffsetsBuffer<i64> {
    let offsets = to_polars(offsets);
    if offsets.is_empty() {
        return OffsetsBuffer::new();
    }
    // SAFETY: the buffer holds the offsets of a valid Arrow array: monotonic, one at least, none negative.
    unsafe { OffsetsBuffer::new_unchecked(offsets) }
}

/// A Polars string or binary array on the views and data buffers of an Arrow one.
pub(super) fn to_polars_views<T: ViewType + ?Sized>(
    dtype: ArrowDataType,
    values: &ArrayParts<'_>,
) -> BinaryViewArrayGeneric<T> {
    let views: PlBuffer<View> = to_polars(values.buffer(0));
    let data: Vec<PlBuffer<u8>> = values.data().map(to_polars).collect();
    let nulls = to_polars_validity(values);
    // SAFETY: the parts are those of one valid Arrow view array: every view is in range of its buffer and, for
    // strings, UTF-8; both libraries follow the same specification of views.
    unsafe { BinaryViewArrayGeneric::new_unchecked_unknown_md(dtype, views, PlBuffer::from(data), nulls, None) }
}

/// A series of physical chunks under their logical dtype.
///
/// `trusted`: Polars made the values, so nulls of a struct are nulls in its fields too, and times are within a day.
/// Otherwise Polars makes it so, which reads every row.
pub(super) fn series(name: PlSmallStr, chunks: Vec<Box<dyn PlArray>>, dtype: &DataType, trusted: bool) -> Series {
    match dtype {
        DataType::Struct(_) if trusted => {
            // SAFETY: `import` makes each chunk with the physical type of this dtype.
            let chunked: StructChunked = unsafe { ChunkedArray::from_chunks_and_dtype(name, chunks, dtype.clone()) };
            return chunked.into_series();
        }
        DataType::Time if trusted => {
            // SAFETY: the chunks of a time are 64-bit integers, which `import` makes of it.
            let physical = unsafe { Int64Chunked::from_chunks(name, chunks) };
            // SAFETY: a time must be within a day; all were when Polars published them.
            return unsafe { TimeChunked::new_logical(physical, DataType::Time) }.into_series();
        }
        _ => {}
    }
    // SAFETY: as above; keys of categoricals are in range of their mapping, which `Crossing` has filled first.
    unsafe { Series::from_chunks_and_dtype_unchecked(name, chunks, dtype) }
}
