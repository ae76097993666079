//! Times that are outside of their day: Arrow allows none, arrow checks none, and Polars panics when it shows one.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use coframe::arrow::{
    array::{
        Array, ArrayRef, DictionaryArray, FixedSizeListArray, Int16Array, Int32Array, Int64Array, LargeListArray,
        LargeListViewArray, ListArray, ListViewArray, MapArray, RecordBatch, RunArray, StringArray, StructArray,
        Time32MillisecondArray, Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray, UnionArray,
        new_null_array,
    },
    buffer::{NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Fields, Int32Type, UnionFields},
    ipc::writer::FileWriter,
};

use crate::common::{Scratch, scratch};

/// Two times of each type, of which the second is this many days.
pub(crate) fn times(days: i64) -> Vec<ArrayRef> {
    let seconds = days * 86_400;
    vec![
        Arc::new(Time32SecondArray::from(vec![1, seconds as i32])),
        Arc::new(Time32MillisecondArray::from(vec![1, (seconds * 1_000) as i32])),
        Arc::new(Time64MicrosecondArray::from(vec![1, seconds * 1_000_000])),
        Arc::new(Time64NanosecondArray::from(vec![1, seconds * 1_000_000_000])),
    ]
}

fn structs(times: &ArrayRef, nulls: Option<NullBuffer>) -> ArrayRef {
    let field = Field::new("t", times.data_type().clone(), true);
    Arc::new(StructArray::new(vec![field].into(), vec![times.clone()], nulls))
}

fn item(array: &ArrayRef) -> Arc<Field> {
    Arc::new(Field::new("item", array.data_type().clone(), true))
}

fn lists(items: &ArrayRef) -> ArrayRef {
    Arc::new(LargeListArray::new(item(items), OffsetBuffer::new(vec![0, 1, 2].into()), items.clone(), None))
}

fn union(times: &ArrayRef, types: Vec<i8>, offsets: Option<ScalarBuffer<i32>>) -> ArrayRef {
    let fields = [Field::new("t", times.data_type().clone(), true), Field::new("n", DataType::Int32, true)];
    let fields = UnionFields::try_new([0, 1], fields).unwrap();
    let numbers = Arc::new(Int32Array::from(vec![7, 8]));
    Arc::new(UnionArray::try_new(fields, types.into(), offsets, vec![times.clone(), numbers]).unwrap())
}

/// Columns of two rows that hold these two times.
pub(crate) fn around(times: &ArrayRef) -> Vec<ArrayRef> {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", times.data_type().clone(), true),
    ]);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let entries = StructArray::new(entries, vec![keys, times.clone()], None);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    vec![
        times.clone(),
        lists(times),
        Arc::new(ListArray::new(item(times), OffsetBuffer::new(vec![0, 1, 2].into()), times.clone(), None)),
        structs(times, None),
        lists(&structs(times, None)),
        structs(&lists(times), None),
        Arc::new(ListViewArray::new(item(times), vec![1, 0].into(), vec![1, 1].into(), times.clone(), None)),
        Arc::new(LargeListViewArray::new(item(times), vec![1, 0].into(), vec![1, 1].into(), times.clone(), None)),
        Arc::new(FixedSizeListArray::new(item(times), 1, times.clone(), None)),
        Arc::new(MapArray::new(field, OffsetBuffer::new(vec![0, 1, 2].into()), entries, None, false)),
        union(times, vec![0, 0], Some(vec![0, 1].into())),
        union(times, vec![1, 0], None),
        Arc::new(RunArray::try_new(&Int16Array::from(vec![1, 2]), times).unwrap()),
        Arc::new(RunArray::try_new(&Int32Array::from(vec![1, 2]), times).unwrap()),
        Arc::new(RunArray::try_new(&Int64Array::from(vec![1, 2]), times).unwrap()),
        Arc::new(DictionaryArray::<Int32Type>::new(vec![1, 0].into(), times.clone())),
        lists(&(Arc::new(DictionaryArray::<Int32Type>::new(vec![1, 0].into(), times.clone())) as _)),
    ]
}

fn batch(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("clock", column, true)]).unwrap()
}

/// A file of another writer in the place of a segment.
fn place(scratch: &Scratch, column: ArrayRef) {
    let batch = batch(column);
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let path = scratch.path().join("x@1.arrow");
    fs::write(&path, writer.into_inner().unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let _ = std::os::unix::fs::symlink("x@1.arrow", scratch.path().join("x.arrow"));
}

#[test]
fn a_time_outside_of_its_day_is_refused_at_any_depth_by_every_reader_and_writer() {
    let scratch = scratch();
    let path = scratch.path().join("x@1.arrow");
    for (days, refused) in [(0, false), (1, true), (-1, true)] {
        for column in times(days).iter().flat_map(around) {
            let what = format!("{days} {}", column.data_type());
            place(&scratch, column.clone());
            let opened = scratch.store.open("x");
            let imported = scratch.store.import("y", &path);
            let published = scratch.store.publish("z", &batch(column));
            if !refused {
                opened.unwrap();
                imported.unwrap();
                published.unwrap();
                scratch.store.verify("z").unwrap();
                continue;
            }
            for error in [opened.unwrap_err(), imported.unwrap_err()] {
                assert_eq!(error.rule(), Some("V1-values"), "{what}: {error}");
                assert!(error.to_string().contains("column `clock`"), "{what}: {error}");
            }
            let error = published.expect_err(&what);
            let text = format!("{error}: {:?}", std::error::Error::source(&error));
            assert!(text.contains("column `clock") && text.contains("outside its day"), "{what}: {text}");
        }
    }
}

#[test]
fn a_time_in_a_null_slot_may_have_any_value() {
    let scratch = scratch();
    let nulls = || Some(NullBuffer::from(vec![true, false]));
    for times in times(2) {
        let data = times.to_data().into_builder().nulls(nulls()).build().unwrap();
        let fixed = FixedSizeListArray::new(item(&times), 1, times.clone(), nulls());
        let columns = [
            coframe::arrow::array::make_array(data),
            structs(&times, nulls()),
            structs(&structs(&times, None), nulls()),
            Arc::new(fixed),
            union(&times, vec![0, 1], None),
            new_null_array(times.data_type(), 2),
        ];
        for column in columns {
            place(&scratch, column.clone());
            assert_eq!(scratch.store.open("x").unwrap().num_rows(), 2, "{}", column.data_type());
            scratch.store.publish("y", &batch(column)).unwrap();
            scratch.store.verify("y").unwrap();
        }
    }
}
