//! Arrow IPC files and streams of other writers, as frames.

use std::{fs, sync::Arc};

use coframe::{
    IpcReader,
    arrow::{
        array::{Int64Array, RecordBatch, RecordBatchIterator, StringArray, TimestampMicrosecondArray},
        error::ArrowError,
        ipc::writer::{FileWriter, StreamWriter},
    },
    polars::prelude::*,
};

use crate::{
    common::scratch,
    store::{numbers, values},
};

#[test]
fn files_and_streams_of_other_writers_are_imported() {
    let scratch = scratch();
    let batch = RecordBatch::try_from_iter([
        ("x", Arc::new(Int64Array::from(vec![1, 2])) as _),
        ("s", Arc::new(StringArray::from(vec!["a", "b"])) as _),
    ])
    .unwrap();
    let path = scratch.path().with_file_name("foreign");
    let mut file = FileWriter::try_new(fs::File::create(&path).unwrap(), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();
    assert_eq!(values(&scratch.store.import("file", &path).unwrap()), [1, 2, 1, 2]);
    let mut stream = StreamWriter::try_new(fs::File::create(&path).unwrap(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    assert_eq!(values(&scratch.store.import("stream", &path).unwrap()), [1, 2]);

    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    let error = scratch.store.import("short", &path).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("I1-stream"), "{error}");
    fs::write(&path, "x,y\n1,2\n").unwrap();
    assert!(scratch.store.import("csv", &path).unwrap_err().is_corrupt());
    fs::write(&path, "").unwrap();
    assert!(scratch.store.import("empty", &path).unwrap_err().is_corrupt());
    // Polars writes 128-bit integers in a form that Arrow does not have.
    let wide = df!("n" => [Some(1_i64), None, Some(-1)])
        .unwrap()
        .lazy()
        .with_columns([col("n").cast(DataType::Int128), col("n").cast(DataType::Int128).implode(true).alias("list")]);
    let mut wide = wide.collect().unwrap();
    IpcWriter::new(fs::File::create(&path).unwrap()).finish(&mut wide).unwrap();
    assert!(scratch.store.import("wide", &path).unwrap().to_polars().unwrap().equals_missing(&wide));
    // A segment of one store goes into another.
    let segment = scratch.path().join("file.arrow");
    assert_eq!(values(&scratch.store.import("copy", segment).unwrap()), [1, 2, 1, 2]);
    let names: Vec<String> = scratch.store.list().unwrap().iter().map(|info| info.name.to_string()).collect();
    assert_eq!(names, ["copy", "file", "stream", "wide"]);
}

#[test]
fn a_stream_that_can_be_read_once_is_read_batch_by_batch_and_checked() {
    let mut stream = StreamWriter::try_new(Vec::new(), &numbers(&[]).schema()).unwrap();
    for batch in [numbers(&[1, 2]), numbers(&[3])] {
        stream.write(&batch).unwrap();
    }
    let bytes = stream.into_inner().unwrap();
    let rows = |bytes: &[u8]| {
        let reader = IpcReader::stream(bytes, "the pipe")?;
        reader.map(|batch| batch.map(|batch| batch.num_rows())).collect::<coframe::Result<Vec<_>>>()
    };
    assert_eq!(rows(&bytes).unwrap(), [2, 1]);
    let error = rows(&bytes[..bytes.len() / 2]).unwrap_err();
    assert!(error.to_string().starts_with("the pipe breaks rule I1-stream"), "{error}");
}

#[test]
fn compressed_files_of_polars_are_imported_equal() {
    let scratch = scratch();
    let path = scratch.path().with_file_name("compressed");
    // Numbers that do not compress are stored as they are; the rest is packed.
    let noise = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let df = df!(
        "noise" => (0..5_000).map(noise).collect::<Vec<_>>(),
        "some" => (0..5_000).map(|n| (n % 3 > 0).then_some(n)).collect::<Vec<_>>(),
        "text" => (0..5_000).map(|n| format!("a text of more than twelve {}", n % 7)).collect::<Vec<_>>(),
    );
    let with_more = df.unwrap().lazy().with_columns([
        col("text").cast(DataType::from_categories(Categories::global())).alias("category"),
        concat_list([col("some"), col("some")]).unwrap().alias("list"),
    ]);
    let whole = with_more.collect().unwrap();
    for compression in [IpcCompression::LZ4, IpcCompression::default()] {
        for rows in [5_000, 0] {
            let mut df = whole.head(Some(rows));
            let file = fs::File::create(&path).unwrap();
            IpcWriter::new(file).with_compression(Some(compression)).finish(&mut df).unwrap();
            assert!(scratch.store.import("t", &path).unwrap().to_polars().unwrap().equals_missing(&df), "{rows}");
        }
    }
}

#[test]
fn the_causes_of_an_error_show_no_control_character_and_fit_on_a_screen() {
    let scratch = scratch();
    let shown = |error: coframe::Error| {
        let text = format!("{error:?}");
        assert!(text.len() < 4_096 && !text.contains(char::is_control), "{} bytes: {text:.300?}", text.len());
        text
    };
    let schema = numbers(&[1]).schema();
    let rows = [Err(ArrowError::ParseError("\u{1b}[2J\n".repeat(2_000_000)))];
    let error = scratch.store.publish("x", RecordBatchIterator::new(rows, schema)).unwrap_err();
    assert!(shown(error).contains("\\u{1b}[2J\\n"));

    let times = TimestampMicrosecondArray::from(vec![1]).with_timezone("Europe/Be\0lin");
    let table = RecordBatch::try_from_iter([("x", Arc::new(times) as _)]).unwrap();
    let error = scratch.store.publish("x", &table).unwrap().to_polars().unwrap_err();
    assert!(shown(error).contains("Europe/Be\\0lin"));
}
