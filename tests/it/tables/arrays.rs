//! Random arrays of a type: cut out of longer ones at every level, with nulls and with garbage below nulls.

use std::sync::Arc;

use coframe::arrow::{
    array::{
        Array, ArrayRef, DictionaryArray, FixedSizeListArray, GenericListArray, GenericListViewArray, MapArray,
        NullArray, OffsetSizeTrait, PrimitiveArray, RunArray, StructArray, UnionArray, make_array,
    },
    buffer::{NullBuffer, OffsetBuffer, RunEndBuffer, ScalarBuffer},
    datatypes::{
        ArrowDictionaryKeyType, ArrowNativeType, DataType, FieldRef, Fields, Int8Type, Int16Type, Int32Type, Int64Type,
        RunEndIndexType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, UnionFields, UnionMode,
    },
};

use super::{leaves, random::Random};

/// An array of a type, with nulls where it may have some.
pub(super) fn array(random: &mut Random, data_type: &DataType, len: usize, nullable: bool) -> ArrayRef {
    let (before, after) = if random.one_in(3) { (random.below(4), random.below(3)) } else { (0, 0) };
    let whole = build(random, data_type, before + len + after, nullable);
    if before + after > 0 { whole.slice(before, len) } else { whole }
}

fn build(random: &mut Random, data_type: &DataType, len: usize, nullable: bool) -> ArrayRef {
    let nulls = if nullable { nulls(random, len) } else { None };
    match data_type {
        DataType::Null => Arc::new(NullArray::new(len)),
        DataType::List(item) => list::<i32>(random, item, len, nulls),
        DataType::LargeList(item) => list::<i64>(random, item, len, nulls),
        DataType::ListView(item) => list_view::<i32>(random, item, len, nulls),
        DataType::LargeListView(item) => list_view::<i64>(random, item, len, nulls),
        DataType::FixedSizeList(item, size) => {
            let items = below(random, item, len * *size as usize, expanded(nulls.as_ref(), *size as usize).as_ref());
            Arc::new(FixedSizeListArray::try_new_with_length(item.clone(), *size, items, nulls, len).unwrap())
        }
        DataType::Map(entries, sorted) => map(random, entries, *sorted, len, nulls),
        DataType::Struct(fields) => Arc::new(structure(random, fields, len, nulls)),
        DataType::Union(fields, mode) => union(random, fields, *mode, len, nullable),
        DataType::RunEndEncoded(ends, values) => match ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(random, data_type, values, len, nullable),
            DataType::Int32 => runs::<Int32Type>(random, data_type, values, len, nullable),
            _ => runs::<Int64Type>(random, data_type, values, len, nullable),
        },
        DataType::Dictionary(key, values) => match key.as_ref() {
            DataType::Int8 => dictionary::<Int8Type>(random, values, len, nulls),
            DataType::Int16 => dictionary::<Int16Type>(random, values, len, nulls),
            DataType::Int32 => dictionary::<Int32Type>(random, values, len, nulls),
            DataType::Int64 => dictionary::<Int64Type>(random, values, len, nulls),
            DataType::UInt8 => dictionary::<UInt8Type>(random, values, len, nulls),
            DataType::UInt16 => dictionary::<UInt16Type>(random, values, len, nulls),
            DataType::UInt32 => dictionary::<UInt32Type>(random, values, len, nulls),
            _ => dictionary::<UInt64Type>(random, values, len, nulls),
        },
        leaf => leaves::array(random, leaf, len, nulls),
    }
}

/// Nulls of `len` rows, at any offset of bits.
fn nulls(random: &mut Random, len: usize) -> Option<NullBuffer> {
    let cut = random.below(10);
    let bits = match random.below(6) {
        0 | 1 => return None,
        2 => vec![false; cut + len],
        3 => vec![true; cut + len],
        _ => random.bools(cut + len),
    };
    Some(NullBuffer::from(bits).slice(cut, len))
}

fn expanded(nulls: Option<&NullBuffer>, size: usize) -> Option<NullBuffer> {
    nulls.map(|nulls| nulls.expand(size))
}

/// Children of rows that may be null: where the field allows no nulls, some have them below those of the rows.
fn below(random: &mut Random, field: &FieldRef, len: usize, parent: Option<&NullBuffer>) -> ArrayRef {
    let child = array(random, field.data_type(), len, field.is_nullable());
    match parent {
        Some(parent) if !field.is_nullable() && child.nulls().is_none() && random.one_in(2) => {
            let data = child.to_data();
            if !coframe::arrow::array::layout(data.data_type()).can_contain_null_mask {
                return child;
            }
            // Arrow's check asks nulls next to an offset for more bits than there are values.
            data.into_builder().nulls(Some(parent.clone())).build().map_or(child, make_array)
        }
        _ => child,
    }
}

/// The lengths of lists: some of them empty, in some arrays all.
fn lengths(random: &mut Random, len: usize) -> Vec<usize> {
    let most = random.within(0, 3);
    (0..len).map(|_| random.within(0, most)).collect()
}

/// Offsets of lists that may skip the first items, and the number of items.
fn offsets<O: OffsetSizeTrait>(random: &mut Random, len: usize) -> (OffsetBuffer<O>, usize) {
    let first = if random.one_in(2) { random.below(4) } else { 0 };
    let mut offsets = vec![O::usize_as(first)];
    let mut end = first;
    for length in lengths(random, len) {
        end += length;
        offsets.push(O::usize_as(end));
    }
    let unused = if random.one_in(2) { random.below(4) } else { 0 };
    (OffsetBuffer::new(offsets.into()), end + unused)
}

