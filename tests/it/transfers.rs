//! Transfers of a segment that are interrupted, swept and resumed.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use coframe::{MirrorOptions, MirrorWriter};

use crate::{
    common::{Scratch, scratch},
    store::{numbers, values},
};

fn resumed(here: &Scratch, id: u128, length: u64) -> MirrorWriter {
    let turn = here.store.mirror_turn(id, Duration::from_secs(10)).unwrap();
    turn.resume("copy", &MirrorOptions::new().length(length)).unwrap()
}

#[test]
fn an_interrupted_transfer_is_resumed_after_a_sweep_and_removed_after_ten_minutes() {
    let (there, here) = (scratch(), scratch());
    let rows: Vec<i64> = (0..10_000).collect();
    let frame = there.store.publish("x", &numbers(&rows)).unwrap();
    let (bytes, id) = (frame.segment_bytes(), frame.segment_id().unwrap());
    let (length, half) = (bytes.len() as u64, bytes.len() / 2);

    let mut mirror = resumed(&here, id, length);
    mirror.write(&bytes[..half]).unwrap();
    drop(mirror);
    assert_eq!(here.store.sweep().unwrap().bytes, 0);
    let mut mirror = resumed(&here, id, length);
    assert_eq!(mirror.written(), half as u64);
    mirror.write(&bytes[half..]).unwrap();
    assert_eq!(values(&mirror.publish().unwrap()), rows);
    assert!(here.store.remove("copy").unwrap());

    // Out of order: a record of the parts is at the end of the file.
    let mut mirror = resumed(&here, id, length);
    mirror.write_at(&bytes[half..], half as u64).unwrap();
    drop(mirror);
    here.store.sweep().unwrap();
    let mirror = resumed(&here, id, length);
    assert_eq!((mirror.written(), &*mirror.missing()), (0, std::slice::from_ref(&(0..half as u64))));
    drop(mirror);
    let partial = here.files().into_iter().find(|file| file.starts_with(".draft-")).unwrap();
    let file = fs::File::open(here.path().join(&partial)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_mins(11)).unwrap();
    assert!(here.store.sweep().unwrap().bytes >= length);
    assert!(!here.files().contains(&partial));
    assert_eq!(resumed(&here, id, length).missing(), std::slice::from_ref(&(0..length)));
}
