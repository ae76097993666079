//! Several ranges of a segment at a time, each over a separate connection.
#![expect(clippy::single_range_in_vec_init, reason = "a list of ranges, not a list of numbers")]

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coframe::{
    Frame, MirrorOptions, Store,
    arrow::array::{ArrayRef, Int64Array, RecordBatch},
};
use coframe_flight::{Remote, RemoteOptions, Server, ServerOptions};

use crate::{
    common::{Reaper, child, flip_after, large, proxy, role, scratch, serve, variable},
    scratch::Scratch,
};

const MIB: usize = 1 << 20;
/// More than what answers contain in addition to the bytes of a segment.
const OVERHEAD: u64 = 256 << 10;

fn options(ranges: usize) -> RemoteOptions {
    RemoteOptions::new().ranges(ranges).unwrap()
}

/// A frame whose segment has this many bytes, a multiple of 64, or up to 63 more.
fn sized(store: &Store, bytes: usize) -> Frame {
    let of_rows = |rows: usize| {
        let numbers = Int64Array::from_iter_values((0..rows as i64).map(|n| n.wrapping_mul(0x9E37)));
        store.publish("x", &RecordBatch::try_from_iter([("x", Arc::new(numbers) as ArrayRef)]).unwrap()).unwrap()
    };
    let rows = bytes / 8 - 512;
    let first = of_rows(rows).size_bytes();
    let frame = of_rows(rows + (bytes - first).next_multiple_of(64) / 8);
    assert!((bytes..bytes + 64).contains(&frame.size_bytes()), "{} for {bytes}", frame.size_bytes());
    frame
}

/// What an interrupted pull left: the ranges that are missing. All other bytes must be those of the origin.
fn left(here: &Scratch, origin: &Frame) -> Vec<std::ops::Range<u64>> {
    let length = origin.size_bytes() as u64;
    let turn = here.store.mirror_turn(origin.segment_id().unwrap(), Duration::from_mins(1)).unwrap();
    let mirror = turn.resume("x", &MirrorOptions::new().length(length)).unwrap();
    let (missing, mut at) = (mirror.missing(), 0);
    for gap in missing.iter().cloned().chain([length..length]) {
        let mut bytes = vec![0; usize::try_from(gap.start - at).unwrap()];
        let mut done = 0;
        while done < bytes.len() {
            done += mirror.read_at(&mut bytes[done..], at + done as u64).unwrap();
        }
        let there = &origin.segment_bytes()[usize::try_from(at).unwrap()..][..bytes.len()];
        assert!(bytes == there, "bytes {at} to {} are not those of the origin", gap.start);
        at = gap.end;
    }
    missing
}

