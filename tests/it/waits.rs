//! Waits for others that their caller ends.

use std::{
    fs::File,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use coframe::{
    Error, SharedMap, interruptible,
    sync::{Array, Barrier, Flag, Mutex, Semaphore},
};

use crate::common::{Scratch, alone, fork, kill, scratch, wait};

/// Calls, ends the call's wait after a moment, and returns its error.
fn given_up<R>(call: impl FnOnce() -> coframe::Result<R>) -> String {
    let start = Instant::now();
    let result = interruptible(move || start.elapsed() > Duration::from_millis(100), call);
    assert!(start.elapsed() < Duration::from_secs(5), "it went on for {:?}", start.elapsed());
    let error = result.err().expect("there was nothing to wait for");
    assert!(error.is_interrupted(), "{error}");
    error.to_string()
}

fn stop_here() {
    // SAFETY: this process stops until its parent lets it go on.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Waits until a child has stopped itself.
fn wait_for_stop(child: i32) {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    unsafe { libc::waitpid(child, &raw mut status, libc::WUNTRACED) };
    assert!(libc::WIFSTOPPED(status), "it did not come so far");
}

fn go_on(child: i32) {
    // SAFETY: kill(2) of a child that was not waited for.
    unsafe { libc::kill(child, libc::SIGCONT) };
}

#[test]
fn waits_behind_a_stopped_process_can_be_interrupted_and_succeed_later() {
    let test = "waits::waits_behind_a_stopped_process_can_be_interrupted_and_succeed_later";
    alone(test, |scratch: &Scratch| {
        let store = &scratch.store;
        let dict: SharedMap<String, u32> = SharedMap::create(store, "x").unwrap();
        let (lock, array) =
            (Mutex::create(store, "lock", ()).unwrap(), Array::<f64>::create(store, "array", 2).unwrap());
        let child = fork(|| {
            dict.transaction(|t| {
                t.insert("child", &1)?;
                let _held = (lock.lock()?, array.lock()?);
                let control = File::open(scratch.path().join("store")).unwrap();
                // SAFETY: an open descriptor.
                assert_eq!(unsafe { libc::flock(control.as_raw_fd(), libc::LOCK_EX) }, 0);
                stop_here();
                Ok::<_, Error>(())
            })
            .unwrap();
        });
        wait_for_stop(child);
        let holder = format!("process {child} (");
        let said = given_up(|| dict.insert("parent", &1));
        assert!(said.contains("the wait for the dict `x` in") && said.contains(&holder), "{said}");
        assert!(given_up(|| lock.lock()).contains(&holder));
        assert!(given_up(|| lock.lock_poisoned()).contains(&holder));
        given_up(|| array.lock());
        given_up(|| array.claim(0..1));
        given_up(|| lock.try_lock_for(Duration::MAX));
        assert!(given_up(|| store.remove("x")).contains(&holder));
        given_up(|| SharedMap::<u8, u8>::create(store, "y"));
        given_up(|| store.wait("never", 0, Duration::MAX));
        // Readers never wait, and time limits are kept.
        assert_eq!(dict.get("child").unwrap(), None);
        assert!(interruptible(|| false, || lock.try_lock_for(Duration::from_millis(120))).unwrap().is_none());

        go_on(child);
        assert!(wait(child));
        interruptible(|| true, || dict.insert("parent", &1)).unwrap();
        assert_eq!(dict.get("child").unwrap(), Some(1));
        drop((lock.lock().unwrap(), array.lock().unwrap()));
        drop(SharedMap::<u8, u8>::create(store, "y").unwrap());
    });
}

#[test]
fn an_unlimited_wait_for_a_writer_that_dies_ends_at_once() {
    let test = "waits::an_unlimited_wait_for_a_writer_that_dies_ends_at_once";
    alone(test, |Scratch { store, .. }| {
        let dict: SharedMap<String, u32> = SharedMap::create(store, "x").unwrap();
        for is_asked in [false, true] {
            let child = fork(|| {
                dict.transaction(|t| {
                    t.insert("child", &1)?;
                    stop_here();
                    Ok::<_, Error>(())
                })
                .unwrap();
            });
            wait_for_stop(child);
            std::thread::scope(|scope| {
                let write = || dict.insert("parent", &1);
                let waiting = scope.spawn(move || if is_asked { interruptible(|| false, write) } else { write() });
                std::thread::sleep(Duration::from_millis(120));
                assert!(!waiting.is_finished());
                kill(child);
                waiting.join().unwrap().unwrap();
            });
            assert!(!wait(child));
            assert_eq!((dict.get("child").unwrap(), dict.remove("parent").unwrap()), (None, Some(1)));
        }
    });
}

#[test]
fn a_barrier_breaks_when_a_wait_at_it_is_ended_and_a_permit_is_not_taken() {
    let Scratch { ref store, .. } = scratch();
    let barrier = Barrier::create(store, "barrier", 3).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        let said = given_up(|| barrier.wait());
        assert_eq!(said, "the wait for the others at the cell `barrier` was interrupted by its caller");
        assert!(other.join().unwrap().unwrap_err().is_barrier_broken());
    });
    barrier.reset().unwrap();

    let semaphore = Semaphore::create(store, "semaphore", 1).unwrap();
    let permit = semaphore.acquire().unwrap();
    given_up(|| semaphore.acquire());
    // A permit goes back also where every wait is ended.
    interruptible(|| true, || drop(permit));
    assert_eq!(semaphore.available().unwrap(), 1);
}

#[test]
fn a_wait_in_another_thread_continues() {
    let Scratch { ref store, .. } = scratch();
    let (lock, done) = (Mutex::create(store, "lock", ()).unwrap(), Flag::create(store, "done").unwrap());
    let held = lock.lock().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| lock.lock().map(|_guard| done.set(true)));
        std::thread::scope(|scope| scope.spawn(|| given_up(|| lock.lock())).join().unwrap());
        assert!(!done.get());
        drop(held);
        other.join().unwrap().unwrap();
        assert!(done.get());
    });
}
