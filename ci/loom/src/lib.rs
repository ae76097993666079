//! Models of coframe's lock-free code for the model checker loom, which tries every order of steps, and every value that the
//! memory model lets a relaxed load return. The code is the library's own file.

#![cfg(test)]

use std::sync::atomic::Ordering;

use loom::sync::{Arc, atomic::AtomicU64};
use slots::{Terms, Word, Words, Writer, read};

#[path = "../../../src/sync/slots.rs"]
mod slots;

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn increment(&self) -> u64 {
        self.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
}

/// As impatient as possible, so that few writes reach every state: a reader asks after its first copy, and a kept value
/// stays for one write.
const TERMS: Terms = Terms { tries: 1, kept_for: 1 };

/// Two words, as `coframe::sync::Latest` stores it.
struct Cell {
    numbers: [AtomicU64; 4],
    slots: [[AtomicU64; 2]; 3],
}

impl Cell {
    fn new() -> Self {
        Self { numbers: [0; 4].map(AtomicU64::new), slots: [0; 3].map(|_| [0; 2].map(AtomicU64::new)) }
    }

    fn words(&self) -> Words<'_, AtomicU64> {
        let [latest, asked, kept, since] = &self.numbers;
        Words { latest, asked, kept, since }
    }

    fn slot(&self, number: u64) -> &[AtomicU64; 2] {
        &self.slots[usize::try_from(number).unwrap()]
    }

    fn write(&self, writer: &mut Writer, value: u64) {
        writer.write(&self.words(), TERMS, |number| {
            self.slot(number).iter().for_each(|word| word.store(value, Ordering::Relaxed));
        });
    }

    fn read(&self) -> [u64; 2] {
        read(&self.words(), TERMS, |number| {
            let [first, second] = self.slot(number);
            [first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]
        })
    }
}

/// Checks a reader that reads `reads` times next to a writer that writes 1 to `last`, in all orders with at most
/// `switches` switches of threads in the middle of a call.
fn check(reads: usize, last: u64, switches: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(switches);
    model.check(move || {
        let cell = Arc::new(Cell::new());
        // Here, because loom does not look for orders in which another thread's load comes before a load and a store of
        // one thread.
        let mut numbers = Writer::new(&cell.words());
        let writer = Arc::clone(&cell);
        let writer = loom::thread::spawn(move || (1..=last).for_each(|value| writer.write(&mut numbers, value)));
        let mut seen = 0;
        for _ in 0..reads {
            let [first, second] = cell.read();
            assert!(first == second, "torn: {first} {second}");
            assert!(first >= seen, "back: {first} after {seen}");
            seen = first;
        }
        writer.join().unwrap();
        assert_eq!(cell.read(), [last, last]);
    });
}

#[test]
fn a_reader_sees_whole_values_that_never_go_back() {
    check(2, 3, 2);
}

#[test]
fn a_reader_that_asks_sees_whole_values_that_never_go_back() {
    // The reader asks after the first write, the second or third one answers, and a later one could overwrite the value.
    check(1, 4, 3);
}
