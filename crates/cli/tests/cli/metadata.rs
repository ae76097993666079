//! Metadata of schemas on its way through the command.

use std::{collections::HashMap, fs::File, sync::Arc};

use coframe::arrow::{
    array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema, TimeUnit},
    ipc::writer::{FileWriter, StreamWriter},
};
use parquet::{
    arrow::{ARROW_SCHEMA_META_KEY, ArrowWriter, arrow_writer::ArrowWriterOptions, encode_arrow_schema},
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
    },
};

use crate::common::{Scratch, scratch};

const PANDAS: &str = r#"{"index_columns":["key"],"columns":[{"name":"key"},{"name":"n"}]}"#;
const GEO: &str = r#"{"version":"1.1.0","primary_column":"n"}"#;

fn metadata(entries: &[(&str, &str)]) -> HashMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn batch(metadata: HashMap<String, String>) -> RecordBatch {
    let fields = vec![Field::new("key", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
    let columns: [ArrayRef; 2] = [Arc::new(StringArray::from(vec!["a", "b"])), Arc::new(Int64Array::from(vec![1, 2]))];
    RecordBatch::try_new(Arc::new(Schema::new_with_metadata(fields, metadata)), columns.to_vec()).unwrap()
}

fn parquet(scratch: &Scratch, name: &str, entries: &[(&str, &str)]) -> String {
    let (path, batch) = (scratch.path(name), batch(metadata(entries)));
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path.to_str().unwrap().to_owned()
}

fn found(scratch: &Scratch, name: &str) -> HashMap<String, String> {
    scratch.store().open(name).unwrap().schema().metadata().clone()
}

#[test]
fn metadata_of_a_schema_survives_publish_cp_and_export() {
    let scratch = scratch();
    let expected = metadata(&[("pandas", PANDAS), ("geo", GEO)]);
    let batch = batch(expected.clone());
    let [file, stream] = ["f.arrow", "s.arrows"].map(|name| scratch.path(name));
    let mut writer = FileWriter::try_new(File::create(&file).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let mut writer = StreamWriter::try_new(File::create(&stream).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let parquet = parquet(&scratch, "p.parquet", &[("pandas", PANDAS), ("geo", GEO)]);
    for path in [file.to_str().unwrap(), stream.to_str().unwrap(), &parquet] {
        for more in [&[][..], &["--columns", "n"], &["--categorical", "key"], &["--layout", "offset"]] {
            scratch.ok(&[&["publish", path, "--name", "t"][..], more].concat());
            assert_eq!(found(&scratch, "t"), expected, "{path} {more:?}");
        }
        scratch.ok(&["cp", "t", "copy"]);
        assert_eq!(found(&scratch, "copy"), expected, "{path}");
        for out in ["out.parquet", "out.arrow"] {
            let out = scratch.path(out);
            let out = out.to_str().unwrap();
            scratch.ok(&["export", "copy", out, "--force"]);
            scratch.ok(&["publish", out, "--name", "back"]);
            assert_eq!(found(&scratch, "back"), expected, "{path} {out}");
        }
    }
    // For readers that do not know Arrow's schema.
    let reader = SerializedFileReader::new(File::open(scratch.path("out.parquet")).unwrap()).unwrap();
    let entries = reader.metadata().file_metadata().key_value_metadata().unwrap();
    assert!(entries.iter().any(|entry| entry.key == "geo" && entry.value.as_deref() == Some(GEO)), "{entries:?}");
}

#[test]
fn files_that_differ_in_metadata_keep_what_they_share_and_a_note_names_the_rest() {
    let scratch = scratch();
    let first = parquet(&scratch, "1.parquet", &[("pandas", PANDAS), ("geo", "{\"bbox\":[1]}")]);
    let second = parquet(&scratch, "2.parquet", &[("pandas", PANDAS), ("geo", "{\"bbox\":[2]}")]);
    let ran = scratch.run(&["publish", &first, &second, "--name", "t"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("metadata `geo`"), "{}", ran.err);
    assert_eq!(found(&scratch, "t"), metadata(&[("pandas", PANDAS)]));
    let ran = scratch.run(&["publish", &first, &first, "--name", "t"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(found(&scratch, "t").len(), 2);
}

#[test]
fn a_copy_of_a_frame_that_is_not_sealed_has_nothing_that_python_would_unpickle() {
    let scratch = scratch();
    let csv = scratch.file("t.csv", "x\n1\n");
    scratch.ok(&["publish", &csv, "--name", "t", "--metadata", "coframe.python.pandas=x", "--metadata", "source=here"]);
    let metadata = |name: &str| scratch.store().open(name).unwrap().metadata().clone();
    scratch.ok(&["cp", "t", "copy"]);
    assert_eq!(metadata("copy"), metadata("t"));
    let file = scratch.store().open("t").unwrap().path();
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    scratch.ok(&["cp", "t", "copy"]);
    assert_eq!(metadata("copy").into_iter().collect::<Vec<_>>(), [("source".to_owned(), "here".to_owned())]);
}

/// Writers without seconds, or that round, attach the schema that the columns had, and its zones.
#[test]
fn a_parquet_column_that_was_written_in_another_unit_keeps_its_zone() {
    let scratch = scratch();
    let times = || TimestampMillisecondArray::from(vec![Some(1_000), None]).with_timezone("UTC");
    let list = |times: ArrayRef| {
        let item = Arc::new(Field::new_list_field(times.data_type().clone(), true));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([0, 2]), times, None)) as ArrayRef
    };
    let written = [("n", Arc::new(Int64Array::from(vec![1, 2])) as _), ("at", Arc::new(times()) as _)];
    let written = RecordBatch::try_from_iter(written.into_iter().chain([("all", list(Arc::new(times())))])).unwrap();
    let zone = |unit| DataType::Timestamp(unit, Some("Asia/Tokyo".into()));
    let listed = |inner| DataType::List(Arc::new(Field::new_list_field(inner, true)));
    let had = |unit| {
        let kinds = [DataType::Int64, zone(unit), listed(zone(unit))];
        Schema::new(
            ["n", "at", "all"].into_iter().zip(kinds).map(|(n, kind)| Field::new(n, kind, true)).collect::<Vec<_>>(),
        )
    };
    for unit in [TimeUnit::Second, TimeUnit::Nanosecond, TimeUnit::Millisecond] {
        let attached = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&had(unit)));
        let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![attached])).build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let path = scratch.path("zoned.parquet");
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new_with_options(file, written.schema(), options).unwrap();
        writer.write(&written).unwrap();
        writer.close().unwrap();
        scratch.ok(&["publish", path.to_str().unwrap()]);
        let frame = scratch.store().open("zoned").unwrap();
        let kinds: Vec<String> = frame.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(kinds[1], "Timestamp(ms, \"Asia/Tokyo\")");
        assert!(kinds[2].contains("Timestamp(ms, \"Asia/Tokyo\")"), "{}", kinds[2]);
        assert!(scratch.ok(&["head", "zoned"]).contains("09:00:01"));
    }
}
