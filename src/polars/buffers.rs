//! Single buffers and bitmaps across the border; the only unsafe code of this folder.
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
pub(super) fn assemble(builder: ArrayDataBuilder) -> ArrayData {
    // SAFETY: the parts come from one valid Polars array whose layout Arrow shares: views are the same 16 bytes over
    // the same buffers, list offsets are monotonic and end inside their values, strings are UTF-8. Keys of rows
    // that are not null are below the number of their dictionary's values, which `dictionaries` made to reach the
    // largest key; below a null Arrow allows anything. Nothing is unwrapped: with validation skipped
    // `build_unchecked` has no failing path.
    unsafe { builder.build_unchecked() }
}

/// An Arrow buffer as the owner of a Polars one.
struct OfArrow(Buffer);

impl<T: Pod> AsRef<[T]> for OfArrow {
    fn as_ref(&self) -> &[T] {
        // `to_polars` has tried this cast before.
        bytemuck::try_cast_slice(self.0.as_slice()).unwrap_or_default()
    }
}

/// Shares an Arrow buffer with Polars; a misaligned one (16-byte integers of a foreign file) is copied.
pub(super) fn to_polars<T: Pod + Send + Sync>(buffer: Buffer) -> PlBuffer<T> {
    match bytemuck::try_cast_slice::<u8, T>(buffer.as_slice()) {
        Ok([]) => PlBuffer::new(),
        Ok(_) => PlBuffer::from_owner(OfArrow(buffer)),
        Err(_) => PlBuffer::from_vec(bytemuck::pod_collect_to_vec(buffer.as_slice())),
    }
}

/// Shares Arrow bits with Polars. `unset` is the number of zero bits, where it is known.
pub(super) fn to_polars_bits(bits: &BooleanBuffer, unset: Option<usize>) -> Bitmap {
    let storage: SharedStorage<u8> = SharedStorage::from_owner(OfArrow(bits.inner().clone()));
    // SAFETY: a `BooleanBuffer` holds at least offset + len bits, and `unset`, where given, is what Arrow counted or
    // what the segment's metadata says of it (SAFETY.md, T1).
    unsafe { Bitmap::from_inner_unchecked(storage, bits.offset(), bits.len(), unset) }
}

pub(super) fn to_polars_nulls(nulls: Option<&NullBuffer>) -> Option<Bitmap> {
    nulls.map(|nulls| to_polars_bits(nulls.inner(), Some(nulls.null_count())))
}

pub(super) fn to_polars_offsets(offsets: Buffer) -> OffsetsBuffer<i64> {
    // SAFETY: the buffer is that of an Arrow `OffsetBuffer<i64>`: monotonic, not empty, none negative.
    unsafe { OffsetsBuffer::new_unchecked(to_polars(offsets)) }
}

/// A Polars string or binary array on Arrow's views and data buffers.
pub(super) fn to_polars_views<T: ViewType + ?Sized>(
    dtype: ArrowDataType,
    views: Buffer,
    data: &[Buffer],
    nulls: Option<Bitmap>,
) -> BinaryViewArrayGeneric<T> {
    let views: PlBuffer<View> = to_polars(views);
    let data: Vec<PlBuffer<u8>> = data.iter().cloned().map(to_polars).collect();
    // SAFETY: the parts are those of one valid Arrow view array: every view is in range of its buffer and, for
    // strings, UTF-8; both libraries follow the same specification of views.
    unsafe { BinaryViewArrayGeneric::new_unchecked_unknown_md(dtype, views, PlBuffer::from(data), nulls, None) }
}

/// A series of physical chunks under their logical dtype.
///
/// `trusted` says that Polars made the values: nulls of a struct are nulls in its fields too, and times lie inside a
/// day. Otherwise Polars makes it so, which reads every row.
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
            // SAFETY: the invariant of a time is that each lies inside a day, which held when Polars published them.
            return unsafe { TimeChunked::new_logical(physical, DataType::Time) }.into_series();
        }
        _ => {}
    }
    // SAFETY: as above; keys of categoricals are in range of their mapping, which `Crossing` has filled first.
    unsafe { Series::from_chunks_and_dtype_unchecked(name, chunks, dtype) }
}
