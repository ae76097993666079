//! What becomes of dicts when processes fork and die, and when the store is full.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use coframe::{
    Error, SharedMap, Store,
    sync::{Counter, Flag},
};

use crate::{
    common::{Scratch, alone, child, fork, kill, on_small_file_system, random, role, scratch, store_of_test, wait},
    maps::all,
};

#[test]
fn a_dict_opened_twice_is_one_environment_which_is_closed_with_the_last() {
    alone(
        "map_failures::a_dict_opened_twice_is_one_environment_which_is_closed_with_the_last",
        |Scratch { store, .. }| {
            let count = |what: &str| {
                let maps = fs::read_to_string("/proc/self/maps").unwrap();
                maps.lines().filter(|line| line.ends_with(what)).count()
            };
            for _ in 0..3 {
                let first: SharedMap<u8, u8> = SharedMap::open_or_create(store, "x").unwrap();
                let second = SharedMap::<u8, u8>::open(&Store::open_at(store.path()).unwrap(), "x").unwrap();
                second.insert(&1, &2).unwrap();
                assert_eq!(first.get(&1).unwrap(), Some(2));
                assert_eq!((count(".dict"), count(".dict-lock"), count(".dict-gate")), (1, 1, 1));
                drop(first);
                assert_eq!(count(".dict"), 1);
                let entries = second.iter().unwrap();
                drop(second);
                assert_eq!((entries.count(), count(".dict")), (1, 0), "an iterator keeps it open, and gives it back");
            }
            // Many threads open and close it: each finds it open or closed.
            std::thread::scope(|scope| {
                for thread in 0..8_u8 {
                    scope.spawn(move || {
                        for _ in 0..100 {
                            SharedMap::<u8, u8>::open(store, "x").unwrap().insert(&thread, &1).unwrap();
                        }
                    });
                }
            });
            assert_eq!((count(".dict"), count(".dict-gate")), (0, 0));
        },
    );
}

#[test]
fn after_a_fork_a_dict_works_in_both_processes_or_reports_the_reason() {
    alone(
        "map_failures::after_a_fork_a_dict_works_in_both_processes_or_reports_the_reason",
        |Scratch { store, .. }| {
            let dict: SharedMap<String, u32> = SharedMap::create(store, "x").unwrap();
            dict.insert("parent", &1).unwrap();
            let children: Vec<i32> = (0..4_u32)
                .map(|child| {
                    let dict = dict.clone();
                    fork(move || {
                        assert_eq!(dict.get("parent").unwrap(), Some(1));
                        for _ in 0..100 {
                            dict.update("sum", |sum| Some(sum.unwrap_or(0) + 1)).unwrap();
                        }
                        dict.insert(&*format!("child {child}"), &child).unwrap();
                    })
                })
                .collect();
            assert!(children.into_iter().all(wait));
            assert_eq!((dict.get("sum").unwrap(), dict.len().unwrap()), (Some(400), 6));

            let snapshot = dict.snapshot().unwrap();
            let mut held = Some(snapshot);
            assert!(wait(fork(|| {
                let snapshot = held.take().unwrap();
                assert!(snapshot.get("sum").unwrap_err().to_string().contains("in a forked child: it is its parent's"));
                let error = dict.get("sum").unwrap_err();
                assert!(
                    error.to_string().contains("a snapshot or an iterator of it was alive when the parent forked"),
                    "{error}"
                );
                drop(snapshot);
            })));
            // Pages that no snapshot needs are written anew.
            for round in 0..50 {
                dict.clear().unwrap();
                dict.transaction(|t| (0..50).try_for_each(|key| t.insert(&*format!("{key}"), &round).map(drop)))
                    .unwrap();
            }
            let held = held.unwrap();
            assert_eq!((held.get("sum").unwrap(), held.len().unwrap()), (Some(400), 6), "the child ended the snapshot");
        },
    );
}

#[test]
fn a_transaction_is_its_parents_alone_when_the_process_forks_inside() {
    alone(
        "map_failures::a_transaction_is_its_parents_alone_when_the_process_forks_inside",
        |Scratch { store, .. }| {
            let dict: SharedMap<String, u32> = SharedMap::create(store, "x").unwrap();
            let mut child = -1;
            let result = dict.transaction(|t| {
                t.insert("before", &1)?;
                // SAFETY: the child works on this dict alone, and leaves by `_exit` below.
                child = unsafe { libc::fork() };
                t.insert(if child == 0 { "child" } else { "parent" }, &1)
            });
            if child == 0 {
                let error = result.map_or_else(|error| error.to_string(), |_| String::new());
                let is_said = error.contains("in a child that was forked inside it: the parent alone can end it");
                // SAFETY: ends the child without the exit handlers of its parent.
                unsafe { libc::_exit(i32::from(!is_said)) };
            }
            assert!(wait(child), "the child was not told");
            result.unwrap();
            assert_eq!(all(&dict), [("before".to_owned(), 1), ("parent".to_owned(), 1)]);
            dict.insert("after", &1).unwrap();
        },
    );
}

