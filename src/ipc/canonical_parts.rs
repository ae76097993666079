//! The canonical form of arrays whose rows name their items one by one: list views and unions.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, GenericListViewArray, MutableArrayData, OffsetSizeTrait, UnionArray, make_array,
    },
    buffer::ScalarBuffer,
    datatypes::{FieldRef, UnionFields},
    error::ArrowError,
};

use super::canonical::{Leaf, canonical, cut};

pub(super) fn list_view<O: OffsetSizeTrait>(
    array: &ArrayRef,
    item: &FieldRef,
    leaf: Leaf,
) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list_view::<O>();
    let rows = || {
        let rows = list.offsets().iter().zip(list.sizes()).enumerate();
        // What a null row refers to is nothing.
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
pub(super) fn gather(
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

pub(super) fn union(array: &ArrayRef, fields: &UnionFields, leaf: Leaf) -> Result<ArrayRef, ArrowError> {
    let union = array.as_union();
    let ids = union.type_ids();
    let spans = union.offsets().map(|offsets| spans(ids, offsets));
    let span = |id: i8| spans.as_ref().map_or((0, ids.len()), |spans| spans.of(id));
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

/// For each type id, which part of its child the rows of a dense union refer to.
struct Spans(Vec<(usize, usize)>);

impl Spans {
    fn of(&self, id: i8) -> (usize, usize) {
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
