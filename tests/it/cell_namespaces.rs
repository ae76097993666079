//! Cells and dicts between pid namespaces, as containers have them.

use std::process::{Command, Stdio};

use coframe::{
    SharedMap, Store,
    sync::{Array, AtomicArray, Barrier, Counter, Event, Flag, Latest, Mutex, Semaphore},
};

use crate::common::{Scratch, child, fork, role, scratch, store_of_test, wait};

/// Runs a role of a test in another pid namespace, and in a user namespace where that needs one.
fn elsewhere(test: &str, part: &str, scratch: &Scratch) {
    let test = child(test, part);
    let mut unshare = Command::new("unshare");
    // SAFETY: geteuid(2) has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(test.get_program()).args(test.get_args());
    unshare.env("COFRAME_STORE", scratch.path()).env("COFRAME_TEST_ROLE", part);
    let output = unshare.stdin(Stdio::null()).output().expect("unshare(1) of util-linux");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// A cell of each kind with a lock, and a dict.
struct Locked {
    lock: Mutex<()>,
    value: Mutex<u64>,
    array: Array<u64>,
    semaphore: Semaphore,
    barrier: Barrier,
    snapshot: Latest<u64>,
    dict: SharedMap<u64, u64>,
}

fn make(store: &Store) -> Locked {
    Locked {
        lock: Mutex::create(store, "lock", ()).unwrap(),
        value: Mutex::create(store, "value", 1).unwrap(),
        array: Array::create(store, "array", 4).unwrap(),
        semaphore: Semaphore::create(store, "semaphore", 1).unwrap(),
        barrier: Barrier::create(store, "barrier", 2).unwrap(),
        snapshot: Latest::create(store, "snapshot", 1).unwrap(),
        dict: SharedMap::create(store, "dict").unwrap(),
    }
}

#[test]
fn a_lock_of_another_pid_namespace_is_refused_and_cells_without_locks_work() {
    const TEST: &str = "cell_namespaces::a_lock_of_another_pid_namespace_is_refused_and_cells_without_locks_work";
    if role().is_some() {
        let store = store_of_test();
        let refused = [
            Mutex::<()>::open(&store, "lock").map(drop),
            Mutex::<u64>::open(&store, "value").map(drop),
            Array::<u64>::open(&store, "array").map(drop),
            Semaphore::open(&store, "semaphore").map(drop),
            Barrier::open(&store, "barrier").map(drop),
            Latest::<u64>::open(&store, "snapshot").unwrap().writer().map(drop),
            SharedMap::<u64, u64>::open(&store, "dict").map(drop),
        ];
        for (index, result) in refused.into_iter().enumerate() {
            let error = result.expect_err(&format!("number {index} was not refused"));
            let text = error.to_string();
            assert!(error.is_unsupported() && text.contains("which processes of pid namespace"), "{index}: {text}");
        }
        assert_eq!(Latest::<u64>::open(&store, "snapshot").unwrap().read(), 1);
        Counter::<u64>::open(&store, "counter").unwrap().add(1);
        Flag::open(&store, "flag").unwrap().set(true);
        AtomicArray::<u64>::open(&store, "atomics").unwrap().add(0, 1).unwrap();
        Event::open(&store, "event").unwrap().set();
        return;
    }
    let scratch = scratch();
    let store = &scratch.store;
    let (counter, flag) = (Counter::<u64>::create(store, "counter").unwrap(), Flag::create(store, "flag").unwrap());
    let atomics = AtomicArray::<u64>::create(store, "atomics", 1).unwrap();
    let event = Event::create(store, "event").unwrap();
    let all = make(store);
    let (held, permit) = (all.lock.lock().unwrap(), all.semaphore.acquire().unwrap());
    elsewhere(TEST, "elsewhere", &scratch);
    drop((held, permit));
    assert_eq!((counter.get(), flag.get(), atomics.get(0), event.is_set()), (1, true, Some(1), true));
    all.lock.lock().unwrap();
}

#[test]
fn a_cell_that_no_process_has_open_is_taken_over_with_what_was_left_inside() {
    const TEST: &str = "cell_namespaces::a_cell_that_no_process_has_open_is_taken_over_with_what_was_left_inside";
    if role().is_some() {
        // Dies with everything held; the first process of a namespace ends all of it.
        let all = make(&store_of_test());
        std::mem::forget((all.value.lock().unwrap(), all.array.claim(0..2).unwrap(), all.semaphore.acquire().unwrap()));
        std::mem::forget(all.snapshot.writer().unwrap());
        all.dict.insert(&1, &2).unwrap();
        assert!(all.barrier.wait_timeout(std::time::Duration::ZERO).unwrap_err().is_barrier_broken());
        return;
    }
    let scratch = scratch();
    let store = &scratch.store;
    elsewhere(TEST, "elsewhere", &scratch);
    Mutex::<()>::open(store, "lock").unwrap().lock().unwrap();
    assert!(Mutex::<u64>::open(store, "value").unwrap().lock().unwrap_err().is_poisoned());
    assert!(Array::<u64>::open(store, "array").unwrap().lock().unwrap_err().is_poisoned());
    let semaphore = Semaphore::open(store, "semaphore").unwrap();
    assert!(semaphore.try_acquire().unwrap().is_some());
    let barrier = Barrier::open(store, "barrier").unwrap();
    assert!(barrier.is_broken());
    barrier.reset().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait().unwrap());
        assert_ne!(barrier.wait().unwrap(), other.join().unwrap());
    });
    Latest::<u64>::open(store, "snapshot").unwrap().writer().unwrap().write(&2);
    let dict = SharedMap::<u64, u64>::open(store, "dict").unwrap();
    dict.insert(&2, &3).unwrap();
    assert_eq!((dict.get(&1).unwrap(), dict.get(&2).unwrap()), (Some(2), Some(3)));
}

#[test]
fn a_child_that_was_forked_into_another_pid_namespace_is_refused() {
    const TEST: &str = "cell_namespaces::a_child_that_was_forked_into_another_pid_namespace_is_refused";
    if role().is_some() {
        let lock = Mutex::open_or_create(&store_of_test(), "lock", ()).unwrap();
        drop(lock.lock().unwrap());
        // SAFETY: unshare(2) has no preconditions; the next child is in the new namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        assert!(wait(fork(|| {
            let error = lock.lock().unwrap_err();
            assert!(error.is_unsupported() && error.to_string().contains("pid namespace"), "{error}");
        })));
        drop(lock.lock().unwrap());
        return;
    }
    elsewhere(TEST, "elsewhere", &scratch());
}
