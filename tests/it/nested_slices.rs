//! Nested arrays: a slice is written as its rows and no more, and fields are matched by name.

use std::sync::Arc;

use coframe::{
    IpcReader, PublishOptions,
    arrow::{
        array::{
            Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeListArray, Int8Array, Int32Array,
            Int64Array, LargeListArray, LargeListViewArray, ListArray, ListBuilder, ListViewArray, MapArray,
            RecordBatch, RunArray, StringArray, StringViewArray, StringViewBuilder, StructArray, UnionArray,
        },
        buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, RunEndBuffer, ScalarBuffer},
        datatypes::{
            DataType, Field, Fields, Int8Type, Int32Type, Int64Type, Schema, TimeUnit, UnionFields, UnionMode,
        },
        ipc::writer::StreamWriter,
    },
};

use crate::common::scratch;

fn list_of(items: ArrayRef, lengths: &[usize]) -> RecordBatch {
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    let list = ListArray::new(item, offsets, items, None);
    RecordBatch::try_from_iter([("l", Arc::new(list) as ArrayRef)]).unwrap()
}

#[test]
fn a_slice_of_lists_of_unions_keeps_its_values() {
    let scratch = scratch();
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let fields: UnionFields =
        [(0_i8, field("i", DataType::Int64)), (1, field("s", DataType::Utf8))].into_iter().collect();
    let ids = || ScalarBuffer::from(vec![0_i8, 1, 0, 1]);
    let dense: [ArrayRef; 2] = [Arc::new(Int64Array::from(vec![1, 2])), Arc::new(StringArray::from(vec!["a", "b"]))];
    let sparse: [ArrayRef; 2] =
        [Arc::new(Int64Array::from(vec![1, 0, 2, 0])), Arc::new(StringArray::from(vec!["", "a", "", "b"]))];
    let offsets = Some(ScalarBuffer::from(vec![0, 0, 1, 1]));
    for (offsets, children) in [(offsets, dense), (None, sparse)] {
        let union = UnionArray::try_new(fields.clone(), ids(), offsets, children.to_vec()).unwrap();
        let batch = list_of(Arc::new(union), &[1, 3]);
        let frame = scratch.store.publish("u", &batch.slice(1, 1)).unwrap();
        scratch.store.verify("u").unwrap();
        let found = frame.batches()[0].column(0).as_list::<i32>().value(0);
        let found = found.as_union();
        assert_eq!(found.len(), 3);
        assert_eq!(found.value(0).as_string::<i32>().value(0), "a");
        assert_eq!(found.value(1).as_primitive::<Int64Type>().value(0), 2);
        assert_eq!(found.value(2).as_string::<i32>().value(0), "b");
    }
}

#[test]
fn the_values_of_a_dictionary_are_written_as_their_rows_too() {
    let scratch = scratch();
    let fields: UnionFields = [(0_i8, named("i")), (1, named("j"))].into_iter().collect();
    let ids = ScalarBuffer::from(vec![0_i8, 1, 0, 1]);
    let numbers = || Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef;
    let union = UnionArray::try_new(fields, ids, None, vec![numbers(), numbers()]).unwrap();
    let lists = list_of(Arc::new(union), &[1, 2, 1]).column(0).slice(1, 2);
    let keys = Int8Array::from(vec![Some(1), None, Some(0)]);
    let dictionary: DictionaryArray<Int8Type> = DictionaryArray::try_new(keys, lists).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable([("d", Arc::new(dictionary) as ArrayRef, true)]).unwrap();
    let frame = scratch.store.publish("d", &batch).unwrap();
    scratch.store.verify("d").unwrap();
    let values = frame.batches()[0].column(0).as_dictionary::<Int8Type>().values().clone();
    let numbers = |row: usize| -> Vec<i64> {
        let items = values.as_list::<i32>().value(row);
        let items = items.as_union();
        (0..items.len()).map(|item| items.value(item).as_primitive::<Int64Type>().value(0)).collect()
    };
    assert_eq!((values.len(), numbers(0), numbers(1)), (2, vec![2, 3], vec![4]));
}

