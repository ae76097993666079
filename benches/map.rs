//! Compares a dict with a tree in memory under a lock and with Python's `Manager().dict()`.
//!
//! ```text
//! cargo bench --bench map
//! ```

mod common;

use std::{
    collections::BTreeMap,
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};

use coframe::{Error, SharedMap, Store};
use common::{median, ns, scratch, us, verdict};

const KEYS: u64 = 100_000;

fn main() {
    let (store, _directory) = scratch();
    let dict: SharedMap<u64, u64> = SharedMap::create(&store, "numbers").expect("a dict");
    let tree = Mutex::new((0..KEYS).map(|key| (key, key)).collect::<BTreeMap<u64, u64>>());

    let time = median(5, || {
        dict.clear().expect("room");
        let start = Instant::now();
        dict.transaction(|t| (0..KEYS).try_for_each(|key| t.insert(&key, &key).map(drop))).expect("room");
        start.elapsed()
    });
    let seconds = time.as_secs_f64();
    verdict("100 000 inserts in one transaction", seconds, " s", "under 0.5 s", seconds < 0.5);

    let mut key = 0;
    let mut next = || {
        key = (key + 7919) % KEYS;
        key
    };
    let shared = ns(200_000, || dict.get(&next()).expect("a read"));
    let plain = ns(1_000_000, || tree.lock().expect("a lock").get(&next()).copied());
    verdict("get of a small value", shared / 1e3, " us", "under 2 us", shared < 2000.0);
    println!("     a tree under a mutex: {:.2} us ({:.1}x)", plain / 1e3, shared / plain);
    let snapshot = dict.snapshot().expect("a snapshot");
    let held = ns(500_000, || snapshot.get(&next()).expect("a read"));
    println!("     get from a snapshot: {:.2} us", held / 1e3);
    drop(snapshot);

    let shared = ns(50_000, || dict.insert(&next(), &1).expect("room"));
    let plain = ns(1_000_000, || tree.lock().expect("a lock").insert(next(), 1));
    let rate = 1e9 / shared;
    verdict("inserts, a transaction each", rate, " a second", "at least 50 000", rate >= 50_000.0);
    println!("     a tree under a mutex: {:.0} a second", 1e9 / plain);
    let scan = median(20, || dict.iter().expect("a read").count());
    println!("     reading all {KEYS} entries in order: {:.1} ms", us(scan) / 1e3);
    two_writers(&store);
    python(1e9 / rate, dict);
}

/// Concurrent inserts of two processes, which take turns.
fn two_writers(store: &Store) {
    const TIME: Duration = Duration::from_millis(500);
    let dict: SharedMap<String, u64> = SharedMap::create(store, "writers").expect("a dict");
    let run = |name: &str| {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < TIME {
            count += 1;
            dict.insert(name, &count).expect("room");
        }
    };
    // SAFETY: the process has one thread; the child ends with `_exit`.
    let child = unsafe { libc::fork() };
    run(if child == 0 { "child" } else { "parent" });
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for the child.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    let all = dict.transaction(|t| Ok::<_, Error>(t.get("child")?.unwrap_or(0) + t.get("parent")?.unwrap_or(0)));
    let rate = all.expect("a read") as f64 / TIME.as_secs_f64();
    println!("     inserts of two concurrent processes: {rate:.0} a second in total");
}

fn python(insert: f64, dict: SharedMap<u64, u64>) {
    let script = "import time\n\
        from multiprocessing import Manager\n\
        d = Manager().dict()\n\
        def ns(f, n=3000):\n    \
            t = time.perf_counter()\n    \
            for i in range(n): f(i)\n    \
            return (time.perf_counter() - t) / n * 1e9\n\
        print(ns(lambda i: d.__setitem__(i, i)), ns(lambda i: d[i]))\n";
    let Ok(output) = Command::new("python3").args(["-c", script]).output() else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = text.split_whitespace().filter_map(|number| number.parse::<f64>().ok());
    let (Some(set), Some(read)) = (found.next(), found.next()) else { return };
    let get = ns(100_000, || dict.get(&1).expect("a read"));
    println!(
        "     Python's Manager().dict(): {:.1} us to set ({:.0}x), {:.1} us to get ({:.0}x)",
        set / 1e3,
        set / insert,
        read / 1e3,
        read / get
    );
}
