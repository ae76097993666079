//! What adapters build on: messages, bytes, and frames as tables.

use std::{fs, ops::Range, path::Path, sync::Arc};

use coframe::{
    Frame, IpcReader, MessageKind, PublishOptions, Store, TableReader,
    arrow::{
        array::{Int64Array, RecordBatch, RecordBatchReader, RecordBatchWriter},
        error::ArrowError,
        ipc::{
            MetadataVersion,
            writer::{FileWriter, IpcWriteOptions},
        },
    },
    polars::{prelude::*, series::IsSorted},
};

use crate::common::{Scratch, scratch};

/// The messages of a frame as an Arrow IPC stream.
fn stream(frame: &Frame) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in frame.messages().unwrap() {
        stream.extend([0xFF; 4]);
        stream.extend(u32::try_from(message.header().len()).unwrap().to_le_bytes());
        stream.extend(message.header());
        stream.extend(message.body());
    }
    stream
}

fn read(stream: &[u8]) -> Vec<RecordBatch> {
    IpcReader::stream(stream, "the stream").unwrap().collect::<Result<_, _>>().unwrap()
}

fn kinds(frame: &Frame) -> Vec<MessageKind> {
    frame.messages().unwrap().map(|message| message.kind()).collect()
}

/// A frame of two batches with categories, strings, lists and nulls.
fn mixed(store: &Store) -> Frame {
    let df = df!(
        "text" => ["a", "longer than twelve bytes", "a"],
        "number" => [Some(1_i64), None, Some(3)],
    )
    .unwrap();
    let categories = DataType::from_categories(Categories::global());
    let df = df.lazy().with_column(col("text").cast(categories).alias("category")).collect().unwrap();
    store.publish_with("mixed", &df, &PublishOptions::new().batch_rows(2)).unwrap()
}

#[test]
fn the_messages_of_a_frame_are_a_stream_with_the_same_batches() {
    let scratch = scratch();
    let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/conformance");
    let mut frames = vec![mixed(&scratch.store)];
    for file in fs::read_dir(conformance).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "arrow") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            frames.push(scratch.store.import(name, &path).unwrap());
        }
    }
    assert!(frames.len() > 30, "{}", frames.len());
    for frame in frames {
        assert_eq!(read(&stream(&frame)), frame.batches(), "{frame:?}");
    }
}

#[test]
fn messages_come_in_the_order_of_a_stream_and_share_the_bytes_of_the_segment() {
    let scratch = scratch();
    let frame = mixed(&scratch.store);
    let expected = [MessageKind::Schema, MessageKind::Dictionary, MessageKind::RecordBatch, MessageKind::RecordBatch];
    assert_eq!(kinds(&frame), expected);
    let segment = frame.segment_bytes();
    assert_eq!(segment, fs::read(frame.path()).unwrap());
    let inside = |bytes: &[u8]| {
        let Range { start, end } = segment.as_ref().as_ptr_range();
        bytes.as_ptr() >= start && bytes.as_ptr_range().end <= end
    };
    let messages: Vec<_> = frame.messages().unwrap().collect();
    let part = frame.select(["number"]).unwrap().slice(1..2).unwrap();
    drop(frame);
    scratch.store.remove("mixed").unwrap();
    for message in &messages {
        assert!(inside(message.header()) && (message.body().is_empty() || inside(message.body())));
    }
    // A part of the frame has the messages of the whole.
    assert_eq!(part.messages().unwrap().len(), messages.len());
    assert_eq!(part.segment_bytes().as_ptr(), segment.as_ptr());
}

/// A file that arrow wrote with its buffers at multiples of `alignment`, as the latest version of `x`.
fn foreign(scratch: &Scratch, batch: &RecordBatch, alignment: usize, damage: Option<Range<usize>>) -> Frame {
    let version = scratch.store.publish("x", batch).unwrap().version();
    let options = IpcWriteOptions::try_new(alignment, false, MetadataVersion::V5).unwrap();
    let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    file.write(batch).unwrap();
    file.write(batch).unwrap();
    let mut bytes = file.into_inner().unwrap();
    if let Some(damage) = damage {
        bytes[damage].fill(0xEE);
    }
    let path = scratch.path().join(format!("x@{version}.arrow"));
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    scratch.store.open("x").unwrap()
}

fn numbers() -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap()
}

#[test]
fn the_messages_of_a_file_of_another_program_are_a_stream_as_well() {
    let scratch = scratch();
    for alignment in [8, 64] {
        let frame = foreign(&scratch, &numbers(), alignment, None);
        assert_eq!(frame.segment_id(), None);
        assert_eq!(read(&stream(&frame)), [numbers(), numbers()]);
    }
}

#[test]
fn a_file_that_does_not_start_with_its_schema_has_no_messages() {
    let scratch = scratch();
    // The marker and the length of the first message, or its flatbuffer.
    for damage in [8..16, 16..40] {
        // The footer still describes the batches, and readers of files need no more.
        let frame = foreign(&scratch, &numbers(), 8, Some(damage));
        assert_eq!(frame.num_rows(), 4);
        let Err(error) = frame.messages() else { panic!("messages of a damaged file") };
        assert!(error.is_corrupt() && error.to_string().contains("S4-blocks"), "{error}");
    }
}

