//! Every Arrow type survives the way through shared memory, and to Polars where Polars has something like it.

use std::sync::Arc;

use coframe::{
    CategoryPolicy, CopyPolicy, OpenOptions, PublishOptions, StringLayout,
    arrow::{
        array::{
            Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, DictionaryArray,
            FixedSizeBinaryArray, FixedSizeListArray, Int32Array, Int64Array, LargeListArray, ListArray, ListBuilder,
            ListViewArray, MapBuilder, NullArray, RecordBatch, RecordBatchIterator, RunArray, StringArray,
            StringBuilder, StringViewArray, StructArray, UInt32Array, UnionArray, make_array, new_null_array,
        },
        buffer::{NullBuffer, OffsetBuffer, ScalarBuffer},
        compute::{cast, concat_batches},
        datatypes::{
            DataType, Field, Fields, Int8Type, Int32Type, IntervalUnit, Schema, TimeUnit, UInt32Type, UnionFields,
            UnionMode, i256,
        },
        util::display::{ArrayFormatter, FormatOptions},
    },
    polars::prelude::Series,
};

use crate::common::scratch;

/// One column of every type, five rows, with nulls where the type can have them.
fn every_type() -> RecordBatch {
    use DataType as T;

    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(5)]));
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec![Some("a"), None, Some("a text that is longer"), Some(""), Some("a")]));
    let mut columns: Vec<ArrayRef> = Vec::new();
    for data_type in [
        T::Boolean,
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
        T::Float16,
        T::Float32,
        T::Float64,
        T::Decimal32(7, 2),
        T::Decimal64(12, 2),
        T::Decimal128(30, 2),
        T::Decimal256(50, 2),
        T::Timestamp(TimeUnit::Second, None),
        T::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())),
        T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(TimeUnit::Nanosecond, Some("+09:00".into())),
        T::Date64,
        T::Duration(TimeUnit::Second),
        T::Duration(TimeUnit::Millisecond),
        T::Duration(TimeUnit::Nanosecond),
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
    ] {
        columns.push(cast(&numbers, &data_type).unwrap());
    }
    let ints = cast(&numbers, &T::Int32).unwrap();
    for data_type in [T::Date32, T::Time32(TimeUnit::Second), T::Time32(TimeUnit::Millisecond)] {
        columns.push(cast(&ints, &data_type).unwrap());
    }
    for data_type in [T::Utf8, T::LargeUtf8, T::Utf8View, T::Binary, T::LargeBinary, T::BinaryView] {
        columns.push(cast(&texts, &data_type).unwrap());
    }
    for key in [T::Int8, T::Int32, T::UInt8, T::UInt32, T::Int64] {
        columns.push(cast(&texts, &T::Dictionary(Box::new(key), Box::new(T::Utf8))).unwrap());
    }
    columns.push(cast(&texts, &T::Dictionary(Box::new(T::UInt32), Box::new(T::Utf8View))).unwrap());
    columns.push(cast(&numbers, &T::Dictionary(Box::new(T::UInt16), Box::new(T::Int64))).unwrap());
    columns.push(Arc::new(NullArray::new(5)));
    columns.push(Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab", b"cd", b"ef", b"gh", b"ij"].iter()).unwrap()));
    columns.push(Arc::new(Decimal256Array::from(vec![i256::from(7); 5])));
    columns.extend(nested(&numbers, &texts));
    let columns = columns.into_iter().enumerate().map(|(i, column)| (format!("c{i}"), column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn nested(numbers: &ArrayRef, texts: &ArrayRef) -> Vec<ArrayRef> {
    let dictionary = cast(texts, &DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8))).unwrap();
    let lists = |values: &ArrayRef| {
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        let lengths = [2, 0, 1, 2, 0];
        let nulls = NullBuffer::from(vec![true, false, true, true, true]);
        ListArray::new(item, coframe::arrow::buffer::OffsetBuffer::from_lengths(lengths), values.clone(), Some(nulls))
    };
    let list: ArrayRef = Arc::new(lists(numbers));
    let large = |inner: &ArrayRef| {
        cast(inner, &DataType::LargeList(Arc::new(Field::new("item", DataType::Int64, true)))).unwrap()
    };
    let pair = |values: &ArrayRef| {
        let fields = Fields::from(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("v", values.data_type().clone(), true),
        ]);
        let nulls = NullBuffer::from(vec![true, true, false, true, true]);
        StructArray::new(fields, vec![numbers.clone(), values.clone()], Some(nulls))
    };
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let twice = coframe::arrow::compute::concat(&[texts, texts]).unwrap();
    let fixed = FixedSizeListArray::new(item, 2, twice, None);
    let mut map = MapBuilder::new(None, StringBuilder::new(), ListBuilder::new(StringBuilder::new()));
    for row in 0..5 {
        for entry in 0..row % 3 {
            map.keys().append_value(format!("k{entry}"));
            map.values().append_value([Some("x"), None]);
        }
        map.append(row != 1).unwrap();
    }
    let view_item = Arc::new(Field::new("item", DataType::Int64, true));
    let list_view =
        ListViewArray::new(view_item, vec![3, 0, 1, 1, 0].into(), vec![2, 0, 3, 1, 5].into(), numbers.clone(), None);
    let run: RunArray<Int32Type> =
        RunArray::try_new(&Int32Array::from(vec![2, 5]), &StringArray::from(vec!["r", "s"])).unwrap();
    let union_fields: UnionFields =
        [(0, Field::new("i", DataType::Int32, true)), (3, Field::new("s", DataType::Utf8, true))]
            .into_iter()
            .map(|(id, field)| (id, Arc::new(field)))
            .collect();
    let dense = UnionArray::try_new(
        union_fields.clone(),
        ScalarBuffer::from(vec![0_i8, 3, 0, 3, 0]),
        Some(ScalarBuffer::from(vec![0, 0, 1, 1, 2])),
        vec![Arc::new(Int32Array::from(vec![1, 2, 3])), Arc::new(StringArray::from(vec!["a", "b"]))],
    );
    let sparse_parts: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5])), texts.clone()];
    let sparse = UnionArray::try_new(union_fields, ScalarBuffer::from(vec![0_i8, 3, 0, 3, 0]), None, sparse_parts);
    vec![
        list.clone(),
        large(&list),
        Arc::new(lists(texts)),
        Arc::new(lists(&dictionary)),
        Arc::new(pair(texts)),
        Arc::new(pair(&dictionary)),
        Arc::new(lists(&(Arc::new(pair(&dictionary)) as ArrayRef))),
        Arc::new(fixed),
        Arc::new(map.finish()),
        Arc::new(list_view),
        Arc::new(run),
        Arc::new(dense.unwrap()),
        Arc::new(sparse.unwrap()),
        new_null_array(&DataType::Interval(IntervalUnit::MonthDayNano), 5),
        new_null_array(&DataType::Interval(IntervalUnit::DayTime), 5),
        new_null_array(&DataType::Interval(IntervalUnit::YearMonth), 5),
    ]
}

