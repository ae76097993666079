//! Counts allocations, to show that publishing copies once and opening copies nothing.
//!
//! This is a separate binary with one test, because every allocation of the process counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use coframe::{
    IpcReader, PublishOptions, Store, StringLayout,
    arrow::{
        array::{
            ArrayRef, AsArray, BinaryViewArray, DictionaryArray, Int8Array, Int32Array, Int64Array, LargeStringArray,
            ListArray, RecordBatch, RunArray, StringArray, StringDictionaryBuilder, StructArray,
        },
        buffer::OffsetBuffer,
        datatypes::{DataType as ArrowType, Field as ArrowField, Int8Type as ArrowInt8, Int32Type, Schema},
        ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter},
    },
    polars::prelude::*,
};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system allocator with the same arguments; counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes allocated in total, and the peak of live bytes above those at the start.
fn measure<T>(call: impl FnOnce() -> T) -> (T, usize, usize) {
    let (before, live) = (ALLOCATED.load(Relaxed), LIVE.load(Relaxed));
    PEAK.store(live, Relaxed);
    let result = call();
    (result, ALLOCATED.load(Relaxed) - before, PEAK.load(Relaxed) - live)
}

fn contiguous(rows: usize) -> DataFrame {
    let text = |row: usize| format!("text number {row}, longer than twelve");
    let texts: StringChunked = (0..rows).map(|row| (row % 9 > 0).then(|| text(row))).collect();
    let categories = ["one", "two", "three"];
    let categorical: StringChunked = (0..rows).map(|row| Some(categories[row % 3])).collect();
    let numbers: Int64Chunked = (0..rows as i64).map(|i| (i % 5 > 0).then_some(i)).collect();
    let mut df = df!(
        "numbers" => numbers.into_series(),
        "flags" => (0..rows).map(|row| row % 2 == 0).collect::<Vec<_>>(),
        "floats" => (0..rows).map(|row| row as f64).collect::<Vec<_>>(),
        "texts" => texts.into_series(),
        "categories" => categorical.into_series().cast(&DataType::from_categories(Categories::global())).unwrap(),
    )
    .unwrap();
    df.rechunk_mut();
    df
}

/// A stream whose dictionary grows by a delta of 100 values of 1000 bytes before each of the batches.
fn deltas(batches: usize) -> Vec<u8> {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    let data_type = ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8));
    let schema = Arc::new(Schema::new(vec![ArrowField::new("d", data_type, true)]));
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    for batch in 0..batches {
        for value in 0..100 {
            builder.append(format!("{batch:0500}{value:0500}")).unwrap();
        }
        let column = Arc::new(builder.finish_preserve_values());
        writer.write(&RecordBatch::try_new(schema.clone(), vec![column]).unwrap()).unwrap();
    }
    writer.into_inner().unwrap()
}

/// The whole dictionary is in memory, and once more while a delta is joined to it.
fn reading_deltas_needs_memory_for_what_was_read() {
    for batches in [50, 200] {
        let stream = deltas(batches);
        let mut reader = IpcReader::stream(&stream[..], "the stream").unwrap();
        let (rows, _, peak) = measure(|| reader.by_ref().map(|batch| batch.unwrap().num_rows()).sum::<usize>());
        assert_eq!(rows, batches * 100);
        assert!(peak < stream.len() * 5 / 2, "{batches} deltas had {peak} on the heap, of {} bytes", stream.len());
    }
}

#[test]
fn a_publish_and_an_open_allocate_less_than_one_percent_and_rearranging_one_batch() {
    let directory = tempfile::Builder::new().prefix("coframe-heap-").tempdir_in("/dev/shm").unwrap();
    let store = Store::open_at(directory.path().join("store")).unwrap();
    let df = contiguous(1_000_000);
    let (frame, publish, _) = measure(|| store.publish("x", &df).unwrap());
    let bytes = frame.size_bytes();
    assert!(bytes > 50_000_000, "{bytes}");
    assert!(publish < bytes / 100, "publish allocated {publish} of {bytes}");
    let (_opened, open, _) = measure(|| store.open("x").unwrap().to_polars().unwrap());
    assert!(open < bytes / 100, "open allocated {open} of {bytes}");
    let (_parts, split, _) = measure(|| frame.split(64));
    assert!(split < bytes / 1000, "split allocated {split}");

    // Coalescing small chunks and converting the layout each need one batch on the heap, and its metadata.
    let mut chunks = contiguous(1_000);
    let one = chunks.clone();
    for _ in 0..999 {
        chunks.vstack_mut(&one).unwrap();
    }
    let batch = bytes / 10;
    let options = PublishOptions::new().batch_rows(100_000);
    let (gathered, _, peak) = measure(|| store.publish_with("y", &chunks, &options).unwrap());
    assert_eq!(gathered.batches().len(), 10);
    assert!(peak < batch + batch / 20, "coalescing had a peak of {peak} on the heap; a batch is {batch}");
    let tens: Vec<DataFrame> = (0..10).map(|i| df.slice(i * 100_000, 100_000)).collect();
    let mut batches = Vec::new();
    for ten in &tens {
        batches.extend(store.publish("t", ten).unwrap().batches().to_vec());
    }
    let (_, _, peak) = measure(|| {
        let classic = PublishOptions::new().layout(StringLayout::Offset);
        let reader =
            coframe::arrow::array::RecordBatchIterator::new(batches.iter().cloned().map(Ok), batches[0].schema());
        store.publish_with("z", reader, &classic.batch_rows(100_000)).unwrap()
    });
    assert!(peak < batch, "converting the layout had a peak of {peak} on the heap; a batch is {batch}");

    one_column_of_one_batch_is_made_without_the_others(&store);
    a_slice_of_lists_is_rearranged_without_its_other_items(&store);
    unfolding_runs_needs_a_number_of_8_bytes_a_row(&store);
    a_writer_of_large_values_keeps_few_of_them(&store);
    reading_deltas_needs_memory_for_what_was_read();
}

