//! The form in which all arrays are written: without slices, and without data to which no row refers.
//!
//! arrow-ipc cuts the buffers of most slices, but not those of every child: it writes the type ids of a union from the
//! first one of its buffer, the end of a run that no row has, and the whole child of a list view. So every batch takes
//! this form before arrow-ipc sees it. A column that has the form already is shared; values are never copied for it,
//! except views ([`views`](super::views)) and bits.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, GenericListArray, GenericListViewArray, MapArray,
        MutableArrayData, OffsetSizeTrait, PrimitiveArray, RecordBatch, RecordBatchOptions, RunArray, StructArray,
        UnionArray, make_array,
    },
    buffer::{BooleanBuffer, ScalarBuffer},
    datatypes::{ArrowNativeType, DataType, FieldRef, Int16Type, Int32Type, Int64Type, RunEndIndexType, UnionFields},
    error::ArrowError,
};

use super::views;
use crate::error::{Error, Result};
use crate::ipc::{
    times,
    tree::{any_type, rebuild},
};

/// Converts an array without children.
pub(in crate::ipc) type Leaf = fn(&ArrayRef) -> Result<ArrayRef, ArrowError>;

/// A column in the form in which it is written. `name` is that of the column, for errors.
pub(in crate::ipc) fn written(name: &str, column: &ArrayRef) -> Result<ArrayRef> {
    let column = form(name, column, compact)?;
    times::check(&column, times::Dictionaries::Skip)
        .map_err(|e| Error::arrow(format_args!("write column `{name}`"), e))?;
    if any_type(column.data_type(), &views::is_view) {
        views::check_limit(name, &column.to_data())?;
    }
    Ok(column)
}

/// The batch in a form in which arrow-ipc encodes its rows and no others, for crates that call arrow-ipc themselves.
pub fn encodable(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let columns =
        batch.columns().iter().zip(schema.fields()).map(|(column, field)| form(field.name(), column, compact));
    let (columns, options) = (columns.collect::<Result<_>>()?, RecordBatchOptions::new());
    let rows = options.with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &rows).map_err(|e| Error::arrow("prepare a batch", e))
}

fn compact(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    views::compact(&whole_bytes(array)?)
}

/// Booleans whose first bit is the first of a byte. Others are copied, as arrow-ipc would do when it writes them. Arrow
/// refuses them, if they have nulls, as the values of runs.
#[expect(clippy::unnecessary_wraps, reason = "it is a `Leaf`")]
pub(in crate::ipc) fn whole_bytes(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(bits) = array.as_boolean_opt().map(BooleanArray::values).filter(|bits| bits.offset() > 0) else {
        return Ok(array.clone());
    };
    let bits = BooleanBuffer::new(bits.sliced(), 0, bits.len());
    Ok(Arc::new(BooleanArray::new(bits, array.nulls().cloned())))
}

fn form(name: &str, column: &ArrayRef, leaf: Leaf) -> Result<ArrayRef> {
    canonical(column, leaf).map_err(|e| Error::invalid(format_args!("column `{name}`"), e))
}

pub(in crate::ipc) fn canonical(array: &ArrayRef, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::List(item) => list::<i32>(array, item, leaf),
        DataType::LargeList(item) => list::<i64>(array, item, leaf),
        DataType::ListView(item) => list_view::<i32>(array, item, leaf),
        DataType::LargeListView(item) => list_view::<i64>(array, item, leaf),
        DataType::FixedSizeList(item, size) => fixed_size_list(array, item, *size, leaf),
        DataType::Map(entries, sorted) => map(array, entries, *sorted, leaf),
        DataType::Struct(_) => structure(array, leaf),
        DataType::Union(fields, _) => union(array, fields, leaf),
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array, leaf),
            DataType::Int32 => runs::<Int32Type>(array, leaf),
            _ => runs::<Int64Type>(array, leaf),
        },
        // The values of dictionaries get this form separately (`dictionary`).
        DataType::Dictionary(..) => Ok(array.clone()),
        _ => leaf(array),
    }
}