#[track_caller]
fn assert_same(frame: &coframe::Frame, expected: &RecordBatch) {
    let found = concat_batches(frame.schema(), frame.batches()).unwrap();
    let options = FormatOptions::default().with_null("null");
    for (i, field) in expected.schema().fields().iter().enumerate() {
        let show = |batch: &RecordBatch| -> Vec<String> {
            let format = ArrayFormatter::try_new(batch.column(i), &options).unwrap();
            (0..batch.num_rows()).map(|row| format.value(row).to_string()).collect()
        };
        assert_eq!(show(&found), show(expected), "{field}");
    }
}

#[test]
fn every_arrow_type_comes_back_exactly_and_shared() {
    let scratch = scratch();
    let batch = every_type();
    for (offset, len) in [(0, 5), (1, 3), (4, 1), (2, 0)] {
        let part = batch.slice(offset, len);
        let frame = scratch.store.publish("all", &part).unwrap();
        assert_eq!(frame.schema(), &batch.schema());
        if len > 0 {
            assert_same(&frame, &part);
        }
        scratch.store.verify("all").unwrap();
        assert_same(&frame.slice(len / 2..len).unwrap(), &part.slice(len / 2, len - len / 2));
    }
}

#[test]
fn every_arrow_type_takes_every_layout_in_many_batches() {
    let scratch = scratch();
    let batch = every_type();
    for layout in [StringLayout::View, StringLayout::Offset] {
        for rows in [2, 100] {
            let options = PublishOptions::new().layout(layout).batch_rows(rows);
            let frame = scratch.store.publish_with("all", &[batch.clone(), batch.clone()][..], &options).unwrap();
            assert_same(&frame, &concat_batches(&batch.schema(), [&batch, &batch]).unwrap());
            scratch.store.verify("all").unwrap();
            let wrong: &[&str] = match layout {
                StringLayout::Offset => &["Utf8View", "BinaryView"],
                _ => &["Utf8,", "LargeUtf8", "data_type: List("],
            };
            let schema = format!("{:?}", frame.schema().fields());
            assert!(!wrong.iter().any(|wrong| schema.contains(wrong)), "{layout:?}: {schema}");
        }
    }
}

