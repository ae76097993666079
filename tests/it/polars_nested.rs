//! Nested Arrow types that Polars has not are converted at every depth.

use std::sync::Arc;

use coframe::{
    arrow::{
        array::{
            Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray,
            Int8Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, RunArray, StringArray, StructArray,
        },
        buffer::{Buffer, NullBuffer, OffsetBuffer},
        datatypes::{DataType, Field, Fields, Int8Type, Int32Type},
    },
    polars::prelude::{DataFrame, DataType as PlDataType, IntoColumn, PlSmallStr, Series},
};
use polars_arrow::{
    array::{Array as PlArray, ListArray as PlListArray, PrimitiveArray, StructArray as PlStructArray},
    bitmap::Bitmap,
    datatypes::{ArrowDataType, Field as PlField},
    offset::OffsetsBuffer,
};

use crate::common::scratch;

fn in_polars(column: ArrayRef) -> Series {
    let scratch = scratch();
    let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
    let frame = scratch.store.publish("x", &batch).unwrap();
    let column = frame.to_polars().unwrap().column("c").unwrap().as_materialized_series().clone();
    // Of some rows too.
    let part = frame.slice(1..).unwrap().to_polars().unwrap();
    assert!(part.column("c").unwrap().as_materialized_series().equals_missing(&column.slice(1, usize::MAX)));
    column
}

fn list_of(items: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths.iter().copied()), items, None))
}

fn struct_of(column: ArrayRef, nulls: Option<NullBuffer>) -> ArrayRef {
    let fields = Fields::from(vec![Field::new("f", column.data_type().clone(), true)]);
    Arc::new(StructArray::new(fields, vec![column], nulls))
}

fn map_of(keys: ArrayRef, values: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let fields =
        vec![Field::new("key", keys.data_type().clone(), false), Field::new("value", values.data_type().clone(), true)];
    let entries = StructArray::new(fields.into(), vec![keys, values], None);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(MapArray::new(field, offsets, entries, None, false))
}

fn rows(series: &Series) -> Vec<String> {
    series.iter().map(|value| value.to_string()).collect()
}

#[test]
fn maps_inside_of_other_types_are_lists_of_their_entries_in_polars() {
    let texts = || Arc::new(StringArray::from(vec!["a", "b", "c"])) as ArrayRef;
    let map = || map_of(texts(), Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])), &[2, 1]);
    let flat = rows(&in_polars(map()));
    assert_eq!(
        rows(&in_polars(struct_of(map(), None))),
        flat.iter().map(|row| format!("{{{row}}}")).collect::<Vec<_>>()
    );
    assert_eq!(
        rows(&in_polars(list_of(map(), &[1, 1]))),
        flat.iter().map(|row| format!("[{row}]")).collect::<Vec<_>>()
    );
    let twice = in_polars(map_of(Arc::new(Int64Array::from(vec![7, 8])), map(), &[1, 1]));
    assert_eq!(rows(&twice), [format!("[{{7,{}}}]", flat[0]), format!("[{{8,{}}}]", flat[1])]);
}

#[test]
fn arrays_whose_items_have_no_bytes_keep_their_length_in_polars() {
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let texts = Arc::new(StringArray::from(Vec::<&str>::new())) as ArrayRef;
    for second_is_null in [false, true] {
        let nulls = second_is_null.then(|| NullBuffer::from(vec![true, false, true]));
        let lists = FixedSizeListArray::try_new_with_length(item.clone(), 0, texts.clone(), nulls.clone(), 3).unwrap();
        let bytes = FixedSizeBinaryArray::try_new_with_len(0, Buffer::default(), nulls, 3).unwrap();
        for array in [Arc::new(lists) as ArrayRef, Arc::new(bytes)] {
            let runs: RunArray<Int32Type> = RunArray::try_new(&Int32Array::from(vec![1, 2, 5]), &array).unwrap();
            let keys = Int8Array::from(vec![Some(2), Some(1), None]);
            let dictionary: DictionaryArray<Int8Type> = DictionaryArray::try_new(keys, array.clone()).unwrap();
            for (array, nulls) in [
                (array.clone(), vec![false, second_is_null, false]),
                (struct_of(array.clone(), None), vec![false, false, false]),
                (list_of(array, &[3, 0]), vec![false, false]),
                (Arc::new(runs), vec![false, second_is_null, false, false, false]),
                (Arc::new(dictionary), vec![false, second_is_null, true]),
            ] {
                let series = in_polars(array);
                let found: Vec<Option<bool>> = series.is_null().iter().collect();
                assert_eq!(found, nulls.into_iter().map(Some).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn nulls_among_the_values_of_a_dictionary_are_nulls_in_polars() {
    let values = BinaryArray::from(vec![Some(b"a" as &[u8]), None]);
    let keys = Int8Array::from(vec![Some(0), Some(1), None, Some(0)]);
    let dictionary: DictionaryArray<Int8Type> = DictionaryArray::try_new(keys, Arc::new(values)).unwrap();
    let series = in_polars(Arc::new(dictionary));
    assert_eq!(rows(&series), ["b\"a\"", "null", "null", "b\"a\""]);
}

#[test]
fn nulls_of_structs_inside_of_lists_are_nulls_of_their_fields_in_polars() {
    let scratch = scratch();
    let hidden = struct_of(Arc::new(Int64Array::from(vec![1, 2, 3])), Some(vec![true, false, true].into()));
    let batch = RecordBatch::try_from_iter([("c", list_of(hidden, &[1, 2]))]).unwrap();
    let df = scratch.store.publish("x", &batch).unwrap().to_polars().unwrap();
    let frame = scratch.store.publish("y", &df).unwrap();
    let structs = frame.batches()[0].column(0).as_list::<i64>().values().clone();
    assert!(structs.as_struct().column(0).is_null(1));
    scratch.store.verify("y").unwrap();
}

#[test]
fn values_in_null_structs_inside_lists_are_accepted_from_polars() {
    let scratch = scratch();
    let numbers = PrimitiveArray::from_vec(vec![1_i64, 2, 3]).boxed();
    let fields = vec![PlField::new("f".into(), ArrowDataType::Int64, true)];
    let structs =
        PlStructArray::new(ArrowDataType::Struct(fields), 3, vec![numbers], Some(Bitmap::from([true, false, true])));
    let item = ArrowDataType::LargeList(Box::new(PlField::new("item".into(), structs.dtype().clone(), true)));
    let offsets = OffsetsBuffer::try_from(vec![0, 1, 3]).unwrap();
    let lists = PlListArray::<i64>::new(item, offsets, structs.boxed(), None).boxed();
    let series = Series::try_from((PlSmallStr::from("c"), lists as Box<dyn PlArray>)).unwrap();
    assert!(matches!(series.dtype(), PlDataType::List(_)));
    let df = DataFrame::new(2, vec![series.into_column()]).unwrap();
    let frame = scratch.store.publish("x", &df).unwrap();
    assert!(frame.to_polars().unwrap().equals_missing(&df));
    scratch.store.verify("x").unwrap();
}