fn list<O: OffsetSizeTrait>(random: &mut Random, item: &FieldRef, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let (offsets, items) = offsets::<O>(random, len);
    let values = array(random, item.data_type(), items, item.is_nullable());
    Arc::new(GenericListArray::try_new(item.clone(), offsets, values, nulls).unwrap())
}

/// Lists that share items, leave some out and come in any order.
fn list_view<O: OffsetSizeTrait>(
    random: &mut Random,
    item: &FieldRef,
    len: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let items = random.below(9);
    let rows = (0..len).map(|_| {
        let size = random.below(items.min(3) + 1);
        (O::usize_as(random.within(0, items - size)), O::usize_as(size))
    });
    let (offsets, sizes): (Vec<O>, Vec<O>) = rows.unzip();
    let values = array(random, item.data_type(), items, item.is_nullable());
    Arc::new(GenericListViewArray::try_new(item.clone(), offsets.into(), sizes.into(), values, nulls).unwrap())
}

fn map(random: &mut Random, field: &FieldRef, sorted: bool, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let DataType::Struct(fields) = field.data_type() else { unreachable!("entries are structs") };
    let (offsets, entries) = offsets::<i32>(random, len);
    let (before, after) = (random.below(3), random.below(3));
    let entries = structure(random, fields, before + entries + after, None).slice(before, entries);
    Arc::new(MapArray::try_new(field.clone(), offsets, entries, nulls, sorted).unwrap())
}

fn structure(random: &mut Random, fields: &Fields, len: usize, nulls: Option<NullBuffer>) -> StructArray {
    let columns = fields.iter().map(|field| below(random, field, len, nulls.as_ref())).collect();
    StructArray::try_new_with_length(fields.clone(), columns, nulls, len).unwrap()
}

fn union(random: &mut Random, fields: &UnionFields, mode: UnionMode, len: usize, nullable: bool) -> ArrayRef {
    let ids: Vec<i8> = fields.iter().map(|(id, _)| id).collect();
    // Often not every field is used.
    let ids = if random.one_in(3) { vec![random.pick(&ids)] } else { ids };
    let rows: Vec<i8> = (0..len).map(|_| random.pick(&ids)).collect();
    let mut offsets = vec![0_i32; len];
    let mut children: Vec<ArrayRef> = Vec::new();
    let is_ordered = !random.one_in(4);
    for (id, field) in fields.iter() {
        let mut items = len;
        if mode == UnionMode::Dense {
            items = random.below(3);
            for (row, offset) in rows.iter().zip(&mut offsets).filter(|(row, _)| **row == id) {
                debug_assert_eq!(*row, id);
                *offset = if is_ordered { items as i32 } else { random.within(0, items) as i32 };
                items += if is_ordered { random.within(1, 2) } else { 1 };
            }
            items += random.below(3);
        }
        children.push(array(random, field.data_type(), items, nullable && field.is_nullable()));
    }
    let offsets = (mode == UnionMode::Dense).then(|| ScalarBuffer::from(offsets));
    Arc::new(UnionArray::try_new(fields.clone(), rows.into(), offsets, children).unwrap())
}

fn runs<R: RunEndIndexType>(
    random: &mut Random,
    data_type: &DataType,
    values: &FieldRef,
    len: usize,
    nullable: bool,
) -> ArrayRef {
    let mut ends: Vec<usize> = Vec::new();
    while ends.last().copied().unwrap_or(0) < len {
        let longest = random.pick(&[1, 2, 5, 100]);
        ends.push(ends.last().copied().unwrap_or(0) + random.within(1, longest));
    }
    let values = array(random, values.data_type(), ends.len(), nullable && values.is_nullable());
    let length = ends.last().copied().unwrap_or(0);
    // The buffer starts behind others.
    let cut = random.below(3);
    let all: Vec<R::Native> = (0..cut).chain(ends).map(R::Native::usize_as).collect();
    let ends = ScalarBuffer::from(all).slice(cut, values.len());
    let offset = random.within(0, length - len);
    let ends = RunEndBuffer::new(ends, offset, len);
    // SAFETY: `RunEndBuffer::new` has checked the ends, and there are as many values. The safe constructor names the
    // fields itself.
    Arc::new(unsafe { RunArray::<R>::new_unchecked(data_type.clone(), ends, values) })
}

fn dictionary<K: ArrowDictionaryKeyType>(
    random: &mut Random,
    value: &DataType,
    len: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let all_null = nulls.as_ref().is_some_and(|nulls| nulls.null_count() == len);
    let count = if all_null || len == 0 { random.below(3) } else { random.within(1, 5) };
    let nullable = nulls.is_some() && random.one_in(2) || super::types::is_ever_null(value);
    let values = array(random, value, count, nullable);
    let keys = (0..len).map(|row| {
        let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        // Below a null any key is allowed, one without a value too.
        K::Native::usize_as(if is_null || count == 0 { random.below(100) } else { random.below(count) })
    });
    let keys = PrimitiveArray::<K>::new(keys.collect(), nulls);
    Arc::new(DictionaryArray::<K>::try_new(keys, values).unwrap())
}
