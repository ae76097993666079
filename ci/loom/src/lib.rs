//! Models of coframe's lock-free code for the model checker loom, which tries every order of steps, and every value that the
//! memory model lets a relaxed load return. The code is the library's own file.

#![cfg(test)]

use std::sync::atomic::Ordering;

use atomic::{AtomicU64, fence};
use loom::sync::{Arc, atomic::AtomicBool};
use slots::{Terms, Word, Words, Writer, read};
use steps::Steps;

#[path = "../../../src/sync/slots.rs"]
mod slots;
#[path = "../../../src/pool/steps.rs"]
mod steps;

/// What `steps` gets instead of the standard library's.
mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, fence};
}

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
        fence(order);
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

/// The words of a pool's board.
#[derive(Default)]
struct Board {
    begun: AtomicU64,
    at: AtomicU64,
    ended: AtomicU64,
    condemned: AtomicU64,
    /// The pool's signal. It arrives at any time after it was sent.
    is_killed: AtomicBool,
}

impl Board {
    fn steps(&self) -> Steps<'_> {
        Steps { begun: &self.begun, at: &self.at, ended: &self.ended, condemned: &self.condemned }
    }

    /// Runs tasks as a worker does, until the signal arrives. Returns how many have run.
    fn work(&self, tasks: u64) -> u64 {
        for number in 0..tasks {
            if !self.steps().begin(number, 10 + number) {
                while self.steps().is_condemned() {
                    if self.is_killed.load(Ordering::Acquire) {
                        return number;
                    }
                    loom::thread::yield_now();
                }
            }
            self.steps().end(number);
        }
        tasks
    }
}

#[test]
fn a_worker_that_is_killed_for_a_task_runs_no_later_one() {
    for victim in 0..2 {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let board = Arc::new(Board::default());
            let worker = Arc::clone(&board);
            let worker = loom::thread::spawn(move || worker.work(2));
            let at = board.steps().running().filter(|begun| begun.number == victim).map(|begun| begun.at);
            // Of this task or of the next one, which a worker can begin between two loads.
            assert!(at.is_none_or(|at| at >= 10 + victim), "{at:?}");
            let is_killed = board.steps().condemn(victim);
            board.is_killed.store(is_killed, Ordering::Release);
            let ran = worker.join().unwrap();
            // Without a kill it is not held up either, and runs both.
            assert!(if is_killed { ran <= victim + 1 } else { ran == 2 }, "killed: {is_killed}, ran: {ran}");
        });
    }
}
