//! What becomes of dicts when processes fork and die, and when the store is full.

use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use coframe::{Dict, Error, Store, cell::Counter};

use crate::{
    common::{Scratch, alone, child, fork, kill, random, role, scratch, wait},
    dicts::all,
};

#[test]
fn opened_twice_it_is_one_environment_which_goes_with_the_last() {
    alone("dict_failures::opened_twice_it_is_one_environment_which_goes_with_the_last", |Scratch { store, .. }| {
        let count = |what: &str| {
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.ends_with(what)).count()
        };
        for _ in 0..3 {
            let first: Dict<u8, u8> = Dict::open_or_create(store, "x").unwrap();
            let second = Dict::<u8, u8>::open(&Store::at(store.path()).unwrap(), "x").unwrap();
            second.insert(&1, &2).unwrap();
            assert_eq!(first.get(&1).unwrap(), Some(2));
            assert_eq!((count(".dict"), count(".dict-lock")), (1, 1));
            drop(first);
            assert_eq!(count(".dict"), 1);
            let entries = second.entries().unwrap();
            drop(second);
            assert_eq!((entries.count(), count(".dict")), (1, 0), "an iterator keeps it open, and gives it back");
        }
        // Many threads open and close it: nobody finds it half-closed.
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                scope.spawn(move || {
                    for _ in 0..100 {
                        Dict::<u8, u8>::open(store, "x").unwrap().insert(&thread, &1).unwrap();
                    }
                });
            }
        });
        assert_eq!(count(".dict"), 0);
    });
}

#[test]
fn after_a_fork_it_works_in_both_processes_or_says_why_not() {
    alone("dict_failures::after_a_fork_it_works_in_both_processes_or_says_why_not", |Scratch { store, .. }| {
        let dict: Dict<String, u32> = Dict::create(store, "x").unwrap();
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
            assert!(error.to_string().contains("a snapshot of it was alive when the parent forked"), "{error}");
            drop(snapshot);
        })));
        // Pages that no snapshot needs are written anew.
        for round in 0..50 {
            dict.clear().unwrap();
            dict.transaction(|t| (0..50).try_for_each(|key| t.insert(&*format!("{key}"), &round).map(drop))).unwrap();
        }
        let held = held.unwrap();
        assert_eq!((held.get("sum").unwrap(), held.len().unwrap()), (Some(400), 6), "the child ended the snapshot");
    });
}

#[test]
fn a_transaction_is_its_parents_alone_when_the_process_forks_inside() {
    alone("dict_failures::a_transaction_is_its_parents_alone_when_the_process_forks_inside", |Scratch { store, .. }| {
        let dict: Dict<String, u32> = Dict::create(store, "x").unwrap();
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
    });
}

#[test]
fn five_hundred_killed_writers_hang_nobody_and_lose_no_committed_update() {
    alone(
        "dict_failures::five_hundred_killed_writers_hang_nobody_and_lose_no_committed_update",
        |Scratch { store, .. }| {
            let dict: Dict<String, u64> = Dict::create(store, "x").unwrap();
            let committed: Counter<u64> = Counter::create(store, "committed").unwrap();
            let (mut interrupted, start) = (0, Instant::now());
            for _ in 0..500 {
                let writer = fork(|| {
                    loop {
                        let step = dict.transaction(|t| {
                            let next = t.get("left")?.unwrap_or(0) + 1;
                            t.insert("left", &next)?;
                            t.insert(&*format!("row {}", next % 500), &next)?;
                            t.insert("right", &next)?;
                            Ok::<_, Error>(next)
                        });
                        committed.set(step.unwrap());
                    }
                });
                std::thread::sleep(Duration::from_micros(1500 + u64::from(random() % 3000)));
                kill(writer);
                wait(writer);
                let (left, right) = (dict.get("left").unwrap().unwrap_or(0), dict.get("right").unwrap().unwrap_or(0));
                assert_eq!(left, right, "a transaction is there in part");
                // What was committed may not have been counted yet.
                assert!(left == committed.get() || left == committed.get() + 1, "{left} of {}", committed.get());
                interrupted += u32::from(left != committed.get());
                // The next writer is not held up, and what it writes is there.
                dict.update("kills", |kills| Some(kills.unwrap_or(0) + 1)).unwrap();
                committed.set(left);
            }
            assert_eq!(dict.get("kills").unwrap(), Some(500));
            assert!(committed.get() > 500, "the writers did not get to write: {}", committed.get());
            assert!(start.elapsed() < Duration::from_mins(2), "{interrupted} between commit and count");
        },
    );
}

