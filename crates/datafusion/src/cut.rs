//! Rows of a record batch, with buffers that hold no other rows.
//!
//! DataFusion cuts every batch to its batch size and accounts each piece with the whole capacity of its buffers. For a batch
//! of a million rows it would account a million rows for each of 123 slices. For the pieces made here it accounts their own
//! rows. Values are not copied. Only the offsets of lists and strings, and views of long strings, are written again, because
//! they count from the start of the batch: 4 to 16 bytes a row.
#![expect(unsafe_code, reason = "rows of a valid array are valid, and need not be validated again")]

use std::ops::Range;

use arrow::{
    array::{Array, ArrayData, RecordBatch, RecordBatchOptions, make_array},
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    datatypes::{ArrowNativeType, DataType, SchemaRef, UnionMode},
    error::ArrowError,
};
use bytes::Bytes;

/// The longest string that a view holds itself.
const INLINE: u32 = 12;

/// A part of a buffer as a separate allocation, so that engines account no more than this part.
struct Section(Buffer);

impl AsRef<[u8]> for Section {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A batch with this schema, which may differ from the batch's in metadata and nullability.
pub(crate) fn whole_of(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
}

/// Some rows of a batch, as [`whole_of`] has all of them.
pub(crate) fn cut(batch: &RecordBatch, rows: Range<usize>, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|array| make_array(rows_of(&array.to_data(), rows.start, rows.len())));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &options)
}

/// Whether the buffers of a batch hold more than its rows, as those of a slice do.
pub(crate) fn is_slice(batch: &RecordBatch) -> bool {
    batch.columns().iter().any(|array| holds_more(&array.to_data()))
}

fn holds_more(data: &ArrayData) -> bool {
    let width = width(data.data_type());
    let longer = |buffer: &Buffer| width.is_some_and(|width| buffer.capacity() > data.len() * width + 64);
    data.offset() > 0
        || data.buffers().first().is_some_and(longer)
        || data
            .nulls()
            .is_some_and(|nulls| nulls.offset() > 0 || nulls.buffer().capacity() > data.len().div_ceil(8) + 64)
        || !matches!(data.data_type(), DataType::Dictionary(..)) && data.child_data().iter().any(holds_more)
}

/// Bytes that a row takes in the first buffer of an array, where each row takes the same.
pub(crate) fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Utf8 | DataType::Binary | DataType::List(_) | DataType::Map(..) | DataType::ListView(_) => Some(4),
        DataType::LargeUtf8 | DataType::LargeBinary | DataType::LargeList(_) | DataType::LargeListView(_) => Some(8),
        DataType::Utf8View | DataType::BinaryView => Some(16),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        DataType::Dictionary(keys, _) => keys.primitive_width(),
        DataType::Union(..) => Some(1),
        other => other.primitive_width(),
    }
}

/// `len` rows of an array from `start`.
fn rows_of(data: &ArrayData, start: usize, len: usize) -> ArrayData {
    let data_type = data.data_type();
    if len == 0 {
        return ArrayData::new_empty(data_type);
    }
    let nulls = data.nulls().map(|nulls| bits(nulls.inner(), start, len)).map(NullBuffer::new);
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let at = data.offset() + start;
    let fixed = |buffer: usize, width: usize| section(&data.buffers()[buffer], at * width, len * width);
    let child = |index: usize, start: usize, len: usize| rows_of(&data.child_data()[index], start, len);
    let build = |buffers, children| built(data_type, len, nulls.clone(), buffers, children);
    match data_type {
        DataType::Null => ArrayData::new_null(data_type, len),
        DataType::Boolean => {
            let values = bits(&BooleanBuffer::new(data.buffers()[0].clone(), data.offset(), data.len()), start, len);
            let builder = ArrayData::builder(DataType::Boolean).len(len).offset(values.offset()).nulls(nulls);
            let builder = builder.add_buffer(values.into_inner());
            // SAFETY: as in `built`; `bits` keeps `len` bits from its offset.
            unsafe { builder.build_unchecked() }
        }
        DataType::Utf8 | DataType::Binary => {
            let (offsets, values) = rebased::<i32>(&data.buffers()[0], at, len);
            build(vec![offsets, section(&data.buffers()[1], values.start, values.len())], vec![])
        }
        DataType::LargeUtf8 | DataType::LargeBinary => {
            let (offsets, values) = rebased::<i64>(&data.buffers()[0], at, len);
            build(vec![offsets, section(&data.buffers()[1], values.start, values.len())], vec![])
        }
        DataType::Utf8View | DataType::BinaryView => build(views(data.buffers(), at, len, nulls.as_ref()), vec![]),
        DataType::List(_) | DataType::Map(..) => {
            let (offsets, values) = rebased::<i32>(&data.buffers()[0], at, len);
            build(vec![offsets], vec![child(0, values.start, values.len())])
        }
        DataType::LargeList(_) => {
            let (offsets, values) = rebased::<i64>(&data.buffers()[0], at, len);
            build(vec![offsets], vec![child(0, values.start, values.len())])
        }
        // Rows of these may refer to any item, so all items stay.
        DataType::ListView(_) => build(vec![fixed(0, 4), fixed(1, 4)], data.child_data().to_vec()),
        DataType::LargeListView(_) => build(vec![fixed(0, 8), fixed(1, 8)], data.child_data().to_vec()),
        DataType::Union(_, UnionMode::Dense) => build(vec![fixed(0, 1), fixed(1, 4)], data.child_data().to_vec()),
        DataType::Union(_, UnionMode::Sparse) => {
            let children = (0..data.child_data().len()).map(|index| child(index, at, len)).collect();
            build(vec![fixed(0, 1)], children)
        }
        DataType::FixedSizeList(_, size) => {
            let size = size.as_usize();
            build(vec![], vec![child(0, at * size, len * size)])
        }
        DataType::Struct(_) => {
            let children = (0..data.child_data().len()).map(|index| child(index, at, len)).collect();
            build(vec![], children)
        }
        DataType::RunEndEncoded(..) => data.slice(start, len),
        // One buffer of rows of equal width. A dictionary stays whole: any row may refer to any of its values.
        other => match width(other) {
            Some(width) => build(vec![fixed(0, width)], data.child_data().to_vec()),
            None => data.slice(start, len),
        },
    }
}

