//! The order in which two slots and a number are written and read, so that a reader never waits and never sees parts of
//! two values (FORMAT.md, rule K5). This file imports only `std`, because `ci/loom` compiles it for a model checker.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// An atomic number: one in shared memory, or a model checker's.
pub(super) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn fence(order: Ordering);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}

/// Copies the latest whole value. `copy` reads the words of the slot that a number chooses, relaxed.
#[inline]
pub(super) fn read<W: Word, T>(written: &W, copy: impl Fn(u64) -> T) -> T {
    loop {
        // Pairs with the last store of `write`: the slot of this number is complete.
        let before = written.load(Ordering::Acquire);
        let value = copy(before);
        // With the writer's release fence: if any word above was of a later value, this load sees the later number.
        W::fence(Ordering::Acquire);
        if written.load(Ordering::Relaxed) == before {
            return value;
        }
    }
}

/// Replaces the value; one writer at a time. `store` writes the words of the slot that a number chooses, relaxed.
#[inline]
pub(super) fn write<W: Word>(written: &W, store: impl FnOnce(u64)) {
    let next = written.load(Ordering::Relaxed).wrapping_add(1);
    // A reader of a word that is stored below sees at least the number that was stored last (`read`).
    W::fence(Ordering::Release);
    store(next);
    // Acquired by `read`.
    written.store(next, Ordering::Release);
}
