//! Private, writable maps of frames.

use std::sync::Arc;

use coframe::{
    Frame,
    arrow::{
        array::{Array, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    },
};

use crate::common::scratch;

fn numbers(values: Vec<i64>) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("x", DataType::Int64, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(values))]).unwrap()
}

fn first(frame: &Frame) -> i64 {
    let column = frame.column("x").unwrap();
    column[0].as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}

fn place(frame: &Frame) -> *const u8 {
    frame.column("x").unwrap()[0].to_data().buffers()[0].as_ptr()
}

#[test]
fn what_is_written_to_private_bytes_stays_there() {
    let scratch = scratch();
    let frame = scratch.store.publish("x", &numbers(vec![1, 2])).unwrap();
    let (one, other) = (frame.private_bytes().unwrap().unwrap(), frame.private_bytes().unwrap().unwrap());
    let at = |bytes: &coframe::PrivateBytes| bytes.at(place(&frame), 16).unwrap();
    // SAFETY: 16 bytes of a private map that lives until the end, with no reference to them.
    unsafe { at(&one).write(7) };
    // SAFETY: as above.
    let read = |bytes| unsafe { at(bytes).read() };
    assert_eq!((read(&one), read(&other)), (7, 1));
    assert_eq!((first(&frame), first(&scratch.store.open("x").unwrap())), (1, 1));
}

#[test]
fn private_bytes_are_of_the_same_file_or_an_error() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let store = session.store();
    let old = store.publish("x", &numbers(vec![1])).unwrap();
    assert!(old.private_bytes().unwrap().is_some());
    store.publish("x", &numbers(vec![2])).unwrap();
    assert!(old.private_bytes().unwrap().is_some(), "a version in use keeps its file");
    store.remove("x").unwrap();
    store.publish("x", &numbers(vec![3])).unwrap();
    assert!(old.private_bytes().unwrap().is_none());
    let new = store.open("x").unwrap();
    assert!(new.private_bytes().unwrap().is_some());
    drop(session);
    assert!(new.private_bytes().unwrap().is_none());
}

#[test]
fn private_bytes_reach_no_further_than_their_frame() {
    let scratch = scratch();
    let frame = scratch.store.publish("x", &numbers(vec![1, 2])).unwrap();
    let bytes = frame.private_bytes().unwrap().unwrap();
    let segment = frame.segment_bytes();
    assert!(bytes.at(segment.as_ptr(), segment.len()).is_some());
    assert!(bytes.at(segment.as_ptr(), segment.len() + 1).is_none());
    assert!(bytes.at(place(&frame), frame.size_bytes() + 1).is_none());
    assert!(bytes.at(place(&frame), usize::MAX).is_none());
    assert!(bytes.at(std::ptr::without_provenance(8), 1).is_none());
}
