//! Frames at the edges of what Arrow and Polars have in common: other alignments, other limits, other types.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    sync::Arc,
};

use coframe::{
    PublishOptions, TableReader,
    arrow::{
        array::{
            Array, ArrayRef, Decimal256Array, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray, Int32Array,
            LargeListArray, ListArray, ListViewArray, MapArray, NullArray, RecordBatch, RunArray, StringArray,
            StructArray,
        },
        buffer::{NullBuffer, OffsetBuffer},
        datatypes::{DataType as ArrowType, Field as ArrowField, Fields, Int32Type, i256},
        ipc::writer::FileWriter,
    },
    polars::{chunked_array::builder::get_list_builder, prelude::*},
};

use crate::common::{Scratch, scratch};

/// A frame on a map of an IPC file that Polars wrote, whose buffers start at multiples of 8.
fn mapped_by_polars(path: &std::path::Path, df: &mut DataFrame) -> DataFrame {
    IpcWriter::new(File::create(path).unwrap()).finish(df).unwrap();
    // SAFETY: no process writes to the file while it is mapped.
    let reader = unsafe { IpcReader::new(File::open(path).unwrap()).memory_mapped(Some(path.to_owned())) };
    reader.finish().unwrap()
}

#[test]
fn frames_that_polars_mapped_from_its_own_files_are_published_with_any_alignment() {
    let scratch = scratch();
    let path = scratch.path().with_file_name("mapped.arrow");
    // The length of the name moves the bodies by steps of 8 bytes.
    for len in 1..=16 {
        let name = "c".repeat(len);
        let long = ["a", "a text of more than twelve", "c"];
        let binary = Series::new("b".into(), long).cast(&DataType::Binary).unwrap();
        let mut lists = get_list_builder(&DataType::String, 3, 3, "l".into());
        (0..3).for_each(|_| lists.append_series(&Series::new("".into(), long)).unwrap());
        let columns = [Series::new(name.as_str().into(), long), binary, lists.finish().into_series()];
        let mut df = DataFrame::new(3, columns.map(Column::from).to_vec()).unwrap();
        let mapped = mapped_by_polars(&path, &mut df);
        let frame = scratch.store.publish("x", &mapped).unwrap();
        assert!(frame.to_polars().unwrap().equals(&df), "a name of {len} bytes");
        let part = scratch.store.publish("x", &mapped.slice(1, 2)).unwrap();
        assert!(part.to_polars().unwrap().equals(&df.slice(1, 2)), "a name of {len} bytes");
    }
}

fn column(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap()
}

#[test]
fn a_frame_of_more_rows_than_polars_counts_is_refused_and_its_parts_are_not() {
    let scratch = scratch();
    let rows = 5_000_000_000_usize;
    let frame = scratch.store.publish("x", &column(Arc::new(NullArray::new(rows)))).unwrap();
    let most = IdxSize::MAX as usize - 1;
    if most < rows {
        let error = frame.to_polars().unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains("`bigidx`"), "{error}");
        assert!(error.to_string().contains("`x@1` of 5000000000 rows"), "{error}");
        assert!(frame.slice(..=most).unwrap().to_polars().unwrap_err().is_unsupported());
    }
    assert_eq!(frame.slice(..most).unwrap().to_polars().unwrap().height(), most);
    assert_eq!(frame.slice(rows - 3..).unwrap().to_polars().unwrap().height(), 3);
    assert_eq!(frame.select([""; 0]).unwrap().slice(..3).unwrap().to_polars().unwrap().height(), 3);
}

#[test]
fn no_batch_has_more_rows_than_other_implementations_count() {
    let scratch = scratch();
    let batch = column(Arc::new(NullArray::new(5_000_000_000)));
    for options in [PublishOptions::new(), PublishOptions::new().batch_rows(usize::MAX)] {
        let frame = scratch.store.publish_with("x", &batch, &options).unwrap();
        let rows: Vec<usize> = frame.batches().iter().map(RecordBatch::num_rows).collect();
        assert!(rows.iter().all(|rows| i32::try_from(*rows).is_ok()), "{rows:?}");
        assert_eq!(rows.iter().sum::<usize>(), 5_000_000_000);
    }
}

fn item(array: &dyn Array) -> Arc<ArrowField> {
    Arc::new(ArrowField::new("item", array.data_type().clone(), true))
}

