//! Valid tables and files, from which the seeds are made and whose messages `footer` uses.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array, ListArray,
        ListViewArray, NullArray, RecordBatch, RunArray, StringArray, StringViewArray, StructArray, UnionArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Int32Type, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode},
    ipc::{
        MetadataVersion,
        writer::{IpcWriteOptions, StreamWriter},
    },
};

use crate::{scratch::Scratch, segment};

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

/// Schemas with what the conformance set lacks.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Schema)> {
    let pairs = |of: &str| [("a", of), ("b", of)].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let plain = |types: Vec<DataType>| -> Vec<Field> { types.into_iter().map(|t| Field::new("f", t, true)).collect() };
    let metadata =
        plain(vec![DataType::UInt16, DataType::Utf8]).into_iter().map(|field| field.with_metadata(pairs("f")));
    let times = plain(vec![
        DataType::Interval(IntervalUnit::YearMonth),
        DataType::Interval(IntervalUnit::DayTime),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Timestamp(TimeUnit::Second, Some("+01:00".into())),
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, -2),
        DataType::Decimal256(76, 0),
    ]);
    let inside = |data_type| Arc::new(Field::new("inside", data_type, true));
    let words = DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8));
    let variants = || UnionFields::try_new([5, 9], plain(vec![DataType::Int8, DataType::Float16])).unwrap();
    let ends = Arc::new(Field::new("run_ends", DataType::Int16, false));
    let nested = plain(vec![
        DataType::Union(variants(), UnionMode::Dense),
        DataType::Union(variants(), UnionMode::Sparse),
        DataType::RunEndEncoded(ends, inside(words.clone())),
        DataType::Dictionary(Box::new(DataType::Int64), Box::new(DataType::List(inside(words)))),
        DataType::FixedSizeList(inside(DataType::FixedSizeBinary(3)), 2),
    ]);
    vec![
        ("with_metadata", Schema::new_with_metadata(metadata.collect::<Vec<_>>(), pairs("s"))),
        ("with_times", Schema::new(times)),
        ("with_nested", Schema::new(nested)),
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

/// The flatbuffer of a schema message of another writer.
#[must_use]
pub fn schema(schema: &Schema) -> Vec<u8> {
    let stream = StreamWriter::try_new(Vec::new(), schema).unwrap().into_inner().unwrap();
    segment::messages(&stream).remove(0).header
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