#[test]
fn five_hundred_killed_writers_block_no_process_and_lose_no_committed_update() {
    let test = "map_failures::five_hundred_killed_writers_block_no_process_and_lose_no_committed_update";
    alone(test, |Scratch { store, .. }| {
        let dict: SharedMap<String, u64> = SharedMap::create(store, "x").unwrap();
        let committed: Counter<u64> = Counter::create(store, "committed").unwrap();
        let inside = Flag::create(store, "inside").unwrap();
        let mut interrupted = 0;
        for _ in 0..500 {
            let writer = fork(|| {
                loop {
                    let step = dict.transaction(|t| {
                        inside.set(true);
                        let next = t.get("left")?.unwrap_or(0) + 1;
                        t.insert("left", &next)?;
                        t.insert(&*format!("row {}", next % 500), &next)?;
                        t.insert("right", &next)?;
                        inside.set(false);
                        Ok::<_, Error>(next)
                    });
                    committed.set(step.unwrap());
                }
            });
            std::thread::sleep(Duration::from_micros(1500 + u64::from(random() % 3000)));
            kill(writer);
            wait(writer);
            interrupted += u32::from(inside.get());
            inside.set(false);
            let (left, right) = (dict.get("left").unwrap().unwrap_or(0), dict.get("right").unwrap().unwrap_or(0));
            assert_eq!(left, right, "a transaction is there in part");
            // What was committed may not have been counted yet.
            assert!(left == committed.get() || left == committed.get() + 1, "{left} of {}", committed.get());
            // The next writer is not held up, and its entry is stored.
            dict.update("kills", |kills| Some(kills.unwrap_or(0) + 1)).unwrap();
            // Read again: a writer killed after it wrote LMDB's meta page and before it announced it has committed, and
            // readers see that only once the next writer has recovered the lock.
            let recovered = dict.get("left").unwrap().unwrap_or(0);
            assert!(recovered == left || recovered == left + 1, "{recovered} after {left}");
            committed.set(recovered);
        }
        assert_eq!(dict.get("kills").unwrap(), Some(500));
        assert!(committed.get() > 500, "the writers did not get to write: {}", committed.get());
        assert!(interrupted > 5, "{interrupted} of the kills came inside a transaction");
    });
}

#[test]
fn slots_of_killed_readers_are_found_and_their_pages_used_again() {
    let test = "map_failures::slots_of_killed_readers_are_found_and_their_pages_used_again";
    alone(test, |Scratch { store, .. }| {
        let dict: SharedMap<u32, Vec<u8>> = SharedMap::create(store, "x").unwrap();
        let write = |round: usize| {
            let value = vec![round as u8; 4000];
            dict.transaction(|t| (0..50).try_for_each(|key| t.insert(&key, &value).map(drop))).unwrap();
        };
        let file = fs::read_link(store.path().join("x.dict")).unwrap();
        let bytes = || fs::metadata(store.path().join(&file)).unwrap().len();
        write(0);
        // A reader that has all slots.
        let ready = Flag::create(store, "ready").unwrap();
        let reader = fork(|| {
            let _snapshots: Vec<_> = (0..1022).map(|_| dict.snapshot().unwrap()).collect();
            ready.set(true);
            std::thread::sleep(Duration::from_mins(1));
        });
        while !ready.get() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let error = dict.get(&1).unwrap_err();
        assert!(error.to_string().contains("read by 1022 transactions at once: expected fewer"), "{error}");
        kill(reader);
        assert!(!wait(reader), "the reader ended by itself");
        assert!(dict.contains_key(&1).unwrap());
        // And readers whose death goes unnoticed.
        for round in 0..20 {
            let reader = fork(|| {
                let _snapshot = dict.snapshot().unwrap();
                std::thread::sleep(Duration::from_mins(1));
            });
            std::thread::sleep(Duration::from_millis(5));
            kill(reader);
            assert!(!wait(reader), "the reader ended by itself");
            write(round);
        }
        for round in 0..600 {
            write(round);
        }
        assert!(bytes() < 50 * 4000 * 20, "{} bytes: the pages of dead readers' states are kept", bytes());
    });
}