#[test]
fn batches_with_different_dictionaries_keep_their_values_under_one_dictionary() {
    let scratch = scratch();
    let batch = |texts: &[Option<&str>]| {
        let plain: DictionaryArray<Int8Type> = texts.iter().copied().collect();
        let nested = StructArray::from(vec![(
            Arc::new(Field::new("d", plain.data_type().clone(), true)),
            Arc::new(plain.clone()) as ArrayRef,
        )]);
        RecordBatch::try_from_iter_with_nullable([
            ("d", Arc::new(plain) as ArrayRef, true),
            ("s", Arc::new(nested) as _, true),
        ])
        .unwrap()
    };
    let batches =
        [batch(&[Some("a"), Some("b")]), batch(&[Some("b"), Some("c"), None]), batch(&[Some("d"), Some("a")])];
    for rows in [1, 2, 100] {
        let frame = scratch.store.publish_with("d", &batches[..], &PublishOptions::new().batch_rows(rows)).unwrap();
        let texts: Vec<Option<String>> = frame
            .column("d")
            .unwrap()
            .iter()
            .flat_map(|array| {
                let array = cast(array, &DataType::Utf8).unwrap();
                array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
            })
            .collect();
        let expected = [Some("a"), Some("b"), Some("b"), Some("c"), None, Some("d"), Some("a")];
        assert_eq!(texts, expected.map(|text| text.map(str::to_owned)));
        let values = |batch: &RecordBatch| batch.column(0).as_dictionary::<Int8Type>().values().clone();
        assert!(frame.batches().iter().all(|batch| values(batch).len() == 4));
        scratch.store.verify("d").unwrap();
        // What other readers see: one dictionary message for each field.
        let file = std::fs::File::open(scratch.path().join("d.arrow")).unwrap();
        let reader = coframe::arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
        let read: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        assert_eq!(
            concat_batches(frame.schema(), &read).unwrap(),
            concat_batches(frame.schema(), frame.batches()).unwrap()
        );
    }
}

#[test]
fn more_categories_than_the_keys_can_count_are_refused_by_name() {
    let scratch = scratch();
    let batch = |range: std::ops::Range<i32>| {
        let array: DictionaryArray<Int8Type> =
            range.map(|i| i.to_string()).collect::<Vec<_>>().iter().map(|s| Some(s.as_str())).collect();
        RecordBatch::try_from_iter([("code", Arc::new(array) as ArrayRef)]).unwrap()
    };
    let error = scratch.store.publish("d", &[batch(0..100), batch(100..200)][..]).unwrap_err();
    assert!(
        error.is_unsupported() && error.to_string().starts_with("column `code`, whose batches together"),
        "{error}"
    );
    assert!(scratch.files().is_empty());
}