/// An array is made when it is used, and kept. 200 columns in 200 batches are 40 000 arrays.
fn one_column_of_one_batch_is_made_without_the_others(store: &Store) {
    let names: Vec<String> = (0..200).map(|column| format!("c{column}")).collect();
    let values = Arc::new(Int64Array::from_iter_values(0..200)) as ArrayRef;
    let batch = RecordBatch::try_from_iter(names.iter().map(|name| (name, values.clone()))).unwrap();
    store.publish_with("wide", &batch, &PublishOptions::new().batch_rows(1)).unwrap();
    let frame = store.open("wide").unwrap();
    let (one, few, _) = measure(|| frame.slice(0..1).unwrap().select(["c0"]).unwrap().batches().to_vec());
    assert_eq!((one.len(), one[0].num_columns(), one[0].num_rows()), (1, 1, 1));
    let (all, many, _) = measure(|| frame.batches().len());
    assert_eq!(all, 200);
    assert!(few * 20 < many, "one array of 40 000 allocated {few} bytes, all of them {many}");
}

/// Lists of other rows are not converted with those of a slice.
fn a_slice_of_lists_is_rearranged_without_its_other_items(store: &Store) {
    let rows = 100_000;
    let texts =
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("text number {row} of many")))) as ArrayRef;
    let item = |of: &ArrayRef| Arc::new(ArrowField::new("item", of.data_type().clone(), true));
    let list = ListArray::new(item(&texts), OffsetBuffer::from_lengths((0..rows).map(|_| 1)), texts, None);
    let list = Arc::new(list) as ArrayRef;
    let nested =
        Arc::new(ListArray::new(item(&list), OffsetBuffer::from_lengths((0..rows).map(|_| 1)), list.clone(), None));
    let batch = RecordBatch::try_from_iter([("list", list), ("nested", nested as ArrayRef)]).unwrap().slice(50_000, 10);
    let options = PublishOptions::new().layout(StringLayout::View);
    let (frame, allocated, _) = measure(|| store.publish_with("l", &batch, &options).unwrap());
    assert!(allocated < 500_000, "publishing 10 of {rows} lists allocated {allocated} bytes");
    let value = frame.batches()[0].column(0).as_list::<i64>().value(0);
    assert_eq!(value.as_string_view().value(0), "text number 50000 of many");
}

/// Next to the values in Polars, of 8 bytes a row.
fn unfolding_runs_needs_a_number_of_8_bytes_a_row(store: &Store) {
    let rows = 1_000_000;
    let runs = RunArray::try_new(&Int32Array::from(vec![10, rows]), &Int64Array::from(vec![Some(1), None])).unwrap();
    let frame = store.publish("r", &RecordBatch::try_from_iter([("r", Arc::new(runs) as ArrayRef)]).unwrap()).unwrap();
    let (df, _, peak) = measure(|| frame.to_polars().unwrap());
    assert_eq!(df.column("r").unwrap().null_count() as i32, rows - 10);
    assert!(peak < rows as usize * 20, "unfolding {rows} rows had a peak of {peak} on the heap");
}

/// The size of a value includes the bytes that its views refer to, at any depth, so not all batches of one are kept.
fn a_writer_of_large_values_keeps_few_of_them(store: &Store) {
    let views = || Arc::new(BinaryViewArray::from_iter_values([vec![b'x'; 1_000_000]])) as ArrayRef;
    let item = || Arc::new(ArrowField::new("item", ArrowType::BinaryView, true));
    let list = || Arc::new(ListArray::new(item(), OffsetBuffer::from_lengths([1]), views(), None)) as ArrayRef;
    let structs = || Arc::new(StructArray::new(vec![item()].into(), vec![views()], None)) as ArrayRef;
    // The same dictionary, of which each batch has a copy.
    let dictionary = || {
        let keys = Int8Array::from(vec![0]);
        Arc::new(DictionaryArray::<ArrowInt8>::try_new(keys, views()).unwrap()) as ArrayRef
    };
    let strings = || Arc::new(LargeStringArray::from_iter_values(["x".repeat(1_000_000)])) as ArrayRef;
    let cases: [(&str, &dyn Fn() -> ArrayRef, usize); 5] = [
        ("views", &views, 1000),
        ("lists of views", &list, 400),
        ("structs of views", &structs, 400),
        ("dictionaries of views", &dictionary, 400),
        ("strings", &strings, 400),
    ];
    for (what, column, batches) in cases {
        let batch = || RecordBatch::try_from_iter([("v", column())]).unwrap();
        let mut writer = store.writer("v", batch().schema()).unwrap();
        let ((), _, peak) = measure(|| (0..batches).for_each(|_| writer.write(&batch()).unwrap()));
        println!("a writer of {batches} {what} of 1 MB: at most {} MB on the heap", peak / 1_000_000);
        assert!(peak < 300_000_000, "a writer of {batches} {what} of 1 MB had a peak of {peak} on the heap");
        assert_eq!(writer.publish().unwrap().num_rows(), batches);
    }
}
