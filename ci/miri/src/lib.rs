//! Tests for Miri (`ci/miri.sh`): what of the library maps no memory, takes no lock and forks no process.

#![cfg(test)]

use std::{fs::File, path::Path, sync::Arc};

use coframe::{
    Handle, IpcReader, Name,
    arrow::{
        array::{Array, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray, StructArray},
        datatypes::{Int8Type, Int64Type},
        ipc::writer::{FileWriter, StreamWriter},
    },
};

/// A column of each way in which buffers are laid out.
fn table() -> RecordBatch {
    let numbers = Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]));
    let texts = vec![Some("short"), None, Some("longer than the twelve bytes of a view")];
    let lists = vec![Some(vec![Some(1), None]), None, Some(vec![])];
    let pairs = StructArray::from(vec![(
        Arc::new(coframe::arrow::datatypes::Field::new("n", coframe::arrow::datatypes::DataType::Int64, true)),
        numbers.clone() as Arc<dyn Array>,
    )]);
    RecordBatch::try_from_iter([
        ("numbers", numbers as Arc<dyn Array>),
        ("texts", Arc::new(StringArray::from(texts.clone()))),
        ("views", Arc::new(StringViewArray::from(texts))),
        ("lists", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ("categories", Arc::new(["a", "b", "a"].into_iter().collect::<DictionaryArray<Int8Type>>())),
        ("structs", Arc::new(pairs)),
    ])
    .unwrap()
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn names_and_handles_come_back_as_they_were_written() {
    for (text, is_valid) in [("flights", true), ("a.b-c_1", true), ("", false), ("../a", false), ("a/b", false)] {
        assert_eq!(text.parse::<Name>().is_ok(), is_valid, "{text}");
    }
    for text in ["", "coframe:", "coframe:1", "coframe:x?y=1&z", "coframe:%ff%0"] {
        assert!(text.parse::<Handle>().is_err(), "{text}");
    }
}

#[test]
fn a_stream_is_read_as_it_was_written() {
    let batch = table();
    let bytes = stream(&batch);
    let read: Vec<_> = IpcReader::stream(bytes.as_slice(), "a stream").unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, [batch]);
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let batch = table();
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let file = std::io::Cursor::new(writer.into_inner().unwrap());
    let read: Vec<_> = IpcReader::file(file, "a file").unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, [batch]);
}

#[test]
fn a_damaged_stream_is_an_error_or_other_values_and_never_undefined() {
    let whole = stream(&table());
    for position in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x41;
        let Ok(reader) = IpcReader::stream(bytes.as_slice(), "a damaged stream") else { continue };
        for batch in reader {
            let Ok(batch) = batch else { break };
            // Reads every value.
            assert_eq!(batch, batch.clone());
        }
    }
}

#[test]
fn a_sealed_segment_of_the_first_format_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/conformance/struct.arrow");
    let file = File::open(path).unwrap();
    let rows: usize = IpcReader::file(file, "a segment").unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert!(rows > 0);
}