/// A part of an array; the array itself if the part is all of it.
fn cut(array: &ArrayRef, start: usize, len: usize) -> ArrayRef {
    if start == 0 && len == array.len() { array.clone() } else { array.slice(start, len) }
}

fn list<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let (first, items) = span(list.offsets());
    let values = canonical(&cut(list.values(), first.as_usize(), items), leaf)?;
    if Arc::ptr_eq(&values, list.values()) {
        return Ok(array.clone());
    }
    let offsets = list.offsets().clone().subtract(first);
    Ok(Arc::new(GenericListArray::try_new(item.clone(), offsets, values, list.nulls().cloned())?))
}

fn map(array: &ArrayRef, field: &FieldRef, sorted: bool, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let map = array.as_map();
    let (first, items) = span(map.offsets());
    let whole: ArrayRef = Arc::new(map.entries().clone());
    let entries = canonical(&cut(&whole, first.as_usize(), items), leaf)?;
    if Arc::ptr_eq(&entries, &whole) {
        return Ok(array.clone());
    }
    let offsets = map.offsets().clone().subtract(first);
    let (entries, nulls) = (entries.as_struct().clone(), map.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(field.clone(), offsets, entries, nulls, sorted)?))
}

/// The first offset, and the number of items between the first and the last.
fn span<O: OffsetSizeTrait>(offsets: &[O]) -> (O, usize) {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    (first, last.as_usize().saturating_sub(first.as_usize()))
}

fn fixed_size_list(array: &ArrayRef, item: &FieldRef, size: i32, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let list = array.as_fixed_size_list();
    let items = list.len().saturating_mul(usize::try_from(size).unwrap_or(0));
    let values = canonical(&cut(list.values(), 0, items), leaf)?;
    if Arc::ptr_eq(&values, list.values()) {
        return Ok(array.clone());
    }
    let (item, nulls) = (item.clone(), list.nulls().cloned());
    Ok(Arc::new(FixedSizeListArray::try_new_with_length(item, size, values, nulls, list.len())?))
}

fn structure(array: &ArrayRef, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let parent = array.as_struct();
    let columns = parent.columns().iter().map(|column| canonical(column, leaf));
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
    if columns.iter().zip(parent.columns()).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(array.clone());
    }
    let (fields, nulls) = (parent.fields().clone(), parent.nulls().cloned());
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, parent.len())?))
}

fn runs<R: RunEndIndexType>(array: &ArrayRef, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let runs = array.as_run::<R>();
    let (ends, rows) = (runs.run_ends(), array.len());
    // A slice of zero rows needs no runs.
    let (start, count) = match rows {
        0 => (0, 0),
        _ => (runs.get_start_physical_index(), runs.get_end_physical_index() + 1 - runs.get_start_physical_index()),
    };
    let values = canonical(&cut(runs.values(), start, count), leaf)?;
    let old = ends.values();
    let last = old.last().map_or(0, |end| end.as_usize());
    let is_whole = ends.offset() == 0 && old.len() == count && last == rows;
    if is_whole && Arc::ptr_eq(&values, runs.values()) {
        return Ok(array.clone());
    }
    let end = |end: &R::Native| R::Native::usize_as(end.as_usize().saturating_sub(ends.offset()).min(rows));
    let new: Vec<R::Native> = old.iter().skip(start).take(count).map(end).collect();
    let new = RunArray::try_new(&PrimitiveArray::<R>::new(new.into(), None), &values)?;
    // `try_new` renames the two children.
    let data = new.into_data();
    let inner = data.child_data().to_vec();
    Ok(make_array(rebuild(data, array.data_type().clone(), inner)))
}

