//! Cells: what processes share and change, and what becomes of it when they die.

use std::time::{Duration, Instant};

use coframe::{
    Store,
    sync::{Array, AtomicArray, Barrier, Counter, Event, Flag, Latest, Mutex, Semaphore},
};

use crate::common::{Scratch, alone, fork, kill, random, scratch, wait};

#[test]
fn a_cell_that_is_something_else_is_named_with_what_was_expected() {
    let Scratch { ref store, .. } = scratch();
    Mutex::create(store, "x", 1.5_f64).unwrap();
    let error = Mutex::<i64>::open(store, "x").unwrap_err();
    let text = error.to_string();
    assert!(error.is_invalid_argument(), "{text}");
    assert!(
        text.ends_with("which is a locked value of `f64` (8 bytes): expected a locked value of `i64` (8 bytes)"),
        "{text}"
    );
    let error = Counter::<i64>::open(store, "x").unwrap_err();
    assert!(error.to_string().ends_with("expected a counter of `i64` (8 bytes)"), "{error}");
    assert!(Mutex::create(store, "x", 1_u8).unwrap_err().to_string().contains("a cell of that name exists"));
    Array::<u32>::create(store, "a", 10).unwrap();
    let error = Array::<u32>::open_or_create(store, "a", 11).unwrap_err();
    assert_eq!(error.to_string(), "the cell `a`, which has 10 elements: expected 11");
    assert!(Array::<[u16; 2]>::open(store, "a").unwrap_err().is_invalid_argument());
    assert!(Flag::open(store, "nothing").unwrap_err().is_not_found());
    assert!(Counter::<i64>::create(store, "../x").unwrap_err().is_invalid_argument());
}

#[test]
fn a_cell_that_was_cut_short_or_overwritten_is_refused() {
    let scratch = scratch();
    let path = scratch.path().join("x.cell");
    Array::<u64>::create(&scratch.store, "x", 1000).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for len in [5000, 300, 100, 0] {
        file.set_len(len).unwrap();
        let error = Array::<u64>::open(&scratch.store, "x").unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("cut short"), "{len}: {error}");
    }
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    assert!(Array::<u64>::open(&scratch.store, "x").unwrap_err().is_corrupt());
}

#[test]
fn a_full_store_is_an_error_and_leaves_nothing() {
    let scratch = scratch();
    let error = Array::<u64>::create(&scratch.store, "x", 1 << 40).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert_eq!(scratch.files(), Vec::<String>::new());
    assert!(AtomicArray::<u64>::create(&scratch.store, "x", usize::MAX).is_err());
}

#[test]
fn cells_are_removed_with_their_session_and_named_ones_stay_until_they_are_removed() {
    let Scratch { ref store, .. } = scratch();
    let session = store.session().unwrap();
    let inside: Counter = Counter::create(session.store(), "n").unwrap();
    let outside: Counter = Counter::create(store, "n").unwrap();
    let (inside_handle, outside_handle) = (inside.handle(), outside.handle());
    inside.add(1);
    assert_eq!(Counter::<i64>::from_handle(&inside_handle.to_string().parse().unwrap()).unwrap().get(), 1);
    drop(session);
    store.sweep().unwrap();
    let error = Counter::<i64>::from_handle(&inside_handle).unwrap_err();
    assert!(error.is_not_found() && error.to_string().starts_with("cell `n` not found in the store"), "{error}");
    assert_eq!(inside.add(1), 2);
    assert_eq!(Counter::<i64>::from_handle(&outside_handle).unwrap().add(4), 4);
    assert_eq!(store.cells().unwrap().len(), 1);
    assert!(store.remove_cell("n").unwrap() && !store.remove_cell("n").unwrap());
    Counter::<i64>::create(store, "n").unwrap();
    assert!(Counter::<i64>::from_handle(&outside_handle).unwrap_err().is_superseded());
}

#[test]
fn cells_go_into_the_arguments_of_tasks() {
    fn work((counter, values, part): (Counter, Array<u32>, usize)) -> i64 {
        values.claim_part(part, 4).unwrap().fill(part as u32);
        counter.add(part as i64)
    }
    let scratch = scratch();
    let counter: Counter = Counter::create(&scratch.store, "n").unwrap();
    let values: Array<u32> = Array::create(&scratch.store, "values", 10).unwrap();
    let pool = crate::pool::builder(&scratch).build().unwrap();
    pool.map(work, (0..4).map(|part| (counter.clone(), values.clone(), part))).unwrap();
    assert_eq!(counter.get(), 6);
    assert_eq!(*values.lock().unwrap(), [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]);
}