#[test]
fn a_decimal_whose_scale_is_above_its_precision_is_refused_by_name() {
    let scratch = scratch();
    for (scale, is_valid) in [(-3, true), (3, true), (4, false)] {
        let numbers = Decimal128Array::from(vec![123_456]).with_data_type(DataType::Decimal128(3, scale));
        let batch = RecordBatch::try_from_iter([("price", Arc::new(numbers) as ArrayRef)]).unwrap();
        let published = scratch.store.publish("d", &batch);
        if is_valid {
            assert_eq!(published.unwrap().batches(), [batch]);
        } else {
            let error = published.unwrap_err();
            assert!(error.is_unsupported() && error.to_string().starts_with("column `price`"), "{error}");
        }
    }
}

#[test]
fn a_union_without_variants_is_refused_by_name() {
    let scratch = scratch();
    for mode in [UnionMode::Dense, UnionMode::Sparse] {
        let union = DataType::Union(UnionFields::empty(), mode);
        let of_union = DataType::Dictionary(Box::new(DataType::Int32), Box::new(union.clone()));
        for data_type in [union.clone(), of_union, DataType::new_list(union, true)] {
            let schema = Arc::new(Schema::new(vec![Field::new("choice", data_type, true)]));
            let error = scratch.store.publish("d", RecordBatchIterator::new([], schema)).unwrap_err();
            assert!(error.is_unsupported() && error.to_string().starts_with("column `choice`"), "{error}");
        }
    }
}

#[test]
fn what_polars_has_goes_to_polars_and_every_copy_is_named() {
    let scratch = scratch();
    let batch = every_type();
    let frame = scratch.store.publish("all", &batch).unwrap();
    let mut refused = Vec::new();
    for field in batch.schema().fields() {
        let one = frame.select([field.name()]).unwrap();
        match one.to_polars() {
            Ok(df) => assert_eq!(df.height(), 5),
            Err(error) => {
                assert!(error.is_unsupported(), "{error:?}");
                refused.push(format!("{error}"));
            }
        }
        let never = OpenOptions::new().columns([field.name()]).copies(CopyPolicy::Never);
        let strict = scratch.store.open_with("all", &never).unwrap().to_polars();
        if let Ok(explain) = one.copy_report() {
            assert_eq!(strict.is_err(), explain.copied() > 0, "{explain}");
        }
    }
    assert_eq!(refused.len(), 5, "{refused:#?}");
    assert!(refused.iter().all(|error| error.contains("Union") || error.contains("Interval")), "{refused:#?}");
}

#[test]
fn nulls_of_foreign_structs_reach_their_fields_in_polars() {
    let scratch = scratch();
    let inner = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    let fields = Fields::from(vec![Field::new("x", DataType::Int64, true)]);
    let parent = StructArray::new(fields, vec![inner], Some(NullBuffer::from(vec![true, false, true])));
    let batch = RecordBatch::try_from_iter([("s", Arc::new(parent) as ArrayRef)]).unwrap();
    let frame = scratch.store.publish("s", &batch).unwrap();
    assert!(frame.copy_report().unwrap().columns[0].reason.is_some());
    let df = frame.to_polars().unwrap();
    let x = df.column("s").unwrap().struct_().unwrap().field_by_name("x").unwrap();
    assert_eq!(x.null_count(), 1);
}