#[test]
fn dictionaries_of_structs_of_lists_without_items_are_merged() {
    let scratch = scratch();
    let batch = |numbers: [i64; 2]| {
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let nothing = Arc::new(Int64Array::from(Vec::<i64>::new()));
        let lists = FixedSizeListArray::try_new_with_length(item, 0, nothing, None, 2).unwrap();
        let lists_field = Field::new("lists", lists.data_type().clone(), true);
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(numbers.to_vec())), Arc::new(lists)];
        let values = StructArray::new(vec![named("number"), lists_field.into()].into(), columns, None);
        let keys = Int8Array::from(vec![1, 0]);
        let dictionary: DictionaryArray<Int8Type> = DictionaryArray::try_new(keys, Arc::new(values)).unwrap();
        RecordBatch::try_from_iter([("d", Arc::new(dictionary) as ArrayRef)]).unwrap()
    };
    let frame = scratch.store.publish("d", &[batch([1, 2]), batch([2, 3])][..]).unwrap();
    let dictionary = frame.batches()[0].column(0).as_dictionary::<Int8Type>().clone();
    let numbers = dictionary.values().as_struct().column(0).as_primitive::<Int64Type>().clone();
    let numbers: Vec<i64> = dictionary.keys().iter().map(|key| numbers.value(key.unwrap() as usize)).collect();
    assert_eq!(numbers, [2, 1, 3, 2]);
}

#[test]
fn a_slice_of_a_dictionary_of_views_writes_only_its_values() {
    let scratch = scratch();
    let texts: StringViewArray = (0..10_000).map(|row| Some(format!("a text that is not inlined, {row}"))).collect();
    let keys = Int8Array::from(vec![0, 1, 0]);
    let dictionary: DictionaryArray<Int8Type> = DictionaryArray::try_new(keys, Arc::new(texts.slice(7, 2))).unwrap();
    let batch = RecordBatch::try_from_iter([("d", Arc::new(dictionary) as ArrayRef)]).unwrap();
    let frame = scratch.store.publish("d", &batch).unwrap();
    assert!(frame.size_bytes() < 10_000, "{} bytes", frame.size_bytes());
    scratch.store.verify("d").unwrap();
}

#[test]
fn a_dictionary_inside_of_a_dictionary_is_refused_by_its_column() {
    let scratch = scratch();
    let inner = DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into());
    let outer = DataType::Dictionary(DataType::Int8.into(), inner.into());
    let schema = Schema::new(vec![named("good").as_ref().clone(), Field::new("bad", outer, true)]);
    let error = scratch.store.writer("x", Arc::new(schema)).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("column `bad`"), "{error}");
    assert!(scratch.files().is_empty());
}

#[test]
fn lists_that_are_all_empty_hold_no_runs() {
    let scratch = scratch();
    let ends = Int32Array::from(vec![2, 5]);
    let runs: RunArray<Int32Type> = RunArray::try_new(&ends, &StringArray::from(vec!["a", "b"])).unwrap();
    let batch = list_of(Arc::new(runs), &[5, 0, 0]);
    scratch.store.publish("r", &batch.slice(1, 2)).unwrap();
    assert_eq!(scratch.store.verify("r").unwrap().num_rows(), 2);
}

#[test]
fn runs_of_booleans_that_start_inside_a_byte_are_written_and_coalesced() {
    let scratch = scratch();
    let bits = BooleanBuffer::from(vec![false, false, true, false, true, true, false, true, false, true, false]);
    let nulls = NullBuffer::from(vec![true, true, true, true, false, true, true, true]);
    let values = BooleanArray::new(bits.slice(3, 8), Some(nulls));
    let data_type = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1]), &BooleanArray::from(vec![true]));
    let ends = RunEndBuffer::new(ScalarBuffer::from(vec![1, 2, 3, 4, 5, 6, 7, 8]), 0, 8);
    // SAFETY: there is a value for each of the ends, which `RunEndBuffer::new` has checked. The safe constructor asks
    // for nulls of as many bits as precede the values too, although they have a separate buffer.
    let runs =
        unsafe { RunArray::<Int32Type>::new_unchecked(data_type.unwrap().data_type().clone(), ends, Arc::new(values)) };
    let runs: ArrayRef = Arc::new(runs);
    let batch = |column: ArrayRef| RecordBatch::try_from_iter_with_nullable([("r", column, true)]).unwrap();
    let frame = scratch.store.publish("r", &[batch(runs.slice(0, 1)), batch(runs.clone())][..]).unwrap();
    let values = |array: &ArrayRef| -> Vec<Option<bool>> {
        let runs = array.as_run::<Int32Type>();
        let values = runs.values().as_boolean();
        let row = |row| runs.get_physical_index(row);
        (0..array.len()).map(|at| values.is_valid(row(at)).then(|| values.value(row(at)))).collect()
    };
    let expected =
        [Some(false), Some(false), Some(true), Some(true), Some(false), None, Some(false), Some(true), Some(false)];
    assert_eq!(values(frame.batches()[0].column(0)), expected);
    scratch.store.publish("r", &batch(runs)).unwrap();
    scratch.store.verify("r").unwrap();
}