#[test]
fn elements_change_one_by_one_in_every_type() {
    let Scratch { ref store, .. } = scratch();
    macro_rules! check {
        ($($type:ident),*) => {$(
            let name = stringify!($type);
            let array = AtomicArray::<$type>::create(store, name, 3).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..1000).for_each(|_| assert!(array.add(1, <$type>::from(2_u16)).is_some())));
                }
            });
            array.set(2, <$type>::from(7_u16)).unwrap();
            assert_eq!(array.max(2, <$type>::from(5_u16)), Some(<$type>::from(7_u16)));
            assert_eq!(array.min(2, <$type>::from(5_u16)), Some(<$type>::from(5_u16)));
            assert_eq!(array.to_vec(), [<$type>::from(0_u16), <$type>::from(8000_u16), <$type>::from(5_u16)]);
            assert_eq!((array.get(3), array.set(3, <$type>::from(1_u16))), (None, None));
        )*};
    }
    check!(i32, u32, f32, i64, u64, f64);
    let signed = AtomicArray::<i32>::open(store, "i32").unwrap();
    assert_eq!(signed.add(0, -5), Some(-5));
}

#[test]
fn a_thousand_killed_owners_block_no_process_lose_nothing_and_are_all_reported() {
    alone(
        "cells::a_thousand_killed_owners_block_no_process_lose_nothing_and_are_all_reported",
        |Scratch { store, .. }| {
            // Two halves that agree unless an update was interrupted, and what was committed, counted outside.
            let value = Mutex::create(store, "halves", [0_u64; 2]).unwrap();
            let committed: Counter<u64> = Counter::create(store, "committed").unwrap();
            let (mut interrupted, mut reported, mut named, start) = (0, 0, 0, Instant::now());
            for _ in 0..1000 {
                let owner = fork(|| {
                    loop {
                        let mut halves = value.lock_poisoned().unwrap();
                        halves[0] += 1;
                        std::hint::spin_loop();
                        halves[1] += 1;
                        committed.add(1);
                        drop(halves);
                    }
                });
                std::thread::sleep(Duration::from_micros(u64::from(random() % 600)));
                kill(owner);
                wait(owner);
                match value.try_lock_for(Duration::from_secs(5)) {
                    Ok(held) => {
                        let held = held.expect("it is free");
                        assert_eq!(held[0], held[1], "an interrupted update was not reported");
                        assert_eq!(held[1], committed.get(), "a committed update was lost");
                    }
                    Err(error) => {
                        assert!(error.is_poisoned(), "{error}");
                        let text = error.to_string();
                        assert!(
                            text.contains(&format!("process {owner} died")) || text.contains("a process died"),
                            "{text}"
                        );
                        named += u32::from(text.contains(&format!("{owner}")));
                        reported += 1;
                        let mut held = value.lock_poisoned().unwrap();
                        assert!(held.is_poisoned());
                        interrupted += u32::from(held[0] != held[1] || held[1] != committed.get());
                        *held = [committed.get(); 2];
                        held.clear_poison();
                    }
                }
            }
            assert!(interrupted > 0 && interrupted <= reported, "{reported} reported, {interrupted} interrupted");
            assert!(named > reported / 2, "{named} of {reported} named");
            assert!(start.elapsed() < Duration::from_mins(1));
        },
    );
}

#[test]
fn a_guard_of_the_parent_does_nothing_in_a_forked_child() {
    alone("cells::a_guard_of_the_parent_does_nothing_in_a_forked_child", |Scratch { store, .. }| {
        let value = Mutex::create(store, "x", 1_u64).unwrap();
        let semaphore = Semaphore::create(store, "s", 1).unwrap();
        let array: Array<u8> = Array::create(store, "a", 4).unwrap();
        let (mut held, permit, claim) =
            (value.lock().unwrap(), semaphore.acquire().unwrap(), array.claim(0..2).unwrap());
        *held = 2;
        let (mut held, mut permit, mut claim) = (Some(held), Some(permit), Some(claim));
        assert!(wait(fork(|| drop((held.take(), permit.take(), claim.take())))));
        assert!(std::thread::scope(|scope| {
            scope.spawn(|| value.try_lock_for(Duration::from_millis(20)).unwrap().is_none()).join().unwrap()
        }));
        assert_eq!(semaphore.available().unwrap(), 0);
        assert!(array.claim(1..3).unwrap_err().is_busy());
        drop((held, permit, claim));
        assert_eq!((value.get().unwrap(), semaphore.available().unwrap()), (2, 1));
        array.lock().unwrap();
    });
}

#[test]
fn locking_twice_in_a_thread_is_an_error_and_not_a_deadlock() {
    let Scratch { ref store, .. } = scratch();
    let lock = Mutex::create(store, "x", ()).unwrap();
    let held = lock.lock().unwrap();
    assert!(lock.lock().err().unwrap().to_string().starts_with("locking the cell `x` twice in one thread"));
    assert!(Mutex::<()>::open(store, "x").unwrap().lock().is_err());
    drop(held);
    lock.lock().unwrap();
}