#[test]
fn misaligned_buffers_of_a_foreign_file_are_copied_and_named_or_refused() {
    use coframe::arrow::ipc::{
        MetadataVersion,
        writer::{FileWriter, IpcWriteOptions},
    };
    let scratch = scratch();
    let numbers = Int64Array::from_iter_values(0..3);
    let decimals = cast(&numbers, &DataType::Decimal128(20, 2)).unwrap();
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"a", b"b", b"c"]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("b", bytes, true), ("f", flags, true), ("d", decimals, true)])
            .unwrap();
    let mut misaligned = 0;
    // A file that another program put into the store: 8-byte alignment, without coframe's mark.
    for padding in 0..3 {
        let name = format!("f{padding}");
        let schema = coframe::arrow::datatypes::Schema::new_with_metadata(
            batch.schema().fields().clone(),
            [("pad".to_owned(), "x".repeat(8 * padding))].into(),
        );
        let batch = batch.clone().with_schema(Arc::new(schema)).unwrap();
        let path = scratch.path().join(format!("{name}@1.arrow"));
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap();
        let mut writer =
            FileWriter::try_new_with_options(std::fs::File::create(path).unwrap(), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        std::os::unix::fs::symlink(format!("{name}@1.arrow"), scratch.path().join(format!("{name}.arrow"))).unwrap();
        let frame = scratch.store.open(&name).unwrap();
        assert_same(&frame, &batch);
        let never = OpenOptions::new().copies(CopyPolicy::Never);
        let explain = frame.select(["d"]).unwrap().copy_report().unwrap();
        match scratch.store.open_with(&name, &never) {
            Ok(_) => assert_eq!(explain.copied(), 0, "{explain}"),
            Err(error) => {
                assert!(error.is_would_copy() && error.to_string().contains("`d`"), "{error}");
                assert_eq!(explain.columns[0].reason.as_deref(), Some("its buffers are not aligned in the file"));
                // Three values of 16 bytes.
                assert_eq!(explain.copied(), 48, "{explain}");
                misaligned += 1;
            }
        }
    }
    assert!(misaligned > 0, "no file was misaligned");
}

#[test]
fn view_strings_share_their_buffers_and_dictionaries_their_values() {
    let scratch = scratch();
    let texts = StringViewArray::from_iter_values(["a text beyond twelve bytes", "short"]);
    let keys: DictionaryArray<UInt32Type> = vec!["one", "two"].into_iter().collect();
    let batch = RecordBatch::try_from_iter([("v", Arc::new(texts) as ArrayRef), ("d", Arc::new(keys) as _)]).unwrap();
    let frame = scratch.store.publish("v", &batch).unwrap();
    for column in frame.batches()[0].columns() {
        for buffer in make_array(column.to_data()).to_data().buffers() {
            assert_eq!(buffer.as_ptr().addr() % 64, 0);
        }
    }
}

/// One column of categories, opened by whom only shared keys please.
fn shared_with_polars(keys: ArrayRef, values: &[&str]) -> coframe::Result<Vec<Option<String>>> {
    let scratch = scratch();
    let values = Arc::new(StringViewArray::from(values.to_vec())) as ArrayRef;
    let key_type = Box::new(keys.data_type().clone());
    let data_type = DataType::Dictionary(key_type, Box::new(DataType::Utf8View));
    let data = keys.to_data().into_builder().data_type(data_type.clone()).add_child_data(values.to_data()).build();
    let inner = make_array(data.unwrap());
    let fields = Fields::from(vec![Field::new("d", data_type, true)]);
    let parent = StructArray::new(fields, vec![inner.clone()], None);
    let batch = RecordBatch::try_from_iter([("d", inner), ("s", Arc::new(parent) as ArrayRef)]).unwrap();
    scratch.store.publish("d", &batch).unwrap();
    scratch.store.verify("d").unwrap();
    let never = OpenOptions::new().copies(CopyPolicy::Never).categories(CategoryPolicy::Private);
    let strict = scratch.store.open_with("d", &never)?;
    let explained = scratch.store.open_with("d", &OpenOptions::new().categories(CategoryPolicy::Private)).unwrap();
    let df = strict.to_polars();
    assert_eq!(df.is_err(), explained.copy_report().unwrap().copied() > 0);
    let df = df.or_else(|error| explained.to_polars().and(Err(error)))?;
    let nested = df.column("s").unwrap().struct_().unwrap().field_by_name("d").unwrap();
    let texts = |series: &Series| -> Vec<Option<String>> {
        let texts = series.cast(&coframe::polars::prelude::DataType::String).unwrap();
        texts.str().unwrap().iter().map(|text| text.map(str::to_owned)).collect()
    };
    let found = texts(df.column("d").unwrap().as_materialized_series());
    assert_eq!(texts(&nested), found);
    Ok(found)
}

