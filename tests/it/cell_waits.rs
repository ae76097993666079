//! How waits for cells end.

use std::{fs, time::Duration};

use coframe::{
    interruptible,
    sync::{Array, Barrier, Event, Mutex, Semaphore},
};

use crate::common::{Scratch, alone, fork, scratch, wait};

/// The operation of the futex call in which a thread of this process sleeps.
fn futex_operation(thread: i32) -> i64 {
    loop {
        let call = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap();
        let mut words = call.split_ascii_whitespace();
        if words.next() == Some(&libc::SYS_futex.to_string()) {
            let operation = words.nth(1).unwrap();
            return i64::from_str_radix(operation.trim_start_matches("0x"), 16).unwrap();
        }
        std::thread::yield_now();
    }
}

#[test]
fn time_limits_of_locks_do_not_follow_the_clock_of_the_system() {
    let Scratch { ref store, .. } = scratch();
    let lock = Mutex::create(store, "x", ()).unwrap();
    let held = lock.lock().unwrap();
    let operation = std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel();
        let lock = &lock;
        scope.spawn(move || {
            // SAFETY: gettid(2) has no preconditions.
            send.send(unsafe { libc::gettid() }).unwrap();
            assert!(lock.try_lock_for(Duration::from_mins(1)).unwrap().is_some());
        });
        let operation = futex_operation(receive.recv().unwrap());
        drop(held);
        operation
    });
    assert_eq!(operation & i64::from(libc::FUTEX_CLOCK_REALTIME), 0, "{operation:#x}");
}

#[test]
fn a_process_at_the_limit_of_open_files_does_not_mistake_others_for_dead() {
    const TEST: &str = "cell_waits::a_process_at_the_limit_of_open_files_does_not_mistake_others_for_dead";
    alone(TEST, |Scratch { store, .. }| {
        let semaphore = Semaphore::create(store, "semaphore", 1).unwrap();
        let barrier = Barrier::create(store, "barrier", 3).unwrap();
        let (array, done) = (Array::<u64>::create(store, "array", 4).unwrap(), Event::create(store, "done").unwrap());
        let holder = fork(|| {
            let (_permit, _claim) = (semaphore.acquire().unwrap(), array.claim(0..2).unwrap());
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| assert!(barrier.wait_timeout(Duration::from_mins(1)).is_ok()));
                done.wait().unwrap();
                waiting.join().unwrap();
            });
        });
        while barrier.waiting().unwrap() != 1 {
            std::thread::yield_now();
        }
        // The first mark of this process is made at the limit as well.
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: the pointer is to a local value.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        // In the second round this process knows its own start.
        for round in 0..2 {
            let files: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
            let own = array.claim(2..4).unwrap();
            assert!(array.lock_poisoned().unwrap_err().is_busy(), "{round}");
            assert!(array.claim(1..2).unwrap_err().is_busy(), "{round}");
            assert!(semaphore.try_acquire_for(Duration::from_millis(120)).unwrap().is_none(), "{round}");
            drop(files);
            assert!(array.claim(2..3).unwrap_err().is_busy(), "the mark that was made at the limit counts");
            drop(own);
        }
        drop(array.claim(2..4).unwrap());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| barrier.wait_timeout(Duration::from_mins(1)).unwrap());
            assert!(barrier.wait_timeout(Duration::from_mins(1)).is_ok());
            other.join().unwrap();
        });
        done.set();
        assert!(wait(holder));
        drop(semaphore.acquire().unwrap());
    });
}

#[test]
fn the_caller_can_end_a_wait_for_an_event() {
    let Scratch { ref store, .. } = scratch();
    let event = Event::create(store, "event").unwrap();
    for limit in [None, Some(Duration::from_hours(1))] {
        let wait = || limit.map_or_else(|| event.wait().map(|()| true), |limit| event.wait_timeout(limit));
        let error = interruptible(|| true, wait).unwrap_err();
        assert!(error.is_interrupted(), "{error}");
        assert!(error.to_string().contains("the cell `event` to be set"), "{error}");
    }
    event.set();
    interruptible(|| true, || event.wait()).unwrap();
}
