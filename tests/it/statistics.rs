//! Statistics in a footer: bounds hold for every value, and a file with false ones is found.

use std::{fs, path::Path, sync::Arc};

use coframe::{
    Frame, PublishOptions, Store,
    arrow::{
        array::{
            Array, ArrayRef, AsArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
            RecordBatch, StringArray, UInt64Array, UnionArray, make_comparator,
        },
        buffer::Buffer,
        compute::{SortOptions, cast},
        datatypes::{DataType, Field, Float64Type, Int32Type, Int64Type, UnionFields},
    },
    polars::{
        prelude::{DataFrame, NamedFrom, Series},
        series::IsSorted,
    },
};

use crate::common::scratch;

fn options() -> PublishOptions {
    PublishOptions::new().statistics(true)
}

/// Compares the statistics of a frame with its values, by brute force. Returns how many bounds there are.
pub(crate) fn check(frame: &Frame) -> usize {
    let statistics = frame.statistics().unwrap().unwrap();
    let rows: Vec<usize> = frame.batches().iter().map(RecordBatch::num_rows).collect();
    assert_eq!(statistics.num_rows(), rows);
    let mut bounds = 0;
    for (position, column) in statistics.columns().iter().enumerate() {
        for (index, batch) in frame.batches().iter().enumerate() {
            let array = batch.column(position);
            if column.null_counts().is_valid(index) {
                assert_eq!(column.null_counts().value(index), array.logical_null_count() as u64, "{array:?}");
            }
            let (Some(min), Some(max)) = (column.min(), column.max()) else { continue };
            let values = match array.data_type() {
                DataType::Dictionary(_, values) => cast(array, values).unwrap(),
                _ => array.clone(),
            };
            assert_eq!((values.data_type(), values.data_type()), (min.data_type(), max.data_type()));
            let exact = column.is_exact().value(index);
            bounds += usize::from(min.is_valid(index)) + usize::from(max.is_valid(index));
            is_bound(&values, min, index, exact, std::cmp::Ordering::is_ge);
            is_bound(&values, max, index, exact, std::cmp::Ordering::is_le);
        }
    }
    bounds
}

fn is_bound(values: &ArrayRef, bound: &ArrayRef, index: usize, exact: bool, holds: fn(std::cmp::Ordering) -> bool) {
    if bound.is_null(index) {
        assert!(!exact);
        return;
    }
    let compare = make_comparator(values, bound, SortOptions::default()).unwrap();
    let rows = || (0..values.len()).filter(|row| values.is_valid(*row));
    assert!(rows().all(|row| holds(compare(row, index))), "{values:?}: {bound:?}");
    assert!(!exact || rows().any(|row| compare(row, index).is_eq()), "{values:?}: {bound:?}");
}

fn one(name: &str, array: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, Arc::new(array) as ArrayRef, true)]).unwrap()
}

#[test]
fn statistics_hold_for_every_type_of_the_conformance_set() {
    let scratch = scratch();
    let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/conformance");
    let mut bounds = 0;
    for file in fs::read_dir(conformance).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "arrow") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let frame = scratch.store.import_with(name, &path, &options().batch_rows(2)).unwrap();
            bounds += check(&frame);
            scratch.store.verify(name).unwrap();
            check(&frame.slice(1.min(frame.num_rows())..).unwrap());
        }
    }
    assert!(bounds > 200, "only {bounds} bounds");
}

#[test]
fn frames_without_statistics_and_untrusted_files_report_none() {
    let scratch = scratch();
    let batch = one("x", Int64Array::from(vec![1]));
    assert!(scratch.store.publish("x", &batch).unwrap().statistics().unwrap().is_none());
    scratch.store.publish_with("x", &batch, &options()).unwrap();
    let validated = scratch.store.open_with("x", &coframe::OpenOptions::new().validate(true)).unwrap();
    assert!(validated.statistics().unwrap().is_none());
    check(&scratch.store.open("x").unwrap());
}

fn bounds(store: &Store, batch: &RecordBatch) -> (ArrayRef, ArrayRef, bool) {
    let frame = store.publish_with("x", batch, &options()).unwrap();
    check(&frame);
    store.verify("x").unwrap();
    let statistics = frame.statistics().unwrap().unwrap();
    let column = &statistics.columns()[0];
    (column.min().unwrap().clone(), column.max().unwrap().clone(), column.is_exact().value(0))
}

#[test]
fn a_nan_leaves_no_bounds_and_zeros_keep_their_signs() {
    let scratch = scratch();
    for nan in [f64::NAN, -f64::NAN] {
        let (min, max, exact) = bounds(&scratch.store, &one("x", Float64Array::from(vec![1.0, nan, 2.0])));
        assert!(min.is_null(0) && max.is_null(0) && !exact);
    }
    let zeros = one("x", Float64Array::from(vec![Some(0.0), None, Some(-0.0)]));
    let (min, max, exact) = bounds(&scratch.store, &zeros);
    let bits = |array: &ArrayRef| array.as_primitive::<Float64Type>().value(0).to_bits();
    assert_eq!((bits(&min), bits(&max), exact), ((-0.0_f64).to_bits(), 0.0_f64.to_bits(), true));
}