#[test]
fn keys_of_any_writer_are_shared_with_polars_if_all_are_in_the_dictionary() {
    let expected = || vec![Some("b".to_owned()), None, Some("a".to_owned())];
    let nulls = || Some(NullBuffer::from(vec![true, false, true]));
    let unsigned = UInt32Array::new(vec![1, 0, 0].into(), nulls());
    assert_eq!(shared_with_polars(Arc::new(unsigned), &["a", "b"]).unwrap(), expected());
    let signed = Int32Array::new(vec![1, 1, 0].into(), nulls());
    assert_eq!(shared_with_polars(Arc::new(signed), &["a", "b"]).unwrap(), expected());
    // Arrow allows any key below a null; Polars would look it up.
    let outside = UInt32Array::new(vec![1, 77, 0].into(), nulls());
    assert!(shared_with_polars(Arc::new(outside), &["a", "b"]).unwrap_err().is_would_copy());
    let negative = Int32Array::new(vec![1, -1, 0].into(), nulls());
    assert!(shared_with_polars(Arc::new(negative), &["a", "b"]).unwrap_err().is_would_copy());
    // Values that occur twice, or are null, are not categories.
    let keys = || Arc::new(UInt32Array::new(vec![1, 0, 0].into(), nulls())) as ArrayRef;
    assert!(shared_with_polars(keys(), &["a", "a"]).unwrap_err().is_would_copy());
}

#[test]
fn keys_of_many_batches_and_parts_of_lists_are_shared_with_polars() {
    let scratch = scratch();
    let one: DictionaryArray<UInt32Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
    let other: DictionaryArray<UInt32Type> = vec![Some("c"), Some("a"), None].into_iter().collect();
    let batch = |d: DictionaryArray<UInt32Type>| {
        let item = Arc::new(Field::new_list_field(d.data_type().clone(), true));
        let offsets = OffsetBuffer::<i64>::from_lengths([1, 2]);
        let list = LargeListArray::new(item, offsets, Arc::new(d.clone()), None);
        let rows = [("d", Arc::new(d.slice(1, 2)) as ArrayRef), ("l", Arc::new(list) as ArrayRef)];
        RecordBatch::try_from_iter_with_nullable(rows.map(|(name, array)| (name, array, true))).unwrap()
    };
    let mut writer = scratch.store.writer_with("d", batch(one.clone()).schema(), &PublishOptions::new().batch_rows(2));
    for dictionary in [one, other] {
        writer.as_mut().unwrap().write(&batch(dictionary)).unwrap();
    }
    writer.unwrap().publish().unwrap();
    for column in ["d", "l"] {
        let never = OpenOptions::new().columns([column]).copies(CopyPolicy::Never).categories(CategoryPolicy::Private);
        let df = scratch.store.open_with("d", &never).unwrap().to_polars().unwrap();
        let found = df.column(column).unwrap().as_materialized_series().iter().map(|value| format!("{value}"));
        let expected = match column {
            "d" => vec!["null", "\"b\"", "\"a\"", "null"],
            _ => vec!["[\"a\"]", "[null, \"b\"]", "[\"c\"]", "[\"a\", null]"],
        };
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