fn sum(ranges: &[std::ops::Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[test]
fn any_number_of_ranges_gives_the_bytes_of_the_origin() {
    let there = scratch();
    let server = serve(&there.store);
    for bytes in [64 << 10, MIB - 64, MIB, 2 * MIB, 4 * MIB - 64, 4 * MIB, 7 * MIB - 64, 7 * MIB, 14 * MIB] {
        let origin = sized(&there.store, bytes);
        let bytes = origin.size_bytes();
        for ranges in [1, 2, 4, 7] {
            let here = scratch();
            let connections = Arc::new(AtomicU64::new(0));
            let opened = connections.clone();
            let count = move |done: u64, _: &mut [u8]| {
                opened.fetch_add(u64::from(done == 0), Ordering::SeqCst);
                true
            };
            let url = format!("http://{}", proxy(server.address(), Arc::new(count)));
            let before = server.stats();
            let remote = Remote::connect_with(url, &options(ranges)).unwrap();
            let copy = remote.open(&here.store, "x").unwrap();
            assert!(copy.segment_bytes() == origin.segment_bytes(), "{bytes} bytes in {ranges} ranges");
            assert_eq!(copy.segment_id(), origin.segment_id());
            let after = server.stats();
            // Of whole chunks of 1 MiB.
            let size = bytes.div_ceil(ranges).next_multiple_of(MIB);
            let expected = bytes.div_ceil(size) as u64;
            assert_eq!((after.pulls - before.pulls, after.ranges - before.ranges), (1, expected), "{bytes}, {ranges}");
            assert_eq!(connections.load(Ordering::SeqCst), expected, "{bytes}, {ranges}");
            assert!(after.bytes - before.bytes < bytes as u64 + OVERHEAD);
            assert_eq!(here.files(), [".from-x@1.arrow", "x.arrow", "x@1.arrow"]);
        }
    }
}

#[test]
fn a_range_whose_connection_broke_goes_on_where_it_stopped() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 32 * MIB);
    let server = serve(&there.store);
    let (passed, is_cut) = (Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
    let counted = passed.clone();
    let cut = move |done: u64, bytes: &mut [u8]| {
        if done > 5 << 20 && !is_cut.swap(true, Ordering::SeqCst) {
            // The client receives what was passed on before.
            std::thread::sleep(Duration::from_secs(1));
            return false;
        }
        counted.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        true
    };
    let url = format!("http://{}", proxy(server.address(), Arc::new(cut)));
    let copy = Remote::connect_with(url, &options(4)).unwrap().open(&here.store, "x").unwrap();
    assert!(copy.segment_bytes() == origin.segment_bytes());
    let stats = server.stats();
    assert_eq!((stats.pulls, stats.ranges), (1, 5), "{stats:?}");
    // No byte was received twice, except those of the message that the cut divided.
    let (passed, most) = (passed.load(Ordering::SeqCst), (origin.size_bytes() + MIB) as u64 + OVERHEAD);
    assert!(passed > origin.size_bytes() as u64 && passed < most, "{passed} bytes, expected {most} at most");
}

#[test]
fn a_killed_pull_is_resumed_with_another_number_of_ranges() {
    const TEST: &str = "ranges::a_killed_pull_is_resumed_with_another_number_of_ranges";
    if role().is_some() {
        let store = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap();
        let ranges = variable("COFRAME_TEST_RANGES").parse().unwrap();
        Remote::connect_with(variable("COFRAME_TEST_URL"), &options(ranges)).unwrap().open(&store, "x").unwrap();
        return;
    }
    let there = scratch();
    let origin = large(&there.store, "x", 48 * MIB);
    let size = origin.size_bytes() as u64;
    let server = serve(&there.store);
    for (first, second, third) in [(4, 1, 2), (4, 7, 1), (7, 2, 4), (1, 4, 7), (2, 3, 2)] {
        let here = scratch();
        // Each of two processes is killed when about a third has arrived, which has an end.
        for ranges in [first, second] {
            let passed = Arc::new(AtomicU64::new(0));
            let counted = passed.clone();
            let slow = move |_: u64, bytes: &mut [u8]| {
                // Slower than the process writes, so that it has written most of what passed.
                std::thread::sleep(Duration::from_millis(3));
                counted.fetch_add(bytes.len() as u64, Ordering::SeqCst) < size / 3
            };
            let address = proxy(server.address(), Arc::new(slow));
            let mut command = child(TEST, "pull");
            command.env("COFRAME_TEST_STORE", here.path()).env("COFRAME_TEST_RANGES", ranges.to_string());
            command.env("COFRAME_TEST_URL", format!("http://{address}"));
            let mut process = Reaper(command.stderr(Stdio::null()).spawn().unwrap());
            while passed.load(Ordering::SeqCst) < size / 3 {
                assert!(process.0.try_wait().unwrap().is_none(), "the pull ended");
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(process);
        }
        let missing = left(&here, &origin);
        let bytes = sum(&missing);
        assert!(bytes > size / 4 && bytes < size - MIB as u64, "{missing:?}");
        let before = server.stats();
        let copy = Remote::connect_with(server.url(), &options(third)).unwrap().open(&here.store, "x").unwrap();
        assert!(copy.segment_bytes() == origin.segment_bytes());
        let after = server.stats();
        // Only what was missing.
        let sent = after.bytes - before.bytes;
        assert!(sent >= bytes && sent < bytes + OVERHEAD, "{sent} bytes, {bytes} were missing");
        assert_eq!(here.files(), [".from-x@1.arrow", "x.arrow", "x@1.arrow"]);
    }
}

#[test]
fn a_flipped_bit_in_one_of_several_ranges_is_found() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 8 * MIB);
    let server = serve(&there.store);
    // Inside of a range of 2 MiB.
    let (change, flipped) = flip_after(3 << 19);
    let url = format!("http://{}", proxy(server.address(), change));
    let remote = Remote::connect_with(url, &options(4).retry(Duration::ZERO)).unwrap();
    let error = remote.open(&here.store, "x").unwrap_err();
    assert!(flipped.load(Ordering::SeqCst));
    // Or the bit was one of HTTP/2's own.
    assert!(error.is_corrupt() || error.is_unreachable(), "{error}");
    assert!(here.store.names().unwrap().is_empty());
    assert!(!error.is_corrupt() || here.files().is_empty(), "{:?}", here.files());
    assert!(remote.open(&here.store, "x").unwrap().segment_bytes() == origin.segment_bytes());
}