#[test]
fn long_strings_are_cut_to_bounds_that_hold() {
    let scratch = scratch();
    let long = |c: char| c.to_string().repeat(40);
    for texts in [[long('\u{20AC}'), long('a')], [long('\u{10FFFF}'), long('z')], [long('\u{7F}'), long('b')]] {
        let (min, _, exact) = bounds(&scratch.store, &one("x", StringArray::from(texts.to_vec())));
        assert!(min.as_string::<i32>().value(0).len() <= 64);
        assert_eq!(exact, texts.iter().all(|text| text.len() <= 64));
    }
    let (min, max, exact) = bounds(&scratch.store, &one("x", StringArray::from(vec!["b", "", "a"])));
    assert_eq!((min.as_string::<i32>().value(0), max.as_string::<i32>().value(0), exact), ("", "b", true));
}

#[test]
fn bounds_of_64_bytes_are_exact_and_longer_ones_are_cut() {
    let scratch = scratch();
    for (len, is_exact) in [(63, true), (64, true), (65, false)] {
        // The long value is the minimum, and then the maximum.
        for texts in [["a".repeat(len), "b".to_owned()], ["a".to_owned(), "b".repeat(len)]] {
            let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            for data_type in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
                let column = cast(&column, &data_type).unwrap();
                let (min, max, exact) = bounds(&scratch.store, &RecordBatch::try_from_iter([("x", column)]).unwrap());
                let found = [&min, &max].map(|bound| cast(bound, &DataType::Utf8).unwrap());
                let found = found.map(|bound| bound.as_string::<i32>().value(0).to_owned());
                assert_eq!((exact, found == texts), (is_exact, is_exact), "{data_type} {texts:?}: {found:?}");
            }
            for data_type in [DataType::Binary, DataType::LargeBinary, DataType::BinaryView] {
                let column = cast(&column, &data_type).unwrap();
                let (min, max, exact) = bounds(&scratch.store, &RecordBatch::try_from_iter([("x", column)]).unwrap());
                let found = [&min, &max].map(|bound| cast(bound, &DataType::Binary).unwrap());
                let found = found.map(|bound| bound.as_binary::<i32>().value(0).to_owned());
                let bytes = texts.each_ref().map(String::as_bytes);
                assert_eq!((exact, found == bytes), (is_exact, is_exact), "{data_type} {texts:?}: {found:?}");
            }
        }
    }
}

#[test]
fn a_dictionary_has_the_bounds_of_the_values_that_a_batch_uses() {
    let scratch = scratch();
    let values = Arc::new(StringArray::from(vec![Some("a"), Some("m"), Some("z"), None]));
    let keys =
        |keys: Vec<Option<i32>>| one("x", DictionaryArray::<Int32Type>::new(Int32Array::from(keys), values.clone()));
    let batches = [keys(vec![Some(1), None]), keys(vec![Some(2), Some(1)])];
    let frame = scratch.store.publish_with("x", &batches[..], &options().batch_rows(2)).unwrap();
    check(&frame);
    let statistics = frame.statistics().unwrap().unwrap();
    let column = &statistics.columns()[0];
    let texts = |array: Option<&ArrayRef>| -> Vec<String> {
        array.unwrap().as_string::<i32>().iter().flatten().map(str::to_owned).collect()
    };
    assert_eq!(
        (texts(column.min()), texts(column.max())),
        (vec!["m".into(), "m".into()], vec!["m".into(), "z".into()])
    );
    // A value of the dictionary is null, so the keys alone do not count the nulls.
    assert_eq!(column.null_counts(), &UInt64Array::from(vec![None, None]));
    scratch.store.verify("x").unwrap();
}

#[test]
fn a_dictionary_whose_values_have_no_bounds_has_statistics_without_them() {
    let scratch = scratch();
    // Arrow's `filter` panics at a union with binary values that have no bytes.
    let nothing = FixedSizeBinaryArray::try_new_with_len(0, Buffer::from([]), None, 3).unwrap();
    let fields = UnionFields::try_new([0], [Field::new("nothing", nothing.data_type().clone(), true)]).unwrap();
    let union = UnionArray::try_new(fields, vec![0; 3].into(), None, vec![Arc::new(nothing)]).unwrap();
    let column = DictionaryArray::<Int32Type>::new(vec![0, 2].into(), Arc::new(union));
    let frame = scratch.store.publish_with("x", &one("x", column), &options()).unwrap();
    assert_eq!(check(&frame), 0);
    assert!(frame.statistics().unwrap().unwrap().columns()[0].min().is_none());
}