#[test]
fn a_full_store_is_an_error_that_loses_nothing() {
    if role().is_none() {
        return on_small_file_system("map_failures::a_full_store_is_an_error_that_loses_nothing", 4);
    }
    let store = store_of_test();
    let dict: SharedMap<u32, Vec<u8>> = SharedMap::create(&store, "x").unwrap();
    let mut written = 0;
    let error = loop {
        match dict.insert(&written, &vec![1; 10_000]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_no_space(), "{error:?}");
    assert!((50..500).contains(&written), "{written}");
    assert_eq!(dict.len().unwrap(), written as usize);
    let error = dict.transaction(|t| (0..500).try_for_each(|key| t.insert(&key, &vec![2; 9000]).map(drop)));
    assert!(error.unwrap_err().is_no_space());
    for key in 0..written {
        assert_eq!(dict.get(&key).unwrap(), Some(vec![1; 10_000]));
    }
    assert!(SharedMap::<u8, u8>::create(&store, "y").unwrap_err().is_no_space());
    assert_eq!(store.maps().unwrap().len(), 1);
    // Removing entries makes room inside the file; one by one, since a change needs some free pages.
    for key in 0..written {
        assert!(dict.remove(&key).unwrap().is_some());
    }
    dict.insert(&0, &vec![3; 10_000]).unwrap();
}

#[test]
fn a_sweep_removes_everything_that_a_killed_creator_left() {
    if role().is_some() {
        drop(SharedMap::<u8, u8>::create(&store_of_test(), "x"));
        return;
    }
    let scratch = scratch();
    let test = "map_failures::a_sweep_removes_everything_that_a_killed_creator_left";
    for step in ["dict-made", "before-switch"] {
        let mut maker = child(test, "maker");
        maker.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", format!("kill:{step}"));
        assert_eq!(maker.status().unwrap().code(), None, "it was not killed");
        assert!(
            !scratch.files().is_empty() && SharedMap::<u8, u8>::open(&scratch.store, "x").unwrap_err().is_not_found()
        );
        scratch.store.sweep().unwrap();
        assert!(scratch.files().is_empty(), "{:?}", scratch.files());
    }
    let mut maker = child(test, "maker");
    assert!(
        maker
            .env("COFRAME_STORE", scratch.path())
            .env("COFRAME_FAILPOINT", "full:dict-made")
            .status()
            .unwrap()
            .success()
    );
    assert!(scratch.files().is_empty(), "{:?}", scratch.files());
}

#[test]
fn locks_of_the_process_on_a_dict_survive_its_creation() {
    alone("map_failures::locks_of_the_process_on_a_dict_survive_its_creation", |Scratch { store, .. }| {
        let locks = |inode: u64| {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            let ours = |line: &&str| line.contains("POSIX") && line.contains(&format!(":{inode} "));
            locks.lines().filter(ours).count()
        };
        for round in 0..300 {
            let name = format!("x{round}");
            std::thread::scope(|scope| {
                let opened = scope.spawn(|| {
                    loop {
                        match SharedMap::<u8, u8>::open(store, &name) {
                            Ok(dict) => return dict,
                            Err(error) => assert!(error.is_not_found(), "{error}"),
                        }
                    }
                });
                let made = SharedMap::<u8, u8>::create(store, &name).unwrap();
                let opened = opened.join().unwrap();
                let data = fs::read_link(store.path().join(format!("{name}.dict"))).unwrap();
                let lock = store.path().join(format!("{}-lock", data.display()));
                let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(lock).unwrap());
                // The kernel writes the list in pieces: others that come and go meanwhile can hide a line, once.
                assert!((0..5).any(|_| locks(inode) > 0), "LMDB's lock on the dict is gone");
                drop((made, opened));
            });
            assert!(store.remove_map(&name).unwrap());
        }
    });
}