#[test]
fn bytes_of_an_earlier_pull_that_are_wrong_in_one_part_are_not_used() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 4 * MIB);
    let (bytes, id, length) = (origin.segment_bytes(), origin.segment_id().unwrap(), origin.size_bytes() as u64);
    let server = serve(&there.store);
    let turn = here.store.mirror_turn(id, Duration::ZERO).unwrap();
    let mut mirror = turn.resume("x", &MirrorOptions::new().length(length)).unwrap();
    mirror.write_at(&bytes[..1000], 0).unwrap();
    mirror.write_at(&[7; 1000], MIB as u64).unwrap();
    drop(mirror);
    let copy = Remote::connect_with(server.url(), &options(2)).unwrap().open(&here.store, "x").unwrap();
    assert!(copy.segment_bytes() == bytes);
    assert_eq!(here.files(), [".from-x@1.arrow", "x.arrow", "x@1.arrow"]);
}

#[test]
fn a_pull_with_more_ranges_than_the_server_allows_goes_on_with_fewer() {
    let there = scratch();
    let origin = large(&there.store, "x", 8 * MIB);
    for (connections, streams) in [(1, 256), (2, 256), (1024, 1), (1024, 2), (2, 1)] {
        let here = scratch();
        let limits = ServerOptions::new().max_connections(connections).max_streams(streams);
        let server = Server::start(&there.store, &limits).unwrap();
        // It takes longer than a broken connection may.
        let slow = |_: u64, bytes: &mut [u8]| {
            std::thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / (6 * MIB) as f64));
            true
        };
        let url = format!("http://{}", proxy(server.address(), Arc::new(slow)));
        let start = Instant::now();
        let remote = Remote::connect_with(url, &options(4).retry(Duration::from_millis(300))).unwrap();
        let copy = remote.open(&here.store, "x").unwrap();
        assert!(copy.segment_bytes() == origin.segment_bytes());
        let stats = server.stats();
        assert!(stats.bytes < origin.size_bytes() as u64 + OVERHEAD, "{stats:?}");
        assert_eq!(stats.refused > 0, connections < 4, "{stats:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}

#[test]
fn a_number_of_ranges_outside_of_the_limits_is_refused() {
    for ranges in [0, 65, usize::MAX] {
        let error = RemoteOptions::new().ranges(ranges).unwrap_err();
        assert!(error.is_invalid_argument(), "{error}");
        assert_eq!(error.to_string(), format!("{ranges} ranges at a time: expected 1 to 64"));
    }
    assert!(RemoteOptions::new().ranges(1).is_ok() && RemoteOptions::new().ranges(64).is_ok());
}

#[test]
fn a_machine_that_fetches_several_ranges_passes_on_only_what_has_arrived() {
    let (there, here, next) = (scratch(), scratch(), scratch());
    let origin = large(&there.store, "x", 8 * MIB);
    let id = origin.segment_id().unwrap();
    let (server, relay) = (serve(&there.store), serve(&here.store));
    let slow = |_: u64, bytes: &mut [u8]| {
        std::thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / (2 * MIB) as f64));
        true
    };
    let url = format!("http://{}", proxy(server.address(), Arc::new(slow)));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let options = options(4).serves(relay.url()).unwrap();
            Remote::connect_with(url, &options).unwrap().open(&here.store, "x").unwrap()
        });
        let arrived = || here.store.partial_mirror(id).unwrap().map_or(0, |partial| partial.len().unwrap());
        while arrived() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(arrived() < 3 * MIB as u64, "{}", arrived());
        let options = RemoteOptions::new().peer(relay.url()).unwrap();
        let copy = Remote::connect_with(server.url(), &options).unwrap().open(&next.store, "x").unwrap();
        assert!(copy.segment_bytes() == origin.segment_bytes());
        assert!(first.join().unwrap().segment_bytes() == origin.segment_bytes());
    });
    // The second machine fetched nothing from the origin.
    let (stats, relayed) = (server.stats(), relay.stats());
    assert_eq!((stats.referrals, stats.pulls, stats.ranges, relayed.relays), (1, 1, 3, 1), "{stats:?}");
}