#[test]
fn a_frame_that_is_published_again_keeps_what_polars_knows() {
    let scratch = scratch();
    let first = mixed(&scratch.store);
    let mut df = first.to_polars().unwrap();
    df.with_column(Series::new("order".into(), [1_i64, 2, 3]).into()).unwrap();
    let mut columns: Vec<Column> = df.columns().to_vec();
    columns.last_mut().unwrap().set_sorted_flag(IsSorted::Ascending);
    let df = DataFrame::new(3, columns).unwrap();
    let frame = scratch.store.publish("sorted", &df).unwrap();

    let part = frame.select(["order", "category"]).unwrap().slice(1..).unwrap();
    let again = scratch.store.publish("again", &part).unwrap();
    let found = again.to_polars().unwrap();
    assert_eq!(found, df.select(["order", "category"]).unwrap().slice(1, 2));
    assert_eq!(found.column("order").unwrap().is_sorted_flag(), IsSorted::Ascending);
    // Without the marks, Polars would have to copy the keys to know that they are within the dictionary.
    assert_eq!(again.copy_report().unwrap().copied(), 0);
    scratch.store.verify("again").unwrap();
}

#[test]
fn record_batches_are_published_by_value() {
    let scratch = scratch();
    assert_eq!(scratch.store.publish("x", vec![numbers(), numbers()]).unwrap().num_rows(), 4);
}

/// Two frames of Polars with a sorted column and categories.
fn days() -> [DataFrame; 2] {
    let day = |order: [i64; 2], categories: [&str; 2]| {
        let mut df = df!("order" => order, "category" => categories).unwrap();
        let column = df.column("category").unwrap().cast(&DataType::from_categories(Categories::global())).unwrap();
        df.with_column(column).unwrap();
        let mut columns: Vec<Column> = df.columns().to_vec();
        columns[0].set_sorted_flag(IsSorted::Ascending);
        DataFrame::new(2, columns).unwrap()
    };
    [day([1, 2], ["a", "b"]), day([2, 4], ["c", "a"])]
}

fn written(scratch: &Scratch, tables: &[&DataFrame]) -> Frame {
    let schema = TableReader::new(tables[0]).unwrap().schema();
    let mut writer = scratch.store.writer("days", schema).unwrap();
    for table in tables {
        writer.write(*table).unwrap();
    }
    let frame = writer.publish().unwrap();
    scratch.store.verify("days").unwrap();
    frame
}

fn order(frame: &Frame) -> IsSorted {
    frame.to_polars().unwrap().column("order").unwrap().is_sorted_flag()
}

#[test]
fn a_writer_keeps_what_polars_knows_of_several_tables_where_it_holds_for_all_rows() {
    let scratch = scratch();
    let [first, second] = days();
    let frame = written(&scratch, &[&first, &second]);
    assert_eq!(frame.to_polars().unwrap(), first.vstack(&second).unwrap());
    assert_eq!(order(&frame), IsSorted::Ascending);
    assert_eq!(frame.copy_report().unwrap().copied(), 0);
    // The second table starts below the end of the first, or has nulls.
    assert_eq!(order(&written(&scratch, &[&second, &first])), IsSorted::Not);
    let mut nulls = df!("order" => [None, Some(9_i64)], "category" => ["a", "b"]).unwrap();
    nulls.with_column(first.column("category").unwrap().clone()).unwrap();
    let mut columns: Vec<Column> = nulls.columns().to_vec();
    columns[0].set_sorted_flag(IsSorted::Ascending);
    let nulls = DataFrame::new(2, columns).unwrap();
    assert_eq!(order(&written(&scratch, &[&nulls])), IsSorted::Ascending);
    assert_eq!(order(&written(&scratch, &[&first, &nulls])), IsSorted::Not);
    assert_eq!(order(&written(&scratch, &[&nulls, &second])), IsSorted::Not);
}

#[test]
fn rows_of_another_origin_than_polars_take_its_marks_from_a_frame() {
    let scratch = scratch();
    let [first, second] = days();
    let mut reader = TableReader::new(&first).unwrap();
    let (schema, batch) = (reader.schema(), reader.next().unwrap().unwrap());
    let mut writer = scratch.store.writer("days", schema).unwrap();
    writer.write(&batch).unwrap();
    writer.write(&second).unwrap();
    writer.write(&scratch.store.publish("other", &second).unwrap()).unwrap();
    let frame = writer.publish().unwrap();
    assert_eq!(order(&frame), IsSorted::Not);
    assert_eq!(frame.num_rows(), 6);
    scratch.store.verify("days").unwrap();
}

#[test]
fn a_frame_writer_is_a_record_batch_writer_that_publishes_when_it_is_closed() {
    fn fill(mut writer: impl RecordBatchWriter) -> Result<(), ArrowError> {
        writer.write(&numbers())?;
        assert!(writer.write(&numbers().project(&[]).unwrap()).is_err());
        writer.write(&numbers())?;
        writer.close()
    }
    let scratch = scratch();
    fill(scratch.store.writer("x", numbers().schema()).unwrap()).unwrap();
    assert_eq!(scratch.store.open("x").unwrap().num_rows(), 4);
}
