//! Damaged, foreign and hostile files: an error or the same data, never a panic and never a crash.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    sync::Arc,
};

use coframe::{
    CopyPolicy, Frame, OpenOptions, Result, Store,
    arrow::{
        array::{ArrayRef, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray, StringViewArray},
        datatypes::Int32Type,
        ipc::{
            MetadataVersion,
            reader::FileReader,
            root_as_footer,
            writer::{FileWriter, IpcWriteOptions},
        },
    },
    polars::prelude::*,
};

use crate::common::{Scratch, scratch};

/// Puts bytes where version 1 of `x` is, read-only as a published segment, so that its digest is relied on
/// (`bad_values_in_a_sealed_segment_are_found_by_verify` shows that it is).
fn place(scratch: &Scratch, bytes: &[u8]) {
    place_with(scratch, bytes, 0o400);
}

fn place_with(scratch: &Scratch, bytes: &[u8], mode: u32) {
    let file = scratch.path().join("x@1.arrow");
    let _ = fs::remove_file(&file);
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let _ = symlink("x@1.arrow", scratch.path().join("x.arrow"));
}

fn small() -> DataFrame {
    let enumeration = DataType::from_frozen_categories(FrozenCategories::new(["lo", "hi"]).unwrap());
    let mut df =
        df!("i" => [Some(1i64), None], "s" => ["a text of more than twelve", "b"], "e" => ["hi", "lo"]).unwrap();
    df.with_column(df.column("e").unwrap().cast(&enumeration).unwrap()).unwrap();
    df
}

fn segment() -> Vec<u8> {
    let scratch = scratch();
    scratch.store.publish("x", &small()).unwrap();
    fs::read(scratch.path().join("x.arrow")).unwrap()
}

/// The ranges of a file that are in message bodies.
fn bodies(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let end = bytes.len() - 10;
    let len = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
    let footer = root_as_footer(&bytes[end - len..end]).unwrap();
    let blocks = footer.recordBatches().unwrap().iter().chain(footer.dictionaries().unwrap());
    blocks
        .map(|block| {
            let start = usize::try_from(block.offset() + i64::from(block.metaDataLength())).unwrap();
            start..start + usize::try_from(block.bodyLength()).unwrap()
        })
        .collect()
}

fn open(store: &Store) -> Result<Frame> {
    let frame = store.open("x")?;
    frame.to_polars()?;
    Ok(frame)
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = segment();
    let scratch = scratch();
    for (len, mode) in (0..bytes.len()).flat_map(|len| [(len, 0o400), (len, 0o600)]) {
        place_with(&scratch, &bytes[..len], mode);
        let error = open(&scratch.store).unwrap_err();
        assert!(error.is_corrupt(), "{len} bytes: {error:?}");
    }
    place(&scratch, &bytes);
    assert!(open(&scratch.store).unwrap().to_polars().unwrap().equals_missing(&small()));
}

#[test]
fn every_bit_flip_outside_the_bodies_is_an_error() {
    let bytes = segment();
    let bodies = bodies(&bytes);
    let scratch = scratch();
    let mut flips = 0;
    for position in (0..bytes.len()).filter(|position| !bodies.iter().any(|body| body.contains(position))) {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            // Sealed, the digest comes before everything else; writable, every flatbuffer is verified first.
            for mode in [0o400, 0o600] {
                place_with(&scratch, &damaged, mode);
                // Without its mark a file counts as foreign; then its values are checked, and are what they were.
                if let Ok(frame) = open(&scratch.store) {
                    assert!(frame.created().is_none(), "byte {position}, bit {bit}, mode {mode:o} was not noticed");
                    assert_eq!(frame.to_polars().unwrap().column("i").unwrap(), small().column("i").unwrap());
                }
            }
            flips += 1;
        }
    }
    assert!(flips > 8 * 1000, "only {flips}");
}

#[test]
fn every_bit_flip_in_a_foreign_file_is_an_error_or_valid_data() {
    let scratch = scratch();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("s", Arc::new(LargeStringArray::from(vec![Some("ü"), None])) as ArrayRef, true),
        ("v", Arc::new(StringViewArray::from(vec!["a text of more than twelve", "b"])) as _, true),
        ("l", Arc::new(lists) as _, true),
    ])
    .unwrap();
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let mut accepted = 0;
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            place(&scratch, &damaged);
            if let Ok(frame) = scratch.store.open("x") {
                accepted += 1;
                scratch.store.verify("x").unwrap();
                let _ = frame.to_polars();
            }
            // The same bytes through the reader of imports.
            let _ = scratch.store.import("y", scratch.path().join("x@1.arrow"));
        }
    }
    assert!(accepted > 0);
}

#[test]
fn every_bit_flip_in_a_compressed_file_is_an_error_or_imported_and_valid() {
    let scratch = scratch();
    let path = scratch.path().with_file_name("compressed");
    let mut df = df!("s" => vec!["a text of more than twelve"; 40], "n" => vec![7_i64; 40]).unwrap();
    for compression in [IpcCompression::LZ4, IpcCompression::default()] {
        let mut bytes = Vec::new();
        IpcWriter::new(&mut bytes).with_compression(Some(compression)).finish(&mut df).unwrap();
        let (mut accepted, mut refused) = (0, 0);
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            fs::write(&path, &damaged).unwrap();
            match scratch.store.import("y", &path) {
                Ok(frame) => {
                    accepted += 1;
                    scratch.store.verify("y").unwrap();
                    let _ = frame.to_polars();
                }
                Err(error) => {
                    refused += 1;
                    assert!(error.is_corrupt() || error.is_unsupported() || error.is_invalid_argument(), "{error}");
                }
            }
        }
        assert!(accepted > 0 && refused > 100, "{accepted} {refused}");
    }
}

