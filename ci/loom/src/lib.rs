//! Models of coframe's lock-free code for the model checker loom, which tries every order of steps, and every value that the
//! memory model lets a relaxed load return. The code is the library's own file.

#![cfg(test)]

use std::sync::atomic::Ordering;

use loom::sync::{Arc, atomic::AtomicU64};
use slots::{Word, read, write};

#[path = "../../../src/cell/slots.rs"]
mod slots;

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

/// A snapshot of two words, as `coframe::cell::Snapshot` stores it.
struct Snapshot {
    written: AtomicU64,
    slots: [[AtomicU64; 2]; 2],
}

impl Snapshot {
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

#[test]
fn a_reader_sees_whole_values_that_never_go_back() {
    loom::model(|| {
        let snapshot = Arc::new(Snapshot {
            written: AtomicU64::new(0),
            slots: [0, 0].map(|_| [AtomicU64::new(0), AtomicU64::new(0)]),
        });
        let writer = Arc::clone(&snapshot);
        // The second write changes the slot that a slow reader still copies.
        let writer = loom::thread::spawn(move || (1..=2).for_each(|value| writer.write(value)));
        let first = snapshot.read();
        let second = snapshot.read();
        assert!(first[0] == first[1] && second[0] == second[1], "torn: {first:?} {second:?}");
        assert!(first[0] <= second[0], "back: {first:?} {second:?}");
        writer.join().unwrap();
        assert_eq!(snapshot.read(), [2, 2]);
    });
}