#[test]
fn the_nulls_of_a_dictionary_are_counted_where_no_value_is_null() {
    let scratch = scratch();
    let column: DictionaryArray<Int32Type> = [Some("a"), None, Some("b"), None, None].into_iter().collect();
    let frame = scratch.store.publish_with("x", &one("x", column), &options().batch_rows(3)).unwrap();
    check(&frame);
    let statistics = frame.statistics().unwrap().unwrap();
    assert_eq!(statistics.columns()[0].null_counts(), &UInt64Array::from(vec![1, 2]));
}

#[test]
fn a_part_of_a_batch_has_bounds_that_are_not_exact_and_a_selection_its_own_columns() {
    let scratch = scratch();
    let columns = [("x", [1_i64, 5, 9, 7]), ("y", [0, 0, 0, 1])];
    let columns = columns.map(|(name, values)| Series::new(name.into(), values).into());
    let df = DataFrame::new(4, columns.to_vec()).unwrap();
    let frame = scratch.store.publish_with("x", &df, &options().batch_rows(2)).unwrap();
    let part = frame.select(["y", "x"]).unwrap().slice(1..4).unwrap();
    let statistics = part.statistics().unwrap().unwrap();
    assert_eq!(statistics.num_rows(), [1, 2]);
    let column = &statistics.columns()[1];
    assert_eq!(column.min().unwrap().as_primitive::<Int64Type>().values(), &[1, 7]);
    assert_eq!((column.is_exact().value(0), column.is_exact().value(1)), (false, true));
    check(&part);
    check(&frame.slice(0..0).unwrap());
}

#[test]
fn a_declared_order_is_checked_while_it_is_written() {
    let scratch = scratch();
    let numbers = |rows: Vec<i64>| one("x", Int64Array::from(rows));
    let ascending = PublishOptions::new().batch_rows(2).sorted("x", false);
    let write = |tables: &[Vec<i64>], options: &PublishOptions| {
        let mut writer = scratch.store.writer_with("x", numbers(Vec::new()).schema(), options)?;
        for table in tables {
            writer.write(&numbers(table.clone()))?;
        }
        writer.publish()
    };
    let frame = write(&[vec![1, 2, 2], vec![], vec![2, 5], vec![5]], &ascending).unwrap();
    let sorted: Vec<_> = frame.sorted_columns().iter().map(|column| (column.position, column.descending)).collect();
    assert_eq!(sorted, [(0, false)]);
    assert_eq!(frame.to_polars().unwrap().column("x").unwrap().is_sorted_flag(), IsSorted::Ascending);
    scratch.store.verify("x").unwrap();
    let error = write(&[vec![1, 2, 3], vec![2]], &ascending).unwrap_err();
    assert!(error.to_string().contains("row 3 is not in ascending order"), "{error}");
    let error = write(&[vec![7, 7, 8, 9]], &PublishOptions::new().sorted("x", true)).unwrap_err();
    assert!(error.to_string().contains("row 2 is not in descending order"), "{error}");
    let frame = write(&[vec![9, 8], vec![8, 1]], &PublishOptions::new().sorted("x", true)).unwrap();
    assert!(frame.sorted_columns()[0].descending);

    let with_null = one("x", Int64Array::from(vec![Some(1), None]));
    let categories = one("x", vec![Some("a")].into_iter().collect::<DictionaryArray<Int32Type>>());
    for (table, options, message) in [
        (&with_null, &ascending, "it has nulls"),
        (&categories, &ascending, "columns of type Dictionary(Int32, Utf8) have no order that is checked"),
        (&with_null, &PublishOptions::new().sorted("y", false), "the table has no such column"),
    ] {
        let error = scratch.store.publish_with("x", table, options).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains(message), "{error}");
    }
    assert_eq!(scratch.store.open("x").unwrap().version(), frame.version());
}

#[test]
fn sorted_columns_are_those_of_the_part_and_none_of_a_file_that_is_not_relied_on() {
    let scratch = scratch();
    let columns: [(&str, ArrayRef); 3] = [
        ("a", Arc::new(Int64Array::from(vec![3, 1, 2]))),
        ("b", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("c", Arc::new(StringArray::from(vec!["z", "y", "x"]))),
    ];
    let table = RecordBatch::try_from_iter(columns).unwrap();
    let options = PublishOptions::new().sorted("c", true).sorted("b", false);
    let frame = scratch.store.publish_with("x", &table, &options).unwrap();
    let sorted = |frame: &Frame| frame.sorted_columns().iter().map(|c| (c.position, c.descending)).collect::<Vec<_>>();
    assert_eq!(sorted(&frame), [(1, false), (2, true)]);
    assert_eq!(sorted(&frame.select(["c", "a"]).unwrap().slice(1..).unwrap()), [(0, true)]);
    let validated = scratch.store.open_with("x", &coframe::OpenOptions::new().validate(true)).unwrap();
    assert_eq!(sorted(&validated), []);
}
