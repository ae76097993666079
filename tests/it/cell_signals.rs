//! Permits that another process returns or adds, and pulses of events.

use std::time::Duration;

use coframe::sync::{Event, Semaphore};

use crate::common::{Scratch, fork, scratch, wait};

#[test]
fn an_added_permit_lets_one_process_through_and_does_not_return_with_its_end() {
    let Scratch { ref store, .. } = scratch();
    let signal = Semaphore::create(store, "signal", 0).unwrap();
    assert!(signal.try_acquire().unwrap().is_none());
    let taker = fork(|| signal.acquire().unwrap().forget());
    signal.add_permit().unwrap();
    assert!(wait(taker));
    assert_eq!(signal.available().unwrap(), 0);
    signal.add_permit().unwrap();
    drop(signal.acquire().unwrap());
    assert!(!signal.release().unwrap() && signal.try_acquire().unwrap().is_none());
}

#[test]
fn a_forgotten_permit_is_returned_by_any_process_or_when_its_own_ends() {
    let Scratch { ref store, .. } = scratch();
    let semaphore = Semaphore::create(store, "permits", 2).unwrap();
    semaphore.acquire().unwrap().forget();
    assert!(wait(fork(|| semaphore.acquire().unwrap().forget())));
    assert_eq!(semaphore.available().unwrap(), 1);
    assert!(wait(fork(|| assert!(semaphore.release().unwrap()))));
    assert_eq!(semaphore.available().unwrap(), 2);
    assert!(!semaphore.release().unwrap());
}

#[test]
fn a_process_returns_its_own_permit_before_that_of_another_one() {
    let Scratch { ref store, .. } = scratch();
    let (semaphore, done) = (Semaphore::create(store, "permits", 2).unwrap(), Event::create(store, "done").unwrap());
    let ready = Semaphore::create(store, "ready", 0).unwrap();
    let other = fork(|| {
        let permit = semaphore.acquire().unwrap();
        ready.add_permit().unwrap();
        done.wait().unwrap();
        drop(permit);
    });
    ready.acquire().unwrap().forget();
    semaphore.acquire().unwrap().forget();
    assert!(semaphore.release().unwrap());
    done.set();
    assert!(wait(other));
    // Had it returned the other one's permit, its own would be taken still.
    assert_eq!(semaphore.available().unwrap(), 2);
}

#[test]
fn a_permit_that_was_returned_meanwhile_is_not_returned_from_its_next_holder() {
    let Scratch { ref store, .. } = scratch();
    let semaphore = Semaphore::create(store, "permits", 1).unwrap();
    let first = semaphore.acquire().unwrap();
    assert!(semaphore.release().unwrap());
    let second = semaphore.acquire().unwrap();
    drop(first);
    assert!(semaphore.try_acquire().unwrap().is_none());
    drop(second);
    assert_eq!(semaphore.available().unwrap(), 1);
}

#[test]
fn a_pulse_wakes_all_that_wait_and_none_that_come_later() {
    let Scratch { ref store, .. } = scratch();
    let event = Event::create(store, "event").unwrap();
    let before = event.pulses();
    let waiters = [(); 2].map(|()| fork(|| assert!(event.wait_pulse(before, None).unwrap())));
    event.pulse();
    assert!(waiters.into_iter().all(wait));
    assert!(!event.is_set());
    assert!(!event.wait_pulse(event.pulses(), Some(Duration::from_millis(1))).unwrap());
}