#[test]
fn children_of_a_busy_process_use_its_dicts_or_get_an_error() {
    alone("map_failures::children_of_a_busy_process_use_its_dicts_or_get_an_error", |Scratch { store, .. }| {
        let dict: SharedMap<u8, u8> = SharedMap::create(store, "x").unwrap();
        dict.insert(&1, &1).unwrap();
        drop(SharedMap::<u8, u8>::create(store, "y").unwrap());
        // First uses by several threads of a child.
        for _ in 0..20 {
            assert!(wait(fork(|| {
                std::thread::scope(|scope| {
                    let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| dict.get(&1).unwrap())).collect();
                    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Some(1)));
                });
            })));
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(SharedMap::<u8, u8>::open(store, "y").unwrap());
                }
            });
            for _ in 0..10 {
                assert!(wait(fork(|| match dict.get(&1) {
                    Ok(value) => assert_eq!(value, Some(1)),
                    Err(error) => assert!(error.to_string().contains("used a dict when it forked"), "{error}"),
                })));
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_child_forked_during_a_transaction_gets_an_error_at_once_and_its_parent_continues() {
    let test = "map_failures::a_child_forked_during_a_transaction_gets_an_error_at_once_and_its_parent_continues";
    alone(test, |Scratch { store, .. }| {
        let dict: SharedMap<u8, u8> = SharedMap::create(store, "x").unwrap();
        let other: SharedMap<u8, u8> = SharedMap::create(store, "y").unwrap();
        dict.insert(&1, &1).unwrap();
        let in_child = || {
            let start = Instant::now();
            for error in [dict.get(&1).unwrap_err(), dict.insert(&2, &2).unwrap_err()] {
                assert!(error.to_string().contains("used a dict when it forked"), "{error}");
            }
            assert!(start.elapsed() < Duration::from_secs(3), "it was told after {:?}", start.elapsed());
            assert!(other.insert(&1, &1).unwrap().is_none() && other.remove(&1).unwrap().is_some());
        };
        // Forked inside it, and by another thread.
        dict.transaction(|t| {
            assert!(wait(fork(in_child)));
            t.insert(&1, &2).map(drop)
        })
        .unwrap();
        let (inside, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                dict.update(&1, |value| {
                    inside.store(true, Ordering::Relaxed);
                    while !done.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    value.map(|value| value + 1)
                })
            });
            while !inside.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(wait(fork(in_child)));
            done.store(true, Ordering::Relaxed);
        });
        assert!(wait(fork(|| assert_eq!(dict.get(&1).unwrap(), Some(3)))));
    });
}

#[test]
fn opening_while_others_create_and_remove_finds_a_dict_or_none() {
    let scratch = scratch();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while start.elapsed() < Duration::from_millis(600) {
                    let dict: SharedMap<u8, u8> = SharedMap::open_or_create(&scratch.store, "x").unwrap();
                    dict.insert(&1, &1).unwrap();
                    scratch.store.remove_map("x").unwrap();
                }
            });
        }
    });
    scratch.store.remove_map("x").unwrap();
    assert!(scratch.files().is_empty(), "{:?}", scratch.files());
}

#[test]
fn dropping_a_dict_waits_for_no_thread_that_opens_one_behind_a_busy_store() {
    alone("map_failures::dropping_a_dict_waits_for_no_thread_that_opens_one_behind_a_busy_store", |scratch| {
        let Scratch { store, .. } = scratch;
        let maps = || fs::read_to_string("/proc/self/maps").unwrap().matches(".dict\n").count();
        let open = |name: &str| SharedMap::<u8, u8>::open_or_create(store, name).unwrap();
        let (first, second) = (open("a"), open("b"));
        drop(open("c"));
        // Acts as another process that publishes: it holds the lock of the store until this one has reported.
        let (mut from, mut to) = std::io::pipe().unwrap();
        let holder = fork(|| {
            let file = fs::OpenOptions::new().write(true).open(scratch.path().join("store")).unwrap();
            file.lock().unwrap();
            std::io::Write::write_all(&mut to, b"x").unwrap();
            std::thread::sleep(Duration::from_mins(1));
        });
        drop(to);
        std::io::Read::read_exact(&mut from, &mut [0]).unwrap();
        let asked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // The thread that waits asks its caller, who waits for the drop: as a binding that needs its global lock.
            let (asked, dropped) = (&asked, std::sync::Arc::new(AtomicBool::new(false)));
            let done = std::sync::Arc::clone(&dropped);
            let opener = scope.spawn(move || {
                let waits = std::rc::Rc::new(std::cell::Cell::new(false));
                let has_asked = std::rc::Rc::clone(&waits);
                let result = coframe::interruptible(
                    move || {
                        has_asked.set(true);
                        let start = Instant::now();
                        while !done.load(Ordering::SeqCst) && start.elapsed() < Duration::from_secs(5) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        !done.load(Ordering::SeqCst)
                    },
                    || SharedMap::<u8, u8>::open(store, "c").map(drop),
                );
                asked.store(waits.get(), Ordering::SeqCst);
                result
            });
            std::thread::sleep(Duration::from_millis(100));
            drop(first);
            dropped.store(true, Ordering::SeqCst);
            assert_eq!(maps(), 1, "it is closed although another thread opens one");
            kill(holder);
            wait(holder);
            opener.join().unwrap().unwrap();
        });
        assert!(asked.load(Ordering::SeqCst), "the store was free");
        drop(second);
        assert_eq!(maps(), 0);
    });
}