#[test]
fn parts_of_lists_of_views_are_as_large_as_their_rows() {
    let scratch = scratch();
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    for row in 0..20_000 {
        builder.values().append_value(format!("a long text that is not inlined, number {row}"));
        builder.append(true);
    }
    let batch = RecordBatch::try_from_iter([("l", Arc::new(builder.finish()) as ArrayRef)]).unwrap();
    let full = scratch.store.publish("full", &batch).unwrap().size_bytes();
    let ten = scratch.store.publish("ten", &batch.slice(0, 10)).unwrap().size_bytes();
    assert!(ten < full / 100, "{ten} of {full}");
    let options = PublishOptions::new().batch_rows(1000);
    let cut = scratch.store.publish_with("cut", &batch, &options).unwrap().size_bytes();
    assert!(cut < full / 4 * 5, "{cut} of {full}");
}

fn named(name: &str) -> Arc<Field> {
    Arc::new(Field::new(name, DataType::Int64, true))
}

#[test]
fn batches_whose_struct_fields_have_another_order_are_refused() {
    let scratch = scratch();
    let column = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let batch = |fields: [&str; 2], values: [i64; 2]| {
        let structs = StructArray::new(fields.map(named).to_vec().into(), values.map(column).to_vec(), None);
        RecordBatch::try_from_iter([("s", Arc::new(structs) as ArrayRef)]).unwrap()
    };
    let parts = [batch(["a", "b"], [1, 100]), batch(["b", "a"], [100, 1])];
    let error = scratch.store.publish("x", &parts[..]).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("`s`"), "{error}");
    assert!(scratch.files().is_empty());
}

#[test]
fn a_union_whose_fields_have_another_order_is_refused() {
    let scratch = scratch();
    let schema_fields: UnionFields = [(0_i8, named("i")), (1, named("j"))].into_iter().collect();
    let other_fields: UnionFields = [(1_i8, named("j")), (0, named("i"))].into_iter().collect();
    let children: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![10])), Arc::new(Int64Array::from(vec![1, 2, 3]))];
    let (ids, offsets) = (ScalarBuffer::from(vec![0_i8, 0, 0, 1]), ScalarBuffer::from(vec![0, 1, 2, 0]));
    let union = UnionArray::try_new(other_fields, ids, Some(offsets), children).unwrap();
    let batch = RecordBatch::try_from_iter([("u", Arc::new(union) as ArrayRef)]).unwrap();
    let field = Field::new("u", DataType::Union(schema_fields, UnionMode::Dense), false);
    let mut writer = scratch.store.writer("x", Arc::new(Schema::new(vec![field]))).unwrap();
    let error = writer.write(&batch).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("`u`"), "{error}");
}

#[test]
fn lists_and_maps_may_have_other_names_for_their_items() {
    let scratch = scratch();
    let batch = |item: &str, entries: [&str; 3]| {
        let items = Arc::new(Field::new(item, DataType::Int64, true));
        let list = ListArray::new(items, OffsetBuffer::from_lengths([1]), Arc::new(Int64Array::from(vec![1])), None);
        let fields =
            vec![Field::new(entries[1], DataType::Int64, false), Field::new(entries[2], DataType::Int64, true)];
        let pairs: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![7])), Arc::new(Int64Array::from(vec![8]))];
        let pairs = StructArray::new(fields.into(), pairs, None);
        let field = Arc::new(Field::new(entries[0], pairs.data_type().clone(), false));
        let map = MapArray::new(field, OffsetBuffer::from_lengths([1]), pairs, None, false);
        RecordBatch::try_from_iter([("l", Arc::new(list) as ArrayRef), ("m", Arc::new(map) as ArrayRef)]).unwrap()
    };
    let parts = [batch("item", ["entries", "key", "value"]), batch("element", ["key_value", "keys", "values"])];
    let frame = scratch.store.publish("x", &parts[..]).unwrap();
    assert_eq!(frame.num_rows(), 2);
    let lists = frame.column("l").unwrap();
    assert_eq!(lists.iter().map(coframe::arrow::array::Array::len).sum::<usize>(), 2);
}

