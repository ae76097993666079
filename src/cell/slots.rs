//! The order in which two slots and a number are written and read, so that a reader never waits and never sees a part
//! of one value and a part of another (FORMAT.md, rule K5). Apart, so that a model checker can run it.

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
        let before = written.load(Ordering::Acquire);
        let value = copy(before);
        // With the writer's release fence: if any word above was of a later value, this sees that it began.
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
    // Whoever reads a word that is stored below sees at least the number that was stored last (`read`).
    W::fence(Ordering::Release);
    store(next);
    written.store(next, Ordering::Release);
}

#[cfg(all(test, coframe_loom))]
mod tests {
    use std::sync::atomic::Ordering;

    use loom::sync::{Arc, atomic::AtomicU64};

    use super::{Word, read, write};

    impl Word for AtomicU64 {
        fn load(&self, order: Ordering) -> u64 {
            self.load(order)
        }

        fn store(&self, value: u64, order: Ordering) {
            self.store(value, order);
        }

        fn fence(order: Ordering) {
            loom::sync::atomic::fence(order);
        }
    }

    struct Cell {
        written: AtomicU64,
        slots: [[AtomicU64; 2]; 2],
    }

    impl Cell {
        fn slot(&self, number: u64) -> &[AtomicU64; 2] {
            &self.slots[usize::from(number & 1 == 1)]
        }

        fn write(&self, value: u64) {
            write(&self.written, |number| {
                self.slot(number).iter().for_each(|word| word.store(value, Ordering::Relaxed));
            });
        }

        fn read(&self) -> [u64; 2] {
            read(&self.written, |number| {
                let [first, second] = self.slot(number);
                [first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]
            })
        }
    }

    /// In every order of steps, and with every value that the memory model lets a relaxed load return.
    #[test]
    fn a_reader_sees_whole_values_that_never_go_back() {
        loom::model(|| {
            let cell = Arc::new(Cell {
                written: AtomicU64::new(0),
                slots: [0, 0].map(|_| [AtomicU64::new(0), AtomicU64::new(0)]),
            });
            let writer = Arc::clone(&cell);
            // Two writes: the second one changes the slot that a slow reader is at.
            let writer = loom::thread::spawn(move || (1..=2).for_each(|value| writer.write(value)));
            let first = cell.read();
            let second = cell.read();
            assert!(first[0] == first[1] && second[0] == second[1], "torn: {first:?} {second:?}");
            assert!(first[0] <= second[0], "back: {first:?} {second:?}");
            writer.join().unwrap();
            assert_eq!(cell.read(), [2, 2]);
        });
    }
}
