//! Panics under a lock.

use std::panic::{AssertUnwindSafe, catch_unwind};

use coframe::sync::{Array, Barrier, Latest, Mutex, Semaphore};

use crate::common::{Scratch, scratch};

fn panics(call: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
}

#[test]
fn a_panic_under_a_lock_or_a_claim_poisons() {
    let Scratch { ref store, .. } = scratch();
    let value = Mutex::create(store, "value", [0_u64; 2]).unwrap();
    panics(|| {
        value
            .update(|halves| {
                halves[0] = 1;
                panic!("in the middle");
            })
            .unwrap();
    });
    assert!(value.is_poisoned());
    let error = value.get().unwrap_err();
    let cause = format!("a thread of process {} panicked while it held the lock", std::process::id());
    assert!(error.is_poisoned() && error.to_string().contains(&cause), "{error}");
    let mut held = value.lock_poisoned().unwrap();
    assert!(held.is_poisoned());
    *held = [1; 2];
    held.clear_poison();
    drop(held);
    assert_eq!(value.get().unwrap(), [1; 2]);

    let array: Array<u64> = Array::create(store, "array", 10).unwrap();
    panics(|| {
        let mut held = array.lock().unwrap();
        held[0] = 1;
        panic!("in the middle");
    });
    assert!(array.claim(0..5).unwrap_err().is_poisoned());
    array.lock_poisoned().unwrap().clear_poison();
    panics(|| {
        let mut claim = array.claim(0..5).unwrap();
        claim[0] = 2;
        panic!("in the middle");
    });
    assert!(array.lock().unwrap_err().is_poisoned());
    let mut held = array.lock_poisoned().unwrap();
    assert_eq!(held[0], 2);
    held.clear_poison();

    let lock = Mutex::create(store, "lock", ()).unwrap();
    panics(|| {
        let _held = lock.lock().unwrap();
        panic!("inside");
    });
    assert!(lock.lock().unwrap_err().is_poisoned());
}

#[test]
fn a_lock_that_is_taken_and_given_back_during_a_panic_is_not_poisoned() {
    struct Adds<'a>(&'a Mutex<u64>, &'a Array<u64>);

    impl Drop for Adds<'_> {
        fn drop(&mut self) {
            self.0.update(|n| *n += 1).unwrap();
            self.1.claim(0..1).unwrap()[0] += 1;
        }
    }

    let Scratch { ref store, .. } = scratch();
    let (value, array) = (Mutex::create(store, "value", 0).unwrap(), Array::create(store, "array", 1).unwrap());
    panics(|| {
        let _adds = Adds(&value, &array);
        panic!("outside");
    });
    assert_eq!((value.get().unwrap(), array.lock().unwrap()[0]), (1, 1));
}

#[test]
fn what_a_panic_cannot_leave_inconsistent_stays_usable() {
    let Scratch { ref store, .. } = scratch();
    let snapshot = Latest::create(store, "snapshot", 0_u64).unwrap();
    panics(|| {
        let mut writer = snapshot.writer().unwrap();
        writer.write(&1);
        panic!("inside");
    });
    snapshot.writer().unwrap().write(&(snapshot.read() + 1));
    assert_eq!(snapshot.read(), 2);
    let semaphore = Semaphore::create(store, "semaphore", 1).unwrap();
    panics(|| {
        let _permit = semaphore.acquire().unwrap();
        panic!("inside");
    });
    assert_eq!(semaphore.available().unwrap(), 1);
    drop(semaphore.acquire().unwrap());
    Barrier::create(store, "barrier", 1).unwrap().wait().unwrap();
}