fn built(
    data_type: &DataType,
    len: usize,
    nulls: Option<NullBuffer>,
    buffers: Vec<Buffer>,
    children: Vec<ArrayData>,
) -> ArrayData {
    let builder = ArrayData::builder(data_type.clone()).len(len).nulls(nulls).buffers(buffers).child_data(children);
    // SAFETY: the rows are those of a valid array of the same type. Buffers of fixed width hold exactly `len` of its rows.
    // Offsets were moved by the first of them, as the start of their values was; views likewise, to the section that their
    // buffer was cut to. Strings start and end at the same bytes as before, so they are UTF-8.
    unsafe { builder.build_unchecked() }
}

/// A part of a buffer, for which engines account only its bytes.
fn section(buffer: &Buffer, start: usize, len: usize) -> Buffer {
    if len == 0 {
        return Buffer::default();
    }
    if start == 0 && len == buffer.capacity() {
        return buffer.clone();
    }
    Buffer::from(Bytes::from_owner(Section(buffer.slice_with_length(start, len))))
}

/// `len` bits from `start`, in as many bytes as they touch.
fn bits(buffer: &BooleanBuffer, start: usize, len: usize) -> BooleanBuffer {
    let first = buffer.offset() + start;
    let bytes = (first + len).div_ceil(8) - first / 8;
    BooleanBuffer::new(section(buffer.inner(), first / 8, bytes), first % 8, len)
}

/// The offsets of `len` rows, counted from the first of them, and the values that they refer to.
fn rebased<O: ArrowNativeType + std::ops::Sub<Output = O>>(
    offsets: &Buffer,
    at: usize,
    len: usize,
) -> (Buffer, Range<usize>) {
    let kept = &offsets.typed_data::<O>()[at..=at + len];
    let (first, last) = (kept[0], kept[len]);
    let width = size_of::<O>();
    let offsets = if first.as_usize() == 0 {
        section(offsets, at * width, (len + 1) * width)
    } else {
        Buffer::from_vec(kept.iter().map(|offset| *offset - first).collect::<Vec<O>>())
    };
    (offsets, first.as_usize()..last.as_usize())
}

/// The place of a long string, as the view in the low to the high bits has it: length, first four bytes, buffer, offset.
#[derive(Clone, Copy)]
struct Place {
    len: u32,
    buffer: usize,
    offset: u32,
}

impl Place {
    /// `None` for a short string, which the view holds itself.
    fn of(view: u128) -> Option<Self> {
        let len = view as u32;
        (len > INLINE).then_some(Self { len, buffer: (view >> 64) as u32 as usize, offset: (view >> 96) as u32 })
    }
}

/// Views of `len` rows, and the parts of their buffers that they refer to.
fn views(buffers: &[Buffer], at: usize, len: usize, nulls: Option<&NullBuffer>) -> Vec<Buffer> {
    let (all, texts) = (&buffers[0], &buffers[1..]);
    let kept = &all.typed_data::<u128>()[at..at + len];
    let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
    // Of each buffer: what these rows refer to.
    let mut spans: Vec<Option<Range<u32>>> = vec![None; texts.len()];
    let mut any_long = false;
    for (row, place) in kept.iter().enumerate().filter_map(|(row, view)| Some((row, Place::of(*view)?))) {
        any_long = true;
        if !is_null(row) {
            let span = &mut spans[place.buffer];
            let (start, end) = (place.offset, place.offset + place.len);
            *span = Some(span.take().map_or(start..end, |span| span.start.min(start)..span.end.max(end)));
        }
    }
    if !any_long {
        return vec![section(all, at * 16, len * 16)];
    }
    // For each buffer: its new position, and how far its strings move.
    let (mut moves, mut sections) = (vec![(0, 0); texts.len()], vec![Buffer::default()]);
    for ((text, span), moved) in texts.iter().zip(spans).zip(&mut moves) {
        if let Some(span) = span {
            *moved = (sections.len() as u128 - 1, span.start);
            sections.push(section(text, span.start as usize, (span.end - span.start) as usize));
        }
    }
    let moved = kept.iter().enumerate().map(|(row, view)| match Place::of(*view) {
        None => *view,
        // What is below a null may refer to bytes that are left out.
        Some(_) if is_null(row) => 0,
        Some(place) => {
            let (buffer, by) = moves[place.buffer];
            (*view & u128::from(u64::MAX)) | buffer << 64 | u128::from(place.offset - by) << 96
        }
    });
    sections[0] = Buffer::from_vec(moved.collect::<Vec<u128>>());
    sections
}
