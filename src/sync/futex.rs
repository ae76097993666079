//! Waiting for a word in shared memory to change.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::{
    layout::CHANGES,
    memory::{Memory, futex_wait, futex_wake},
};

/// How long one wait lasts at most. Then a waiter checks whether the other processes are alive.
pub(super) const LOOK_UP: Duration = Duration::from_millis(50);

/// Wakes all waiters, in all processes.
pub(super) fn wake_all(word: &AtomicU32) {
    futex_wake(word);
}

/// Counts a change of a barrier or semaphore, and wakes all processes that wait for one.
pub(super) fn changed(memory: &Memory) {
    let word = memory.word32(CHANGES);
    // Acquired by `wait_until`, `Seat::is_over` and `take_seat`: a process that sees the number sees the change.
    word.fetch_add(1, Ordering::Release);
    wake_all(word);
}

/// A running time limit, by `CLOCK_MONOTONIC`.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self(limit.map(|limit| (Instant::now(), limit)))
    }

    /// Returns the time that is left; `None` if the limit has passed.
    pub(super) fn rest(&self) -> Option<Duration> {
        match self.0 {
            None => Some(Duration::MAX),
            Some((start, limit)) => limit.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()),
        }
    }
}

/// Waits until `is_done` returns true, and calls it whenever the word changes and after each `LOOK_UP`. Returns false
/// on a timeout.
pub(super) fn wait_until(word: &AtomicU32, limit: Option<Duration>, mut is_done: impl FnMut() -> bool) -> bool {
    let deadline = Deadline::new(limit);
    loop {
        // Pairs with the release of `changed` or of the event's `set`.
        let seen = word.load(Ordering::Acquire);
        if is_done() {
            return true;
        }
        let Some(rest) = deadline.rest() else { return false };
        futex_wait(word, seen, rest.min(LOOK_UP));
    }
}