/// Columns of as many rows as there are texts, each of which is around one of them.
fn around(texts: &ArrayRef) -> Vec<ArrayRef> {
    let (rows, wide_rows) = (texts.len() as i32, texts.len() as i64);
    let item = Arc::new(Field::new("item", texts.data_type().clone(), true));
    let fields = ["key", "value"].map(|name| Field::new(name, texts.data_type().clone(), name == "value"));
    let entries = StructArray::new(Fields::from(fields.to_vec()), vec![texts.clone(), texts.clone()], None);
    let entry = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let offsets = OffsetBuffer::from_lengths(vec![1; texts.len()]);
    let wide_offsets = OffsetBuffer::from_lengths(vec![1; texts.len()]);
    let starts: ScalarBuffer<i32> = (0..rows).collect();
    let wide_starts: ScalarBuffer<i64> = (0..wide_rows).collect();
    let (sizes, wide_sizes) = (vec![1_i32; texts.len()], vec![1_i64; texts.len()]);
    let (ends, wide_ends) = (Int32Array::from_iter_values(1..=rows), Int64Array::from_iter_values(1..=wide_rows));
    vec![
        Arc::new(ListArray::new(item.clone(), offsets.clone(), texts.clone(), None)),
        Arc::new(LargeListArray::new(item.clone(), wide_offsets, texts.clone(), None)),
        Arc::new(ListViewArray::new(item.clone(), starts, sizes.into(), texts.clone(), None)),
        Arc::new(LargeListViewArray::new(item.clone(), wide_starts, wide_sizes.into(), texts.clone(), None)),
        Arc::new(FixedSizeListArray::new(item.clone(), 1, texts.clone(), None)),
        Arc::new(StructArray::new(vec![item].into(), vec![texts.clone()], None)),
        Arc::new(MapArray::new(entry, offsets, entries, None, false)),
        Arc::new(RunArray::try_new(&ends, texts).unwrap()),
        Arc::new(RunArray::try_new(&wide_ends, texts).unwrap()),
    ]
}

#[test]
fn a_slice_of_any_nested_column_writes_only_its_rows() {
    let scratch = scratch();
    let texts = (10_000..30_000).map(|row| format!("the text {row}"));
    let plain: ArrayRef = Arc::new(StringArray::from_iter_values(texts.clone()));
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    for column in [plain, views].iter().flat_map(around) {
        let slice = RecordBatch::try_from_iter([("x", column.slice(10_000, 3))]).unwrap();
        let frame = scratch.store.publish("x", &slice).unwrap();
        assert!(frame.size_bytes() < 4096, "{}: {} bytes", column.data_type(), frame.size_bytes());
        assert_eq!(frame.batches(), [slice]);
    }
}

#[test]
fn a_slice_of_a_dense_union_writes_only_its_values() {
    let scratch = scratch();
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let fields: UnionFields =
        [(0_i8, field("i", DataType::Int64)), (1, field("s", DataType::Utf8))].into_iter().collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50_000));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..50_000).map(|n| n.to_string())));
    let ids: Vec<i8> = (0..100_000).map(|row| row % 2).map(|id| id as i8).collect();
    let offsets: Vec<i32> = (0..100_000).map(|row| row / 2).collect();
    let union = UnionArray::try_new(fields, ids.into(), Some(offsets.into()), vec![numbers, texts]).unwrap();
    let slice = RecordBatch::try_from_iter([("u", Arc::new(union.slice(60_001, 4)) as ArrayRef)]).unwrap();
    let frame = scratch.store.publish("x", &slice).unwrap();
    assert!(frame.size_bytes() < 8192, "{}", frame.size_bytes());
    let found = frame.batches()[0].column(0).as_union().clone();
    let texts = [0, 2].map(|row| found.value(row).as_string::<i32>().value(0).to_owned());
    let numbers = [1, 3].map(|row| found.value(row).as_primitive::<Int64Type>().value(0));
    assert_eq!((texts, numbers), (["30000", "30001"].map(str::to_owned), [30_001, 30_002]));
}