/// Three rows of entries, the second null and the last one with two: as a map, and as the list that it is.
fn entries(values: &ArrayRef) -> (ArrayRef, ArrayRef) {
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a key of more than twelve"]));
    let fields = Fields::from(vec![
        ArrowField::new("key", ArrowType::Utf8, false),
        ArrowField::new("value", values.data_type().clone(), true),
    ]);
    let pairs = StructArray::new(fields, vec![keys, values.clone()], None);
    let field = Arc::new(ArrowField::new("entries", pairs.data_type().clone(), false));
    let offsets = OffsetBuffer::new(vec![0, 1, 1, 3].into());
    let nulls = || Some(NullBuffer::from(vec![true, false, true]));
    let map = MapArray::new(field.clone(), offsets.clone(), pairs.clone(), nulls(), false);
    (Arc::new(map), Arc::new(ListArray::new(field, offsets, Arc::new(pairs), nulls())))
}

/// Columns of three rows around this one.
fn around(inner: &ArrayRef) -> Vec<ArrayRef> {
    let nulls = || Some(NullBuffer::from(vec![true, true, false]));
    let offsets = || OffsetBuffer::new(vec![0, 1, 3, 3].into());
    let fields = Fields::from(vec![ArrowField::new("f", inner.data_type().clone(), true)]);
    let keys = Int32Array::from(vec![Some(2), None, Some(0)]);
    let ends = Int32Array::from(vec![1, 2, 3]);
    vec![
        inner.clone(),
        Arc::new(StructArray::new(fields, vec![inner.clone()], nulls())),
        Arc::new(LargeListArray::new(item(inner), offsets(), inner.clone(), nulls())),
        Arc::new(FixedSizeListArray::new(item(inner), 1, inner.clone(), nulls())),
        Arc::new(ListViewArray::new(item(inner), vec![1, 0, 0].into(), vec![2, 3, 0].into(), inner.clone(), nulls())),
        Arc::new(DictionaryArray::<Int32Type>::new(keys, inner.clone())),
        Arc::new(RunArray::try_new(&ends, inner).unwrap()),
    ]
}

#[test]
fn maps_go_to_polars_as_lists_of_their_entries_at_any_depth() {
    let scratch = scratch();
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let (map, list) = entries(&numbers);
    let (nested_map, nested_list) = (entries(&map).0, entries(&list).1);
    let pairs = [(map, list), (nested_map, nested_list)];
    for (map, list) in pairs.iter().flat_map(|(map, list)| around(map).into_iter().zip(around(list))) {
        let what = map.data_type().clone();
        let lists = scratch.store.publish("lists", &column(list)).unwrap();
        let maps = scratch.store.publish("maps", &column(map)).unwrap();
        let expected = lists.to_polars().unwrap();
        assert!(maps.to_polars().unwrap().equals_missing(&expected), "{what}");
        assert!(maps.copy_report().unwrap().to_string().contains("is converted"), "{what}");
        for rows in [0..1, 1..3, 2..3] {
            let part = maps.slice(rows.clone()).unwrap().to_polars().unwrap();
            assert!(part.equals_missing(&expected.slice(rows.start as i64, rows.len())), "{what} {rows:?}");
        }
    }
}

/// A file of another writer in the place of a segment.
fn place(scratch: &Scratch, array: ArrayRef) {
    let batch = column(array);
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let path = scratch.path().join("x@1.arrow");
    fs::write(&path, writer.into_inner().unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let _ = symlink("x@1.arrow", scratch.path().join("x.arrow"));
}

/// One value in this number of rows.
fn run(rows: i32, value: &ArrayRef) -> ArrayRef {
    Arc::new(RunArray::try_new(&Int32Array::from(vec![rows]), value).unwrap())
}

#[test]
fn a_foreign_file_unfolds_to_no_more_than_its_size_allows() {
    let scratch = scratch();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1_000)]));
    let thousand: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1_000));
    let whole: ArrayRef = Arc::new(LargeListArray::new(
        item(&thousand),
        OffsetBuffer::new(vec![0, 1_000].into()),
        thousand.clone(),
        None,
    ));
    let views = |rows: usize| -> ArrayRef {
        let (offsets, sizes) = (vec![0; rows], vec![1_000; rows]);
        Arc::new(ListViewArray::new(item(&thousand), offsets.into(), sizes.into(), thousand.clone(), None))
    };
    let keys = |rows: usize| -> ArrayRef {
        Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; rows]), whole.clone()))
    };
    let empty: ArrayRef =
        Arc::new(FixedSizeBinaryArray::try_new_with_len(0, Vec::<u8>::new().into(), None, 6_000_000).unwrap());
    // The first of each pair unfolds to some of what the rule allows, the second to more.
    let pairs = [
        (run(1_000_000, &text), run(6_000_000, &text)),
        (run(1_000, &whole), run(6_000, &whole)),
        (views(1_000), views(6_000)),
        (keys(1_000), keys(6_000)),
        (run(1_000, &views(1)), run(6_000, &views(1))),
        (empty.slice(0, 1_000_000), empty),
    ];
    for (few, many) in pairs {
        let what = few.data_type().clone();
        place(&scratch, few.clone());
        let frame = scratch.store.open("x").unwrap();
        assert_eq!(frame.to_polars().unwrap().height(), few.len(), "{what}");
        place(&scratch, many.clone());
        let frame = scratch.store.open("x").unwrap();
        let error = frame.to_polars().expect_err(&format!("{what}"));
        assert!(error.is_unsupported() && error.to_string().contains("column `c` of `x@1`"), "{error}");
        assert!(error.to_string().contains("S5-buffers"), "{error}");
        // A file that this user's process wrote is not limited.
        let frame = scratch.store.import("y", scratch.path().join("x@1.arrow")).unwrap();
        assert_eq!(frame.to_polars().unwrap().height(), many.len(), "{what}");
    }
}

