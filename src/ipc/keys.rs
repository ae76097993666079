//! The largest keys of dictionaries: readers need not check a column whose keys are all within their dictionaries.

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericListArray, OffsetSizeTrait},
    datatypes::{
        ArrowNativeType, DataType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};

use super::tree::has_dictionary;

/// Whether every key of every dictionary inside a column is in range, including keys in null slots.
///
/// With `may_be_empty` a dictionary without values is skipped: all its rows are null, and Polars leaves their keys 0.
pub(super) fn lie_in_dictionaries(column: &ArrayRef, may_be_empty: bool) -> bool {
    let mut all = true;
    let whole = each_keys(column, column.data_type(), &mut |array| {
        let dictionary = array.as_any_dictionary_opt();
        if may_be_empty && dictionary.is_some_and(|array| array.values().is_empty()) {
            return;
        }
        let reach = dictionary.and_then(|array| count(&array.keys().slice(0, array.len())));
        all &= reach.zip(dictionary).is_some_and(|(reach, dictionary)| reach <= dictionary.values().len());
    });
    whole && all
}

/// Visits every dictionary of a column, depth first, and passes its keys, or the dictionary array, to `call`.
/// `data_type` is the type of the column with its dictionaries. Returns `false` if some were not visited.
pub(super) fn each_keys(column: &ArrayRef, data_type: &DataType, call: &mut dyn FnMut(&ArrayRef)) -> bool {
    match data_type {
        DataType::Dictionary(..) => {
            call(column);
            true
        }
        _ if !has_dictionary(data_type) => true,
        DataType::Struct(fields) => {
            let mut columns = column.as_struct().columns().iter().zip(fields);
            columns.all(|(child, field)| each_keys(child, field.data_type(), call))
        }
        DataType::List(item) => each_keys(&items(column.as_list::<i32>()), item.data_type(), call),
        DataType::LargeList(item) => each_keys(&items(column.as_list::<i64>()), item.data_type(), call),
        DataType::FixedSizeList(item, _) => each_keys(column.as_fixed_size_list().values(), item.data_type(), call),
        _ => false,
    }
}

/// The items to which the rows of a list refer. No other items are written.
fn items<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> ArrayRef {
    let offsets = list.offsets();
    let (first, last) = (offsets.first().map_or(0, |at| at.as_usize()), offsets.last().map_or(0, |at| at.as_usize()));
    list.values().slice(first, last.saturating_sub(first))
}

/// One more than the largest key, including keys in null slots; `None` if a key is negative.
pub(super) fn count(keys: &ArrayRef) -> Option<usize> {
    match keys.data_type() {
        DataType::Int8 => count_of::<Int8Type>(keys),
        DataType::Int16 => count_of::<Int16Type>(keys),
        DataType::Int32 => count_of::<Int32Type>(keys),
        DataType::Int64 => count_of::<Int64Type>(keys),
        DataType::UInt8 => count_of::<UInt8Type>(keys),
        DataType::UInt16 => count_of::<UInt16Type>(keys),
        DataType::UInt32 => count_of::<UInt32Type>(keys),
        _ => count_of::<UInt64Type>(keys),
    }
}

fn count_of<T: ArrowPrimitiveType<Native: Ord>>(keys: &ArrayRef) -> Option<usize> {
    let keys = keys.as_primitive_opt::<T>()?.values();
    let Some(largest) = keys.iter().max() else { return Some(0) };
    keys.iter().min()?.to_usize()?;
    largest.to_usize()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int8Array, UInt32Array};

    use super::count;

    #[test]
    fn keys_in_null_slots_count_and_negative_ones_have_no_count() {
        let keys = |values: Vec<i8>, nulls: Vec<bool>| -> ArrayRef {
            Arc::new(Int8Array::new(values.into(), Some(nulls.into())))
        };
        assert_eq!(count(&keys(vec![0, 7, 1], vec![true, false, true])), Some(8));
        assert_eq!(count(&keys(vec![0, -1], vec![true, false])), None);
        let unsigned = |keys: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(keys)) };
        assert_eq!((count(&unsigned(vec![])), count(&unsigned(vec![3, 0]))), (Some(0), Some(4)));
    }
}