#[test]
fn rows_without_items_of_a_list_view_may_start_anywhere() {
    let scratch = scratch();
    let items: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    // Of the items between the first and the last one that a row has, most belong to no row.
    let (offsets, sizes) = (vec![0, 50, 100, 99], vec![0, 1, 0, 1]);
    let lists = ListViewArray::new(item, offsets.into(), sizes.into(), items, None);
    let frame = scratch
        .store
        .publish("x", &RecordBatch::try_from_iter([("l", Arc::new(lists.clone()) as ArrayRef)]).unwrap())
        .unwrap();
    let found = frame.batches()[0].column(0).as_list_view::<i32>().clone();
    assert_eq!(found.values().len(), 2);
    for row in 0..4 {
        assert_eq!(&found.value(row), &lists.value(row), "row {row}");
    }
}

/// A number in this many lists, in the column `deep`.
fn lists(depth: usize) -> RecordBatch {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let nest = |inside: ArrayRef, _| -> ArrayRef {
        let item = Arc::new(Field::new("item", inside.data_type().clone(), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1]), inside, None))
    };
    RecordBatch::try_from_iter([("deep", (0..depth).fold(number, nest))]).unwrap()
}

#[test]
fn types_as_deep_as_the_format_allows_are_read_and_verified() {
    let scratch = scratch();
    for depth in 56..=64 {
        let deep = lists(depth);
        let frame = scratch.store.publish("x", &deep).unwrap();
        assert_eq!(frame.batches(), [deep], "{depth}");
        scratch.store.verify("x").unwrap_or_else(|error| panic!("{depth}: {error}"));
        let mut mirror = scratch.store.mirror("y").unwrap();
        mirror.write(&frame.segment_bytes()).unwrap();
        mirror.publish().unwrap_or_else(|error| panic!("{depth}: {error}"));
    }
    assert!(scratch.store.publish("x", &lists(65)).unwrap_err().is_unsupported());
}

#[test]
fn a_table_that_no_reader_could_open_changes_nothing() {
    let scratch = scratch();
    let numbers = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![7])) as ArrayRef)]).unwrap();
    let good = scratch.store.publish("x", &numbers).unwrap();
    let error = scratch.store.publish("x", &lists(70)).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("`deep`"), "{error}");
    let version = good.version();
    drop(good);
    assert_eq!(scratch.store.versions("x").unwrap(), [version]);
    assert_eq!(scratch.store.open("x").unwrap().version(), version);
}

#[test]
fn types_that_no_reader_accepts_are_refused_by_their_column() {
    let scratch = scratch();
    for data_type in
        [DataType::Time32(TimeUnit::Nanosecond), DataType::Decimal128(0, 0), DataType::Time64(TimeUnit::Second)]
    {
        let bad = Field::new("bad", data_type.clone(), true);
        let schema = Arc::new(Schema::new(vec![named("good").as_ref().clone(), bad]));
        let error = scratch.store.writer("x", schema).expect_err(&data_type.to_string());
        assert!(error.is_unsupported() && error.to_string().contains("`bad`"), "{error}");
    }
    assert!(scratch.files().is_empty());
}

#[test]
fn a_dictionary_inside_of_the_values_of_another_one_takes_no_id_of_the_columns_after_it() {
    let words = |words: [&str; 2]| -> ArrayRef { Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>()) };
    let lists = list_of(words(["a", "b"]), &[1, 1]).remove_column(0);
    let outer: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(vec![1, 0].into(), lists));
    let columns = [("outer", outer), ("c", words(["c", "d"])), ("e", words(["e", "f"]))];
    let table = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &table.schema()).unwrap();
    writer.write(&table).unwrap();
    let stream = writer.into_inner().unwrap();
    let read: Vec<RecordBatch> = IpcReader::stream(&*stream, "the stream").unwrap().map(Result::unwrap).collect();
    assert_eq!(read, [table]);
}