#[test]
fn claims_exclude_each_other_and_a_dead_one_is_reported() {
    alone("cells::claims_exclude_each_other_and_a_dead_one_is_reported", |Scratch { store, .. }| {
        let array: Array<u64> = Array::create(store, "x", 100).unwrap();
        let (first, second) = (array.claim(0..50).unwrap(), array.claim(50..100).unwrap());
        assert_eq!((first.elements(), second.len()), (0..50, 50));
        assert!(array.claim(49..51).unwrap_err().is_busy());
        assert!(array.lock().unwrap_err().is_busy());
        assert!(array.claim(90..101).unwrap_err().is_invalid_argument());
        drop((first, second));
        assert!(array.lock().unwrap().iter().all(|x| *x == 0));
        let dead = fork(|| {
            let mut claim = array.claim_part(1, 4).unwrap();
            claim[0] = 7;
            std::mem::forget(claim);
        });
        wait(dead);
        let error = array.claim(0..1).err().unwrap();
        assert!(error.is_poisoned() && error.to_string().contains(&format!("process {dead} died")), "{error}");
        let mut held = array.lock_poisoned().unwrap();
        assert_eq!(held[25], 7);
        held.clear_poison();
        drop(held);
        array.claim(0..100).unwrap();
    });
}

#[test]
fn events_barriers_and_permits_work_between_processes() {
    alone("cells::events_barriers_and_permits_work_between_processes", |Scratch { store, .. }| {
        let (event, arrived) = (Event::create(store, "e").unwrap(), Counter::<i64>::create(store, "n").unwrap());
        let barrier = Barrier::create(store, "b", 4).unwrap();
        let semaphore = Semaphore::create(store, "s", 2).unwrap();
        let inside: Counter = Counter::create(store, "inside").unwrap();
        let children: Vec<i32> = (0..3)
            .map(|_| {
                fork(|| {
                    event.wait().unwrap();
                    for round in 1..=20 {
                        arrived.add(1);
                        barrier.wait().unwrap();
                        assert!(arrived.get() >= round * 4);
                        let permit = semaphore.acquire().unwrap();
                        assert!(inside.add(1) <= 2);
                        inside.add(-1);
                        drop(permit);
                    }
                })
            })
            .collect();
        assert!(!event.wait_timeout(Duration::from_millis(20)).unwrap());
        event.set();
        let mut last = 0;
        for round in 1..=20 {
            arrived.add(1);
            last += u32::from(barrier.wait_timeout(Duration::from_secs(10)).unwrap());
            assert!(arrived.get() >= round * 4);
        }
        assert!(last <= 20);
        assert!(children.into_iter().all(wait));
        assert_eq!((arrived.get(), semaphore.available().unwrap()), (80, 2));
    });
}

#[test]
fn readers_of_a_latest_cell_see_complete_values_whichever_process_is_killed() {
    alone(
        "cells::readers_of_a_latest_cell_see_complete_values_whichever_process_is_killed",
        |Scratch { store, .. }| {
            let latest = Latest::create(store, "x", [0_u64; 32]).unwrap();
            let mut last = 0;
            for _ in 0..200 {
                let writer = fork(|| {
                    let mut writer = latest.writer().unwrap();
                    let mut next = latest.read()[0];
                    loop {
                        next += 1;
                        writer.write(&[next; 32]);
                    }
                });
                let until = Instant::now() + Duration::from_micros(u64::from(random() % 3000));
                while Instant::now() < until {
                    let value = latest.read();
                    assert!(value.iter().all(|x| *x == value[0]), "torn: {value:?}");
                    assert!(value[0] >= last, "{} after {last}", value[0]);
                    last = value[0];
                }
                kill(writer);
                wait(writer);
            }
            assert!(last > 1000, "{last}");
            let held = latest.writer().unwrap();
            assert!(latest.writer().err().unwrap().is_busy());
            drop(held);
        },
    );
}

#[test]
fn a_reader_does_not_starve_while_a_writer_of_large_values_never_pauses() {
    alone(
        "cells::a_reader_does_not_starve_while_a_writer_of_large_values_never_pauses",
        |Scratch { store, .. }| {
            const WORDS: usize = 2048;
            let latest = Latest::create(store, "large", [0_u64; WORDS]).unwrap();
            let writer = fork(|| {
                let mut writer = latest.writer().unwrap();
                let mut next = 0;
                loop {
                    next += 1;
                    writer.write(&[next; WORDS]);
                }
            });
            let mut last = 0;
            for _ in 0..300 {
                let value = latest.read();
                assert!(value.iter().all(|x| *x == value[0]) && value[0] >= last, "{} after {last}", value[0]);
                last = value[0];
            }
            kill(writer);
            wait(writer);
            assert!(latest.read()[0] >= last);
        },
    );
}

#[test]
fn two_stores_do_not_mix_their_cells() {
    let (one, two) = (scratch(), scratch());
    let make = |store: &Store| Counter::<u64>::open_or_create(store, "n").unwrap();
    make(&one.store).add(1);
    assert_eq!((make(&one.store).get(), make(&two.store).get()), (1, 0));
    assert_eq!(make(&one.store).compare_exchange(1, 5), Ok(()));
    assert_eq!(make(&one.store).compare_exchange(1, 6), Err(5));
    let flag = Flag::open_or_create(&one.store, "f").unwrap();
    assert!(!flag.swap(true) && Flag::open(&one.store, "f").unwrap().get());
    flag.set(false);
    assert!(!flag.get());
}