fn list_view<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list_view::<O>();
    let rows = || {
        let rows = list.offsets().iter().zip(list.sizes()).enumerate();
        // A null row refers to no items.
        rows.map(|(row, (offset, size))| (offset.as_usize(), if list.is_null(row) { 0 } else { size.as_usize() }))
    };
    let used = rows().filter(|(_, size)| *size > 0);
    let (first, end, total) = used.fold((usize::MAX, 0, 0_usize), |(first, end, total), (offset, size)| {
        (first.min(offset), end.max(offset + size), total.saturating_add(size))
    });
    let first = first.min(end);
    let span = end - first;
    let is_sparse = total.saturating_mul(4) < span.saturating_mul(3);
    let used = cut(list.values(), first, span);
    let used = if is_sparse { gather(&used, rows(), first, total)? } else { used };
    let values = canonical(&used, leaf)?;
    if Arc::ptr_eq(&values, list.values()) {
        return Ok(array.clone());
    }
    let mut next = 0;
    let (offsets, sizes): (Vec<O>, Vec<O>) = rows()
        .map(|(offset, size)| {
            let place = match (size, is_sparse) {
                (0, _) => 0,
                (_, false) => offset - first,
                (_, true) => {
                    next += size;
                    next - size
                }
            };
            (O::usize_as(place), O::usize_as(size))
        })
        .unzip();
    let (item, nulls) = (item.clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListViewArray::try_new(item, offsets.into(), sizes.into(), values, nulls)?))
}

/// The items of the rows, one row after the other; `values` starts with the item `first`.
pub(in crate::ipc) fn gather(
    values: &ArrayRef,
    rows: impl Iterator<Item = (usize, usize)>,
    first: usize,
    total: usize,
) -> Result<ArrayRef, ArrowError> {
    let data = canonical(values, |leaf| Ok(leaf.clone()))?.to_data();
    let mut gathered = MutableArrayData::new(vec![&data], false, total);
    for (offset, size) in rows.filter(|(_, size)| *size > 0) {
        gathered.try_extend(0, offset - first, offset - first + size)?;
    }
    Ok(make_array(gathered.freeze()))
}

fn union(array: &ArrayRef, fields: &UnionFields, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let union = array.as_union();
    let ids = union.type_ids();
    let spans = union.offsets().map(|offsets| spans(ids, offsets));
    let span = |id: i8| spans.as_ref().map_or((0, ids.len()), |spans| spans.span(id));
    let children: Vec<ArrayRef> = fields
        .iter()
        .map(|(id, _)| {
            let (first, end) = span(id);
            canonical(&cut(union.child(id), first, end - first), leaf)
        })
        .collect::<Result<_, _>>()?;
    if fields.iter().zip(&children).all(|((id, _), child)| Arc::ptr_eq(child, union.child(id))) {
        return Ok(array.clone());
    }
    let shifted = |(id, offset): (&i8, &i32)| offset - i32::try_from(span(*id).0).unwrap_or(0);
    let offsets = union.offsets().map(|offsets| ids.iter().zip(offsets).map(shifted).collect::<ScalarBuffer<i32>>());
    Ok(Arc::new(UnionArray::try_new(fields.clone(), ids.clone(), offsets, children)?))
}

/// For each type id, the part of its child to which the rows of a dense union refer.
struct Spans(Vec<(usize, usize)>);

impl Spans {
    fn span(&self, id: i8) -> (usize, usize) {
        let span = usize::try_from(id).ok().and_then(|id| self.0.get(id).copied());
        span.filter(|(first, end)| first < end).unwrap_or((0, 0))
    }
}

fn spans(ids: &[i8], offsets: &[i32]) -> Spans {
    let mut spans = vec![(usize::MAX, 0); 1 << 7];
    for (id, offset) in ids.iter().zip(offsets) {
        let span = usize::try_from(*id).ok().and_then(|id| spans.get_mut(id));
        if let (Some((first, end)), Ok(offset)) = (span, usize::try_from(*offset)) {
            (*first, *end) = ((*first).min(offset), (*end).max(offset + 1));
        }
    }
    Spans(spans)
}
