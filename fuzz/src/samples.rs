//! Valid tables and files, from which the seeds are made and whose messages `footer` uses.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array, ListArray,
        ListViewArray, NullArray, RecordBatch, RunArray, StringArray, StringViewArray, StructArray, UnionArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Int32Type, UnionFields},
    ipc::{
        MetadataVersion,
        writer::{IpcWriteOptions, StreamWriter},
    },
};

use crate::scratch::Scratch;

fn item(array: &dyn Array) -> Arc<Field> {
    Arc::new(Field::new("item", array.data_type().clone(), true))
}

fn numbers() -> ArrayRef {
    Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))
}

fn table(columns: Vec<ArrayRef>) -> RecordBatch {
    let names = ["c", "n", "d", "e", "f", "g", "h"];
    RecordBatch::try_from_iter_with_nullable(names.into_iter().zip(columns).map(|(name, column)| (name, column, true)))
        .unwrap()
}

/// Tables with a kind of column each.
#[must_use]
pub fn tables() -> Vec<(&'static str, RecordBatch)> {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x", "yy", "zzz"]));
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(
        item(&NullArray::new(0)),
        2,
        Arc::new(NullArray::new(6)),
        Some(NullBuffer::from(vec![true, false, true])),
    ));
    let list: ArrayRef =
        Arc::new(ListArray::new(item(&*fixed), OffsetBuffer::new(vec![0, 1, 1, 3].into()), Arc::clone(&fixed), None));
    let views: ArrayRef =
        Arc::new(ListViewArray::new(item(&*numbers()), vec![0, 0, 1].into(), vec![3, 2, 1].into(), numbers(), None));
    let fields =
        UnionFields::try_new([0, 1], [Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)]);
    let union: ArrayRef = Arc::new(
        UnionArray::try_new(fields.unwrap(), vec![0, 1, 0].into(), None, vec![numbers(), Arc::clone(&texts)]).unwrap(),
    );
    let runs: ArrayRef =
        Arc::new(RunArray::try_new(&Int32Array::from(vec![2, 3]), &StringArray::from(vec!["r", "s"])).unwrap());
    let words: DictionaryArray<Int32Type> = [Some("up"), None, Some("down")].into_iter().collect();
    let parts: ArrayRef = Arc::new(StructArray::from(vec![
        (item(&*list), Arc::clone(&list)),
        (Arc::new(Field::new("w", words.data_type().clone(), true)), Arc::new(words.clone()) as _),
    ]));
    let long: ArrayRef = Arc::new(StringViewArray::from(vec![Some("short"), None, Some("a text of more than twelve")]));
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    vec![
        ("numbers", table(vec![numbers(), wide, flags])),
        ("strings", table(vec![texts, long, Arc::new(words), runs])),
        ("nested", table(vec![list, views, union, parts, fixed])),
    ]
}

/// Segments of these tables, as coframe writes them.
#[must_use]
pub fn segments(scratch: &Scratch) -> Vec<(&'static str, Vec<u8>)> {
    let publish = |(name, batch): (&'static str, RecordBatch)| {
        let options = coframe::PublishOptions::new().batch_rows(2).metadata("source", "a sample");
        let frame = scratch.store.publish_with("sample", &batch, &options).unwrap();
        (name, frame.segment_bytes().to_vec())
    };
    tables().into_iter().map(publish).collect()
}

/// The batches as a stream of another writer.
#[must_use]
pub fn stream(batch: &RecordBatch) -> Vec<u8> {
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    for part in [batch.slice(0, 2), batch.slice(2, 1)] {
        writer.write(&part).unwrap();
    }
    writer.into_inner().unwrap()
}