#[test]
fn slots_of_killed_readers_are_found_and_their_pages_used_again() {
    alone(
        "dict_failures::slots_of_killed_readers_are_found_and_their_pages_used_again",
        |Scratch { store, .. }| {
            let dict: Dict<u32, Vec<u8>> = Dict::create(store, "x").unwrap();
            let write = |round: usize| {
                dict.transaction(|t| (0..50).try_for_each(|key| t.insert(&key, &vec![round as u8; 4000]).map(drop)))
                    .unwrap();
            };
            let file = fs::read_link(store.path().join("x.dict")).unwrap();
            let bytes = || fs::metadata(store.path().join(&file)).unwrap().len();
            write(0);
            // More at once than there are slots for, and each of them keeps a state.
            for round in 0..12 {
                let readers: Vec<i32> = (0..100)
                    .map(|_| {
                        fork(|| {
                            let _snapshot = dict.snapshot().unwrap();
                            std::thread::sleep(Duration::from_mins(1));
                        })
                    })
                    .collect();
                std::thread::sleep(Duration::from_millis(30));
                for reader in &readers {
                    kill(*reader);
                }
                assert!(!readers.into_iter().any(wait), "a reader ended by itself");
                write(round);
            }
            for round in 0..600 {
                write(round);
            }
            assert!(bytes() < 50 * 4000 * 20, "{} bytes: the pages of dead readers' states are kept", bytes());
            let snapshots: Vec<_> = (0..1022).map(|_| dict.snapshot().unwrap()).collect();
            let error = dict.get(&1).unwrap_err();
            assert!(error.to_string().contains("read by 1022 transactions at once: expected fewer"), "{error}");
            drop(snapshots);
            assert!(dict.contains(&1).unwrap());
        },
    );
}

/// In a process of its own: a store on a file system of a few megabytes.
#[test]
fn a_full_store_is_an_error_that_loses_nothing() {
    alone("dict_failures::a_full_store_is_an_error_that_loses_nothing", |scratch| {
        let Some(small) = Small::mount(&scratch.path()) else { return };
        let store = Store::at(small.path.join("store")).unwrap();
        let dict: Dict<u32, Vec<u8>> = Dict::create(&store, "x").unwrap();
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
        assert!(Dict::<u8, u8>::create(&store, "y").unwrap_err().is_no_space());
        assert_eq!(store.dicts().unwrap().len(), 1);
        // Room is made by what is removed, inside the file; one by one, since a change needs some pages of its own.
        for key in 0..written {
            assert!(dict.remove(&key).unwrap().is_some());
        }
        dict.insert(&0, &vec![3; 10_000]).unwrap();
    });
}

/// A file system of four megabytes that this process alone sees.
struct Small {
    path: PathBuf,
}

impl Small {
    /// `None` where that is not allowed.
    fn mount(scratch: &Path) -> Option<Self> {
        let path = scratch.parent().unwrap().join("small");
        fs::create_dir(&path).unwrap();
        let target = CString::new(path.to_str().unwrap()).unwrap();
        let (kind, options, none) = (c"tmpfs".as_ptr(), c"size=4m,mode=0700".as_ptr(), c"none".as_ptr());
        // SAFETY: makes this process's mounts its own.
        let mut alone = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
        // SAFETY: as above, as the root of a user namespace of its own.
        alone = alone || unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } == 0;
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: strings that outlive the call; what is mounted from now on is seen by this process alone.
        alone = alone && unsafe { libc::mount(none, c"/".as_ptr(), none, flags, std::ptr::null()) } == 0;
        // SAFETY: as above.
        if alone && unsafe { libc::mount(kind, target.as_ptr(), kind, 0, options.cast()) } == 0 {
            return Some(Self { path });
        }
        println!("passed over: this process may mount no file system");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let target = CString::new(self.path.to_str().unwrap()).unwrap();
        // SAFETY: a string that outlives the call; the directory below can then be removed.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn a_maker_that_is_killed_leaves_nothing_that_a_sweep_does_not_remove() {
    if role().is_some() {
        let store = Store::at(std::env::var_os("COFRAME_STORE").unwrap()).unwrap();
        drop(Dict::<u8, u8>::create(&store, "x"));
        return;
    }
    let scratch = scratch();
    let test = "dict_failures::a_maker_that_is_killed_leaves_nothing_that_a_sweep_does_not_remove";
    for step in ["dict-made", "before-switch"] {
        let mut maker = child(test, "maker");
        maker.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", format!("kill:{step}"));
        assert_eq!(maker.status().unwrap().code(), None, "it was not killed");
        assert!(!scratch.files().is_empty() && Dict::<u8, u8>::open(&scratch.store, "x").unwrap_err().is_not_found());
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