#[test]
fn a_foreign_file_with_more_items_than_its_size_allows_is_refused() {
    let scratch = scratch();
    // One row, whose items take no bytes.
    let nulls = |items: usize| -> ArrayRef {
        let values: ArrayRef = Arc::new(NullArray::new(items));
        let (offsets, sizes) = (vec![0_i32], vec![items as i32]);
        Arc::new(ListViewArray::new(item(&values), offsets.into(), sizes.into(), values, None))
    };
    let dictionary = |values: ArrayRef| -> ArrayRef {
        Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0]), values))
    };
    for (few, many) in [(nulls(1_000), nulls(20_000_000)), (dictionary(nulls(1_000)), dictionary(nulls(20_000_000)))] {
        place(&scratch, few);
        scratch.store.open("x").unwrap();
        place(&scratch, many);
        let error = scratch.store.open("x").unwrap_err();
        assert_eq!(error.rule(), Some("S5-buffers"), "{error}");
    }
}

#[test]
fn readers_of_tables_and_files_can_move_to_another_thread() {
    let df = df!("x" => [1, 2, 3]).unwrap();
    let batch = column(Arc::new(NullArray::new(4)));
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let file = std::io::Cursor::new(writer.into_inner().unwrap());
    let table = TableReader::new(&df).unwrap();
    let file = coframe::IpcReader::file(file, "the file").unwrap();
    let rows = |batches: Vec<RecordBatch>| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    std::thread::scope(|threads| {
        let table = threads.spawn(|| rows(table.map(Result::unwrap).collect()));
        let file = threads.spawn(|| rows(file.map(Result::unwrap).collect()));
        assert_eq!((table.join().unwrap(), file.join().unwrap()), (3, 4));
    });
}

#[test]
fn decimals_of_more_digits_than_their_type_are_an_error_at_any_depth() {
    let scratch = scratch();
    let decimals = |large: i256| -> ArrayRef {
        let values = Decimal256Array::from(vec![Some(i256::ONE), None, Some(large)]);
        Arc::new(values.with_precision_and_scale(20, 2).unwrap())
    };
    let large = i256::from_i128(i128::MAX);
    for column_of in around(&decimals(large)).into_iter().chain(around(&decimals(large.wrapping_mul(large)))) {
        let what = column_of.data_type().clone();
        let frame = scratch.store.publish("x", &column(column_of)).unwrap();
        match frame.to_polars() {
            Err(error) => assert!(error.to_string().contains("has more than 38 digits"), "{what}: {error}"),
            // A null of a struct or of a fixed-size list hides the last row.
            Ok(_) => assert!(matches!(what, ArrowType::Struct(_) | ArrowType::FixedSizeList(..)), "{what}"),
        }
    }
    let small = decimals(i256::from_i128(99));
    let frame = scratch.store.publish("x", &column(small)).unwrap();
    assert_eq!(frame.to_polars().unwrap().column("c").unwrap().get(2).unwrap().to_string(), "0.99");
}

#[test]
fn a_struct_with_two_fields_of_one_name_is_refused_in_polars() {
    let scratch = scratch();
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let twins: ArrayRef =
        Arc::new(StructArray::from(vec![(item(&numbers), numbers.clone()), (item(&numbers), numbers)]));
    for array in around(&twins).into_iter().chain([twins.slice(0, 0)]) {
        let frame = scratch.store.publish("x", &column(array)).unwrap();
        let error = frame.to_polars().unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains("two fields `item`"), "{error}");
    }
}
