//! Processes that publish, remove, sweep and end sessions are killed at random, and at each step.

use std::{
    fs,
    os::unix::process::{ExitStatusExt, parent_id},
    time::{Duration, Instant},
};

use coframe::{Frame, PublishOptions, Store};

use crate::{
    common::{Reaper, Scratch, alone, child, fork, kill, random, role, store_of_test},
    store::{numbers, values},
};

/// Enough that each step has its turn. `COFRAME_KILLS` sets another number, as ci/deep.sh does.
const KILLS: u32 = 200;
const WORKERS: usize = 3;
/// A worker drops a frame when it holds more. Without a bound, `remove` unlinks most versions before their frames are
/// dropped, and the longer a worker lives, the less often a sweep finds a version that no process uses.
const HELD: usize = 5;
/// No step and no death takes as long. The test then fails with what it waited for, before `alone` ends it.
const LIMIT: Duration = Duration::from_secs(100);
const NAMES: [&str; 4] = ["a", "b", "draft-c", "d"];
/// The steps at which a worker is killed in turn; between them, workers are killed at any time.
const STEPS: [&str; 17] = [
    "write",
    "before-seal",
    "sealed",
    "numbered",
    "recorded",
    "linked",
    "before-switch",
    "switched",
    "sweep-locked",
    "name-swept",
    "remove-recorded",
    "remove-unlinked",
    "session-file",
    "session-emptied",
    "session-ended",
    "list",
    "dict-made",
];

/// A frame all of whose rows are one number, which differs from those of other frames.
fn publish(store: &Store, name: &str) -> Frame {
    let mark = i64::from(std::process::id()) << 32 | i64::from(random());
    store.publish_with(name, &numbers(&vec![mark; 3000]), &PublishOptions::new().keep(random() % 3)).unwrap()
}

fn check(frame: &Frame) {
    let values = values(frame);
    assert!(values.len() == 3000 && values.iter().all(|value| *value == values[0]), "a torn frame");
}

/// Does one thing after the other, until it is killed or its parent is. Panics when something is not as it should be.
fn work(store: &Store) {
    let parent = parent_id();
    let mut last = [0; NAMES.len()];
    let mut held = Vec::new();
    while parent_id() == parent {
        let which = random() as usize % NAMES.len();
        let name = NAMES[which];
        match random() % 16 {
            0..8 => {
                let frame = publish(store, name);
                assert!(frame.version() > last[which], "versions go back");
                last[which] = frame.version();
                check(&frame);
                held.push(frame);
            }
            8..10 => drop(store.remove(name).unwrap()),
            10..12 => assert_eq!(store.sweep().unwrap().problems, [""; 0]),
            12 => {
                let dict = coframe::SharedMap::<u8, u8>::open_or_create(store, "dict").unwrap();
                dict.insert(&1, &1).unwrap();
                drop(dict);
                store.remove_map("dict").unwrap();
            }
            13 => match store.open(name) {
                Ok(frame) => check(&frame),
                Err(error) => assert!(error.is_not_found(), "{error:?}"),
            },
            _ => {
                let session = store.session().unwrap();
                for _ in 0..3 {
                    held.push(publish(session.store(), "part"));
                }
            }
        }
        while held.len() > HELD {
            held.remove(random() as usize % held.len());
        }
    }
}

/// The latest versions as another process sees them: whole, and never below those that were seen before.
fn observe(store: &Store, seen: &mut [u64; NAMES.len()]) {
    for (name, seen) in NAMES.iter().zip(seen) {
        match store.open(name) {
            Ok(frame) => {
                assert!(frame.version() >= *seen, "`{name}` went from {seen} back to {}", frame.version());
                *seen = frame.version();
                check(&frame);
            }
            Err(error) => assert!(error.is_not_found(), "{error:?}"),
        }
    }
}

/// Starts a worker that dies at the step, and waits until it has died.
fn killed_at(test: &str, store: &Store, step: &str) {
    let mut command = child(test, "worker");
    command.env("COFRAME_STORE", store.path()).env("COFRAME_FAILPOINT", format!("kill:{step}"));
    let mut worker = Reaper(command.spawn().unwrap());
    let status = waited(|| format!("a worker reaches the step `{step}`"), || worker.0.try_wait().unwrap());
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{step}: {status}");
}

/// Waits until `poll` returns a value. Fails after `LIMIT`, with what should have happened.
fn waited<T>(what: impl Fn() -> String, mut poll: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {}", what());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_processes_lose_nothing_tear_nothing_and_leave_nothing() {
    let test = "kills::killed_processes_lose_nothing_tear_nothing_and_leave_nothing";
    if role().as_deref() == Some("worker") {
        return work(&store_of_test());
    }
    alone(test, |scratch: &Scratch| {
        let store = &scratch.store;
        // Enough entries that publishers clean up after one another without full sweeps of the store.
        let others: Vec<String> = (0..20).map(|i| format!("other{i}")).collect();
        for other in &others {
            store.publish(other, &numbers(&[0])).unwrap();
        }
        let start = || fork(|| work(store));
        let mut workers: Vec<i32> = (0..WORKERS).map(|_| start()).collect();
        let mut seen = [0; NAMES.len()];
        let begin = Instant::now();
        let kills = std::env::var("COFRAME_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
        for killed in 0..kills {
            if killed % 8 == 0 {
                killed_at(test, store, STEPS[killed as usize / 8 % STEPS.len()]);
            } else {
                std::thread::sleep(Duration::from_micros(u64::from(random() % 8000)));
                let worker = &mut workers[random() as usize % WORKERS];
                kill(*worker);
                // A worker that failed would have ended by itself; the next lines would find no child to kill.
                assert!(was_killed(*worker), "a worker failed");
                *worker = start();
            }
            observe(store, &mut seen);
        }
        eprintln!("{kills} kills in {:?}; versions up to {seen:?}", begin.elapsed());
        for worker in workers {
            kill(worker);
            was_killed(worker);
        }
        // A worker may have died between making the dict and removing it.
        store.remove_map("dict").unwrap();
        assert_eq!(store.sweep().unwrap().problems, [""; 0]);
        assert_eq!(fs::read_dir(scratch.path().join("sessions")).unwrap().count(), 0);
        for (name, seen) in NAMES.iter().zip(seen) {
            assert!(store.publish(name, &numbers(&[1])).unwrap().version() > seen);
        }
        store.sweep().unwrap();
        let mut expected: Vec<String> = vec!["sessions".to_owned()];
        for name in NAMES.iter().copied().chain(others.iter().map(String::as_str)) {
            let version = store.open(name).unwrap().version();
            expected.extend([format!("{name}.arrow"), format!("{name}@{version}.arrow")]);
        }
        expected.sort();
        assert_eq!(scratch.files(), expected);
    });
}

/// Waits for the end of a worker. Returns whether SIGKILL ended it.
fn was_killed(worker: i32) -> bool {
    let mut status = 0;
    waited(
        || format!("the worker {worker} ends, which was killed"),
        || {
            // SAFETY: asks for the status of a child of this process.
            let ended = unsafe { libc::waitpid(worker, &raw mut status, libc::WNOHANG) };
            (ended != 0).then_some(())
        },
    );
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}
