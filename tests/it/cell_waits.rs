//! How waits for cells end.

use std::{fs, time::Duration};

use coframe::cell::Lock;

use crate::common::{Scratch, scratch};

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
    let lock = Lock::create(store, "x", ()).unwrap();
    let held = lock.lock().unwrap();
    let operation = std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel();
        let lock = &lock;
        scope.spawn(move || {
            // SAFETY: gettid(2) has no preconditions.
            send.send(unsafe { libc::gettid() }).unwrap();
            assert!(lock.lock_timeout(Duration::from_mins(1)).unwrap().is_some());
        });
        let operation = futex_operation(receive.recv().unwrap());
        drop(held);
        operation
    });
    assert_eq!(operation & i64::from(libc::FUTEX_CLOCK_REALTIME), 0, "{operation:#x}");
}
