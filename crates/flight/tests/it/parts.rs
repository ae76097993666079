//! Mirrors that are written out of order: the file of a transfer and the record of its parts.
#![expect(clippy::single_range_in_vec_init, reason = "a list of ranges, not a list of numbers")]

use std::{
    fs,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    time::Duration,
};

use coframe::{Frame, MirrorOptions, MirrorWriter, Store};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};

use crate::{
    common::{child, large, role, scratch, variable},
    scratch::Scratch,
};

const BYTES: usize = 64 << 10;

fn resume(here: &Scratch, origin: &Frame) -> MirrorWriter {
    let turn = here.store.mirror_turn(origin.segment_id().unwrap(), Duration::ZERO).unwrap();
    turn.resume("x", &MirrorOptions::new().length(origin.size_bytes() as u64)).unwrap()
}

/// Writes these bytes of the origin.
fn write(mirror: &mut MirrorWriter, origin: &Frame, part: std::ops::Range<usize>) {
    mirror.write_at(&origin.segment_bytes()[part.clone()], part.start as u64).unwrap();
}

fn file(here: &Scratch, origin: &Frame) -> std::path::PathBuf {
    here.path().join(format!(".draft-{:032x}.partial", origin.segment_id().unwrap()))
}

#[test]
fn a_mirror_is_written_in_any_order_and_each_part_is_resumed() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", BYTES);
    let length = origin.size_bytes();
    let mut mirror = resume(&here, &origin);
    write(&mut mirror, &origin, 0..100);
    assert_eq!(fs::metadata(file(&here, &origin)).unwrap().len(), 100);
    write(&mut mirror, &origin, 30_000..40_000);
    // The record is the page after the segment.
    assert_eq!(fs::metadata(file(&here, &origin)).unwrap().len(), (length.next_multiple_of(4096) + 4096) as u64);
    write(&mut mirror, &origin, length - 10..length);
    write(&mut mirror, &origin, 40_000..40_001);
    assert_eq!(mirror.written(), 100);
    drop(mirror);
    let mut mirror = resume(&here, &origin);
    assert_eq!(mirror.missing(), [100..30_000, 40_001..length as u64 - 10]);
    // What follows the first bytes is appended, and no byte is written twice.
    mirror.write(&origin.segment_bytes()[100..30_000]).unwrap();
    assert_eq!(mirror.written(), 40_001);
    let error = mirror.write(&origin.segment_bytes()[40_001..]).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("written before"), "{error}");
    assert!(mirror.write(b"x").unwrap_err().is_invalid_argument());
    drop(mirror);
    let mut mirror = resume(&here, &origin);
    write(&mut mirror, &origin, 40_001..length - 10);
    assert_eq!((mirror.missing(), mirror.written()), (Vec::new(), length as u64));
    // The writer was killed before it published: the next turn has nothing to write.
    drop(mirror);
    let copy = resume(&here, &origin).publish().unwrap();
    assert!(copy.segment_bytes() == origin.segment_bytes());
    assert_eq!(here.files(), ["x.arrow", "x@1.arrow"]);
}

#[test]
fn a_writer_that_is_killed_before_it_has_a_record_leaves_no_gap() {
    const TEST: &str = "parts::a_writer_that_is_killed_before_it_has_a_record_leaves_no_gap";
    if role().is_some() {
        let there = Store::open_at(variable("COFRAME_TEST_ORIGIN")).unwrap();
        let here = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap();
        let origin = there.open("x").unwrap();
        let (length, turn) =
            (origin.size_bytes() as u64, here.mirror_turn(origin.segment_id().unwrap(), Duration::ZERO));
        let mut mirror = turn.unwrap().resume("x", &MirrorOptions::new().length(length)).unwrap();
        write(&mut mirror, &origin, 0..100);
        // The kernel kills the process when it writes the record, and lets it write what is before.
        let limit = Some(length.next_multiple_of(4096));
        setrlimit(Resource::Fsize, Rlimit { current: limit, maximum: limit }).unwrap();
        write(&mut mirror, &origin, 30_000..40_000);
        return;
    }
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", BYTES);
    let mut command = child(TEST, "write");
    command.env("COFRAME_TEST_ORIGIN", there.path()).env("COFRAME_TEST_STORE", here.path());
    let status = command.status().unwrap();
    assert_eq!(status.signal(), Some(Signal::XFSZ.as_raw()), "{status}");
    let mirror = resume(&here, &origin);
    assert_eq!((mirror.written(), mirror.missing().as_slice()), (100, &[100..origin.size_bytes() as u64][..]));
    mirror.discard();
}

#[test]
fn a_mirror_with_a_gap_is_not_published() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", BYTES);
    let length = origin.size_bytes();
    let mut mirror = resume(&here, &origin);
    write(&mut mirror, &origin, 1..length);
    let error = mirror.publish().unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("cut short"), "{error}");
    assert!(here.store.names().unwrap().is_empty());
    let mut mirror = resume(&here, &origin);
    assert_eq!(mirror.missing(), [0..1]);
    write(&mut mirror, &origin, 0..1);
    assert!(mirror.publish().unwrap().segment_bytes() == origin.segment_bytes());
}

#[test]
fn a_record_that_is_damaged_or_of_another_length_starts_the_mirror_again() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", BYTES);
    let (id, length) = (origin.segment_id().unwrap(), origin.size_bytes() as u64);
    let start = || {
        let mut mirror = resume(&here, &origin);
        write(&mut mirror, &origin, 5000..6000);
        drop(mirror);
    };
    for damaged in [0, 17, 24, 33, 36, 40, 55] {
        start();
        let path = file(&here, &origin);
        let at = length.next_multiple_of(4096) + damaged;
        let writable = fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut byte = [0];
        writable.read_exact_at(&mut byte, at).unwrap();
        writable.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let mirror = resume(&here, &origin);
        assert_eq!((mirror.missing().as_slice(), mirror.written()), (&[0..length][..], 0), "byte {damaged}");
        mirror.discard();
    }
    for options in [MirrorOptions::new(), MirrorOptions::new().length(length + 1), MirrorOptions::new().length(5000)] {
        start();
        let mirror = here.store.mirror_turn(id, Duration::ZERO).unwrap().resume("x", &options).unwrap();
        assert_eq!(mirror.written(), 0);
        mirror.discard();
    }
    assert_eq!(here.files(), [""; 0]);
}

#[test]
fn a_mirror_of_unknown_length_is_written_in_order() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", BYTES);
    let bytes = origin.segment_bytes();
    let mut mirror = here.store.mirror("x").unwrap();
    mirror.write_at(&bytes[..10], 0).unwrap();
    assert_eq!(mirror.missing(), [10..u64::MAX]);
    mirror.write_at(&bytes[10..20], 10).unwrap();
    let error = mirror.write_at(&bytes[30..], 30).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("MirrorOptions::length"), "{error}");
    mirror.restart().unwrap();
    mirror.write(&bytes).unwrap();
    assert!(mirror.publish().unwrap().segment_bytes() == bytes);
    // A file without a name can have parts, too.
    let mut mirror = here.store.mirror_with("y", &MirrorOptions::new().length(bytes.len() as u64)).unwrap();
    mirror.write_at(&bytes[30..], 30).unwrap();
    mirror.write_at(&bytes[..30], 0).unwrap();
    let outside = here.store.mirror_with("z", &MirrorOptions::new().length(40)).unwrap().write_at(&bytes[..10], 31);
    assert!(outside.unwrap_err().is_corrupt());
    assert!(mirror.publish().unwrap().segment_bytes() == bytes);
}
