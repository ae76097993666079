//! The order in which a worker announces its tasks and its pool decides to kill it. `ci/loom` compiles this file for a
//! model checker, with an `atomic` that is not the standard library's.

use std::sync::atomic::Ordering;

use super::atomic::{AtomicU64, fence};

/// A running task: its number in the life of its worker, and when it started (nanoseconds of `CLOCK_MONOTONIC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) number: u64,
    pub(crate) at: u64,
}

/// The words of a board that both sides use while the worker lives.
pub(crate) struct Steps<'a> {
    /// 1 + number of the task that started last.
    pub(crate) begun: &'a AtomicU64,
    /// When it started.
    pub(crate) at: &'a AtomicU64,
    /// 1 + number of the task that ended last.
    pub(crate) ended: &'a AtomicU64,
    /// 1 while the pool is about to kill the worker.
    pub(crate) condemned: &'a AtomicU64,
}

impl Steps<'_> {
    /// Records that the worker starts its next task. Returns false if the pool is about to kill it; the task must then
    /// not run.
    pub(crate) fn begin(&self, number: u64, at: u64) -> bool {
        self.at.store(at, Ordering::Relaxed);
        // Acquired by `running`: the time is not that of an earlier task.
        self.begun.store(number + 1, Ordering::Release);
        // With `condemn` a store and then a load on each side, and a fence between them: one of the two sees the other.
        fence(Ordering::SeqCst);
        !self.is_condemned()
    }

    /// Records that the pool will kill the worker for its task `number`. Returns false if that task has ended; the
    /// worker then continues.
    pub(crate) fn condemn(&self, number: u64) -> bool {
        self.condemned.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_running = self.running().is_some_and(|begun| begun.number == number);
        if !is_running {
            self.condemned.store(0, Ordering::Relaxed);
        }
        is_running
    }

    /// Returns whether the pool is about to kill the worker.
    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::Relaxed) != 0
    }

    /// Records that the worker's task has ended.
    pub(crate) fn end(&self, number: u64) {
        // Acquired by `running`: a pool that sees the end also sees the result in the mailbox.
        self.ended.store(number + 1, Ordering::Release);
    }

    /// Returns the task that runs now, or ran when the worker died.
    pub(crate) fn running(&self) -> Option<Begun> {
        let ended = self.ended.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        let at = self.at.load(Ordering::Relaxed);
        (begun > ended).then(|| Begun { number: begun - 1, at })
    }
}
