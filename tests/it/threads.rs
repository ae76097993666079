//! Dicts, frames and pools that several threads of one process use. `cell_threads` has cells.

use std::{thread, time::Duration};

use coframe::{Error, MapCache, OpenOptions, PublishOptions, SharedMap, Store};

use crate::{
    common::scratch,
    pool::builder,
    store::{numbers, values},
};

#[test]
fn threads_that_change_a_dict_lose_no_change_and_read_whole_transactions() {
    const ROUNDS: u32 = 100;
    let scratch = scratch();
    let shared: SharedMap<u8, u32> = SharedMap::create(&scratch.store, "x").unwrap();
    thread::scope(|scope| {
        for is_shared in [true, true, false, false] {
            let (shared, store) = (&shared, &scratch.store);
            scope.spawn(move || {
                let own = SharedMap::<u8, u32>::open(store, "x").unwrap();
                let dict = if is_shared { shared } else { &own };
                for _ in 0..ROUNDS {
                    dict.transaction(|t| {
                        for key in [1, 2] {
                            let value = t.get(&key)?.unwrap_or(0);
                            t.insert(&key, &(value + 1))?;
                        }
                        Ok::<_, Error>(())
                    })
                    .unwrap();
                    let snapshot = dict.snapshot().unwrap();
                    assert_eq!(snapshot.get(&1).unwrap(), snapshot.get(&2).unwrap());
                }
            });
        }
    });
    assert_eq!((shared.get(&1).unwrap(), shared.get(&2).unwrap()), (Some(4 * ROUNDS), Some(4 * ROUNDS)));
}

#[test]
fn threads_that_publish_and_open_one_name_see_whole_frames() {
    let scratch = scratch();
    let cache = MapCache::new(2);
    scratch.store.publish("x", &numbers(&[0; 100])).unwrap();
    thread::scope(|scope| {
        for number in 0..2 {
            let store = &scratch.store;
            scope.spawn(move || {
                for round in 0..50 {
                    let options = PublishOptions::new().keep(round % 2);
                    store.publish_with("x", &numbers(&[number; 100]), &options).unwrap();
                }
            });
        }
        for is_kept in [false, true] {
            let (cache, path) = (&cache, scratch.path());
            scope.spawn(move || {
                let store = Store::open_at(path).unwrap();
                let options = if is_kept { OpenOptions::new().map_cache(cache) } else { OpenOptions::new() };
                let mut latest = 0;
                for _ in 0..100 {
                    let frame = store.open_with("x", &options).unwrap();
                    let found = values(&frame);
                    assert_eq!(found, [found[0]; 100]);
                    assert!(frame.version() >= latest);
                    latest = frame.version();
                    if is_kept {
                        cache.release(Duration::ZERO);
                    }
                }
            });
        }
    });
    assert_eq!(scratch.store.open("x").unwrap().version(), 101);
}

fn double(x: u64) -> u64 {
    2 * x
}

#[test]
fn calls_from_several_threads_share_the_workers() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                let start = thread * 10_000;
                let expected: Vec<u64> = (start..start + 3000).map(double).collect();
                assert_eq!(pool.map(double, start..start + 3000).unwrap(), expected);
            });
        }
    });
}

#[test]
fn calls_with_other_shared_values_take_turns_in_one_worker() {
    fn pair(shared: &String, x: u32) -> String {
        thread::sleep(Duration::from_millis(1));
        format!("{shared}{x}")
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let pool = &pool;
            scope.spawn(move || {
                let expected: Vec<String> = (0..40).map(|x| format!("{name}{x}")).collect();
                assert_eq!(pool.map_with(pair, &name.to_owned(), 0..40).unwrap(), expected);
            });
        }
    });
}
