//! A `FrameWriter` after an error.

use std::fs;

use coframe::{
    Error, FrameWriter,
    arrow::{
        array::{ArrayRef, Float64Array, RecordBatch, RecordBatchIterator},
        error::ArrowError,
    },
};

use crate::{
    common::{child, role, scratch, store_of_test},
    store::{numbers, values},
};

fn assert_unusable(mut writer: FrameWriter) {
    let errors: [Error; 2] = [writer.write(&numbers(&[3])).unwrap_err(), writer.publish().unwrap_err()];
    for error in errors {
        assert!(error.is_invalid_argument() && error.to_string().contains("an earlier write failed"), "{error}");
    }
}

#[test]
fn a_writer_is_unusable_after_a_table_that_failed_half_way() {
    let scratch = scratch();
    let schema = numbers(&[]).schema();
    let mut writer = scratch.store.writer("x", schema.clone()).unwrap();
    let failed = Err(ArrowError::ComputeError("the sensor broke".to_owned()));
    let error = writer.write(RecordBatchIterator::new([Ok(numbers(&[1])), failed], schema)).unwrap_err();
    assert!(error.to_string().contains("could not read the next batch"), "{error}");
    assert_unusable(writer);
    assert!(scratch.files().is_empty());
}

#[test]
fn a_writer_is_unusable_after_a_table_whose_batches_differ() {
    let scratch = scratch();
    let schema = numbers(&[]).schema();
    let mut writer = scratch.store.writer("x", schema.clone()).unwrap();
    let floats = [("x", std::sync::Arc::new(Float64Array::from(vec![0.5])) as ArrayRef)];
    let other = RecordBatch::try_from_iter(floats).unwrap();
    let error = writer.write(RecordBatchIterator::new([Ok(numbers(&[1])), Ok(other)], schema)).unwrap_err();
    assert!(error.to_string().contains("found `x` of type Float64"), "{error}");
    assert_unusable(writer);
    assert!(scratch.files().is_empty());
}

#[test]
fn a_writer_that_is_dropped_removes_its_file_where_drafts_need_a_name() {
    let test = "writers::a_writer_that_is_dropped_removes_its_file_where_drafts_need_a_name";
    if role().is_some() {
        let store = store_of_test();
        let drafts = || fs::read_dir(store.path()).unwrap().filter(|entry| is_draft(entry.as_ref().unwrap())).count();
        let mut writer = store.writer("x", numbers(&[]).schema()).unwrap();
        writer.write(&numbers(&[1])).unwrap();
        assert_eq!(drafts(), 1);
        drop(writer);
        assert_eq!(drafts(), 0);
        return;
    }
    let scratch = scratch();
    let mut command = child(test, "writer");
    // As on a file system without O_TMPFILE.
    command.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", "full:no-tmpfile");
    assert!(command.status().unwrap().success());
}

#[test]
fn only_a_full_file_system_is_reported_as_full() {
    let test = "writers::only_a_full_file_system_is_reported_as_full";
    if role().is_none() {
        let scratch = scratch();
        let mut command = child(test, "writer");
        return assert!(command.env("COFRAME_STORE", scratch.path()).status().unwrap().success());
    }
    let store = store_of_test();
    // No file of this process may become longer than 4 KiB.
    let limit = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
    // SAFETY: ignores a signal, which would end this process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // SAFETY: sets a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    let error = store.publish("x", &numbers(&vec![1; 10_000])).unwrap_err();
    assert!(!error.is_no_space() && format!("{error:?}").contains("File too large"), "{error:?}");
}

fn is_draft(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(".draft-")
}

#[test]
fn a_writer_stays_usable_after_a_table_that_was_refused_as_a_whole() {
    let scratch = scratch();
    let mut writer = scratch.store.writer("x", numbers(&[]).schema()).unwrap();
    writer.write(&numbers(&[1])).unwrap();
    let floats = [("x", std::sync::Arc::new(Float64Array::from(vec![0.5])) as ArrayRef)];
    assert!(writer.write(&RecordBatch::try_from_iter(floats).unwrap()).unwrap_err().is_invalid_argument());
    writer.write(&numbers(&[2])).unwrap();
    assert_eq!(values(&writer.publish().unwrap()), [1, 2]);
}
