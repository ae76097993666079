//! `IpcReader` after an error.

use coframe::{IpcReader, arrow::ipc::writer::FileWriter};

use crate::store::numbers;

#[test]
fn a_reader_of_a_file_ends_after_a_damaged_batch() {
    let batches = [1, 0x1234_5678, 3].map(|mark| numbers(&[mark; 10]));
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    let mut file = writer.into_inner().unwrap();
    let second = file.windows(8).position(|window| window == 0x1234_5678_i64.to_le_bytes()).unwrap();
    // The metadata before the values is not a flatbuffer.
    file[second - 64..second].fill(0xFF);
    let mut reader = IpcReader::file(std::io::Cursor::new(file), "the file").unwrap();
    assert_eq!(reader.next().unwrap().unwrap(), batches[0]);
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none(), "a batch after the damaged one");
}