#[test]
fn a_foreign_file_with_bad_values_is_refused() {
    let scratch = scratch();
    let batch =
        RecordBatch::try_from_iter([("s", Arc::new(StringArray::from(vec!["needle in it"])) as ArrayRef)]).unwrap();
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let mut bytes = writer.into_inner().unwrap();
    let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[at] = 0xFF;
    place(&scratch, &bytes);
    let error = scratch.store.open("x").unwrap_err();
    assert!(error.is_corrupt());
    let message = error.to_string();
    assert!(message.contains("breaks rule V1-values of docs/FORMAT.md: column `s`:"), "{message}");
    let path = scratch.path().join("x@1.arrow");
    assert!(scratch.store.import("y", path).unwrap_err().is_corrupt());
}

#[test]
fn bad_values_in_a_sealed_segment_are_found_by_verify() {
    let mut bytes = segment();
    let scratch = scratch();
    let at = bytes.windows(6).position(|window| window == b"a text").unwrap();
    bytes[at + 14] = 0xFF;
    place(&scratch, &bytes);
    assert!(scratch.store.open("x").is_ok());
    let error = scratch.store.verify("x").unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("`s`"), "{error}");
}

#[test]
fn a_writable_file_with_our_mark_is_validated_like_a_foreign_one() {
    let mut bytes = segment();
    let scratch = scratch();
    let at = bytes.windows(6).position(|window| window == b"a text").unwrap();
    bytes[at + 14] = 0xFF;
    place_with(&scratch, &bytes, 0o600);
    assert!(scratch.store.open("x").unwrap_err().is_corrupt());
    // Its records about Polars are not trusted either: its keys are checked and rewritten.
    place_with(&scratch, &segment(), 0o600);
    let frame = scratch.store.open_with("x", &OpenOptions::new().copies(CopyPolicy::Never)).unwrap();
    assert!(frame.to_polars().unwrap_err().is_would_copy());
    assert!(scratch.store.open("x").unwrap().to_polars().unwrap().equals_missing(&small()));
}

#[test]
fn compressed_and_stream_files_are_distinguished() {
    let scratch = scratch();
    let path: PathBuf = scratch.path().join("x@1.arrow");
    let mut df = df!("x" => (0..10_000i64).collect::<Vec<_>>()).unwrap();
    let file = fs::File::create(&path).unwrap();
    IpcWriter::new(file).with_compression(Some(IpcCompression::LZ4)).finish(&mut df).unwrap();
    symlink("x@1.arrow", scratch.path().join("x.arrow")).unwrap();
    let error = scratch.store.open("x").unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("which is compressed"), "{error}");
    let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let mut stream = coframe::arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    place(&scratch, &stream.into_inner().unwrap());
    let error = scratch.store.open("x").unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("S1-magic"), "{error}");
}

#[test]
fn a_format_of_the_future_is_unsupported() {
    let mut bytes = segment();
    let scratch = scratch();
    let at = bytes.windows(14).position(|window| window == b"coframe.format").unwrap();
    let value = bytes[..at].iter().rposition(|byte| *byte == b'1').unwrap();
    let value = if bytes[value - 4..value] == [1, 0, 0, 0] {
        value
    } else {
        at + bytes[at..].windows(5).position(|window| window == [1, 0, 0, 0, b'1']).unwrap() + 4
    };
    bytes[value] = b'2';
    place(&scratch, &bytes);
    let error = scratch.store.open("x").unwrap_err();
    assert!(
        error.is_unsupported() && error.to_string().contains("format version 2 where this build reads 1"),
        "{error}"
    );
}

#[test]
fn frames_of_version_1_open_as_they_did() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "arrow") {
            continue;
        }
        let scratch = scratch();
        place(&scratch, &fs::read(&path).unwrap());
        let frame = scratch.store.open_with("x", &OpenOptions::new()).unwrap();
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        assert_eq!(describe(&frame), expected, "{}", path.display());
        scratch.store.verify("x").unwrap();
        // Other readers see the same rows.
        let reader = FileReader::try_new(fs::File::open(&path).unwrap(), None).unwrap();
        assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), frame.num_rows());
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// A frame as text: Arrow and Polars types, metadata, flags and every value.
fn describe(frame: &Frame) -> String {
    use std::fmt::Write;
    let mut text = format!("{} rows in {} batches\n", frame.num_rows(), frame.batches().len());
    writeln!(text, "metadata {:?}", frame.metadata()).unwrap();
    let df = frame.to_polars().unwrap();
    for (field, column) in frame.schema().fields().iter().zip(df.columns()) {
        let sorted = column.is_sorted_flag();
        writeln!(text, "\n{}: {} = {:?}, sorted {sorted:?}", field.name(), field.data_type(), column.dtype()).unwrap();
        for row in 0..column.len() {
            writeln!(text, "  {}", column.get(row).unwrap()).unwrap();
        }
    }
    text
}
