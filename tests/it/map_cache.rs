//! Maps that stay after their frames.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use coframe::{
    Frame, MapCache, OpenOptions,
    arrow::{
        array::{Array, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    },
};

use crate::common::scratch;

const LONG: Duration = Duration::from_mins(10);

fn numbers(values: Vec<i64>) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("x", DataType::Int64, false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(values))]).unwrap()
}

fn address(frame: &Frame) -> usize {
    frame.column("x").unwrap()[0].to_data().buffers()[0].as_ptr().addr()
}

/// Whether this process maps the file.
fn maps(path: &std::path::Path) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().contains(path.to_str().unwrap())
}

#[test]
fn a_frame_that_is_opened_again_has_the_kept_map() {
    let scratch = scratch();
    let handle = scratch.store.publish("x", &numbers((0..10_000).collect())).unwrap().handle();
    let cache = MapCache::new(2);
    let kept = OpenOptions::new().map_cache(&cache);
    let first = address(&handle.open_with(&kept).unwrap());
    // Takes the place of a map that has ended.
    let other = handle.open().unwrap();
    let again = scratch.store.open_with("x", &kept).unwrap();
    assert_eq!(address(&again), first);
    assert_ne!(address(&other), first);
    assert_eq!(address(&scratch.store.open_with("x", &kept).unwrap()), first);
    assert_eq!(cache.release(LONG), 1);
    assert_eq!(again.column("x").unwrap()[0].len(), 10_000);
}

#[test]
fn a_kept_map_neither_keeps_a_version_nor_lets_one_in_use_be_removed() {
    let scratch = scratch();
    let store = &scratch.store;
    let cache = MapCache::new(2);
    let kept = OpenOptions::new().map_cache(&cache);
    for version in 1..4 {
        store.publish("x", &numbers(vec![version])).unwrap();
        assert_eq!(store.versions("x").unwrap(), [version as u64]);
        for _ in 0..2 {
            let frame = store.open_with("x", &kept).unwrap();
            assert_eq!(frame.version(), version as u64);
        }
    }
    let frame = store.open_with("x", &kept).unwrap();
    store.publish("x", &numbers(vec![4])).unwrap();
    assert_eq!(store.versions("x").unwrap(), [3, 4]);
    assert_eq!(frame.handle().open_with(&kept).unwrap().version(), 3);
}

#[test]
fn the_map_of_a_removed_segment_ends_with_the_next_release() {
    let scratch = scratch();
    let path = scratch.store.publish("x", &numbers(vec![1])).unwrap().path();
    let cache = MapCache::new(2);
    drop(scratch.store.open_with("x", &OpenOptions::new().map_cache(&cache)).unwrap());
    assert_eq!(cache.release(LONG), 1);
    assert!(maps(&path));
    scratch.store.remove("x").unwrap();
    assert_eq!(cache.release(LONG), 0);
    assert!(!maps(&path));
}

#[test]
fn a_map_that_was_used_again_is_not_an_unused_one() {
    const UNUSED: Duration = Duration::from_millis(500);
    let scratch = scratch();
    scratch.store.publish("x", &numbers(vec![1])).unwrap();
    let cache = MapCache::new(2);
    let open = || scratch.store.open_with("x", &OpenOptions::new().map_cache(&cache)).unwrap();
    // Again if this thread did not run for so long that the map was unused meanwhile.
    loop {
        drop(open());
        std::thread::sleep(UNUSED);
        let start = Instant::now();
        drop(open());
        let left = cache.release(UNUSED);
        if start.elapsed() < UNUSED {
            break assert_eq!(left, 1);
        }
    }
    std::thread::sleep(UNUSED);
    assert_eq!(cache.release(UNUSED), 0);
}

#[test]
fn the_map_of_a_removed_segment_ends_when_another_one_is_kept() {
    let scratch = scratch();
    let cache = MapCache::new(3);
    let kept = OpenOptions::new().map_cache(&cache);
    let paths = ["a", "b"].map(|name| {
        let path = scratch.store.publish(name, &numbers(vec![1])).unwrap().path();
        scratch.store.open_with(name, &kept).unwrap();
        path
    });
    scratch.store.remove("a").unwrap();
    scratch.store.publish("c", &numbers(vec![1])).unwrap();
    scratch.store.open_with("c", &kept).unwrap();
    assert_eq!(paths.each_ref().map(|path| maps(path)), [false, true]);
}

#[test]
fn a_cache_has_a_number_of_maps_and_an_end_for_those_that_are_unused() {
    let scratch = scratch();
    let cache = MapCache::new(2);
    let kept = OpenOptions::new().map_cache(&cache);
    let names = ["a", "b", "c"];
    let paths = names.map(|name| scratch.store.publish(name, &numbers(vec![1])).unwrap().path());
    for name in names {
        scratch.store.open_with(name, &kept).unwrap();
    }
    assert_eq!(cache.release(LONG), 2);
    assert_eq!(paths.each_ref().map(|path| maps(path)), [false, true, true]);
    let frame = scratch.store.open_with("b", &kept).unwrap();
    assert_eq!(cache.clone().release(Duration::ZERO), 0);
    assert_eq!(paths.each_ref().map(|path| maps(path)), [false, true, false]);
    assert_eq!(frame.num_rows(), 1);
}
