//! Cells that several threads of one process use, through one handle and through one for each thread.
//!
//! The tests also run under `ThreadSanitizer` (`ci/tsan.sh`), which knows memory by its address: two handles map a cell at
//! two addresses, so it neither sees a race between them nor that one orders what the other does. Therefore the cells here
//! also order accesses to private memory (`Guarded`), which is plain memory only where threads share a handle.

use std::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use coframe::{
    Store, interruptible,
    sync::{Array, AtomicArray, Barrier, Counter, Event, Flag, Latest, Mutex, Semaphore},
};

use crate::common::{Scratch, scratch};

const THREADS: usize = 4;
const ROUNDS: u64 = 300;

/// Numbers whose order of accesses is up to the cell under test. The sanitizer reports a cell that orders too little, unless
/// the numbers are atomic.
struct Guarded {
    plain: UnsafeCell<[u64; THREADS]>,
    atomic: Option<[AtomicU64; THREADS]>,
}

// SAFETY: the tests access the plain numbers as their cells allow.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn plain() -> Self {
        Self { plain: UnsafeCell::default(), atomic: None }
    }

    fn atomic() -> Self {
        Self { plain: UnsafeCell::default(), atomic: Some(Default::default()) }
    }

    fn get(&self, index: usize) -> u64 {
        match &self.atomic {
            Some(numbers) => numbers[index].load(Ordering::Relaxed),
            // SAFETY: no thread changes the number now, as the cell under test allows this access.
            None => unsafe { (*self.plain.get())[index] },
        }
    }

    fn set(&self, index: usize, value: u64) {
        match &self.atomic {
            Some(numbers) => numbers[index].store(value, Ordering::Relaxed),
            // SAFETY: no other thread accesses the number now, as the cell under test allows this access.
            None => unsafe { (*self.plain.get())[index] = value },
        }
    }

    fn numbers(&self) -> [u64; THREADS] {
        std::array::from_fn(|index| self.get(index))
    }

    /// Adds one to each number, which were equal.
    fn increment(&self) {
        let numbers = self.numbers();
        assert_eq!(numbers, [numbers[0]; THREADS]);
        (0..THREADS).for_each(|index| self.set(index, numbers[index] + 1));
    }
}

/// Runs `work` in threads that start together, first with one handle, then with one for each thread, and checks what the
/// guarded numbers are after each. The arguments are the handle, the thread's number, and the guarded numbers.
fn in_threads<C: Sync>(open: impl Fn() -> C + Sync, expected: u64, work: impl Fn(&C, usize, &Guarded) + Sync) {
    let (shared, open, work) = (&open(), &open, &work);
    for is_shared in [true, false] {
        let guarded = &if is_shared { Guarded::plain() } else { Guarded::atomic() };
        let start = &std::sync::Barrier::new(THREADS);
        thread::scope(|scope| {
            for number in 0..THREADS {
                scope.spawn(move || {
                    let own = (!is_shared).then(open);
                    start.wait();
                    work(own.as_ref().unwrap_or(shared), number, guarded);
                });
            }
        });
        assert_eq!(guarded.numbers(), [expected; THREADS]);
    }
}

/// How often `in_threads` runs the work.
const RUNS: u64 = 2 * THREADS as u64;

#[test]
fn a_value_that_threads_change_under_its_lock_loses_no_change() {
    let Scratch { ref store, .. } = scratch();
    Mutex::create(store, "x", [0_u64; 9]).unwrap();
    in_threads(
        || Mutex::<[u64; 9]>::open(store, "x").unwrap(),
        THREADS as u64 * ROUNDS,
        |lock, _, guarded| {
            for round in 0..ROUNDS {
                let mut held = match round % 4 {
                    0 => lock.lock().unwrap(),
                    1 => lock.lock_poisoned().unwrap(),
                    2 => lock.try_lock_for(Duration::from_mins(1)).unwrap().unwrap(),
                    _ => interruptible(|| false, || lock.lock()).unwrap(),
                };
                assert_eq!(*held, [held[0]; 9]);
                held.iter_mut().for_each(|value| *value += 1);
                guarded.increment();
                drop(held);
                lock.update(|values| assert_eq!(*values, [values[0]; 9])).unwrap();
            }
        },
    );
    assert_eq!(Mutex::<[u64; 9]>::open(store, "x").unwrap().get().unwrap(), [RUNS * ROUNDS; 9]);
}

#[test]
fn a_value_that_threads_replace_and_copy_is_whole() {
    let Scratch { ref store, .. } = scratch();
    Mutex::create(store, "x", [0_u64; 9]).unwrap();
    in_threads(
        || Mutex::<[u64; 9]>::open(store, "x").unwrap(),
        0,
        |lock, number, _| {
            for round in 0..ROUNDS {
                if number == 0 {
                    lock.set([round; 9]).unwrap();
                } else {
                    let value = lock.get().unwrap();
                    assert_eq!(value, [value[0]; 9]);
                }
            }
        },
    );
}

/// Calls until no other thread is in the way.
fn until_free<R>(call: impl Fn() -> coframe::Result<R>) -> R {
    loop {
        match call() {
            Err(error) if error.is_busy() => thread::yield_now(),
            result => return result.unwrap(),
        }
    }
}

#[test]
fn parts_of_an_array_go_from_thread_to_thread_and_the_whole_of_it_too() {
    let Scratch { ref store, .. } = scratch();
    Array::<u64>::create(store, "x", 4 * THREADS).unwrap();
    // Each part is claimed once in a round, and the whole is locked in each sixteenth one.
    let expected = ROUNDS + ROUNDS.div_ceil(16) * THREADS as u64;
    in_threads(
        || Array::<u64>::open(store, "x").unwrap(),
        expected,
        |array, number, guarded| {
            for round in 0..ROUNDS {
                let part = (number + round as usize) % THREADS;
                let mut claim = until_free(|| array.claim_part(part, THREADS));
                claim.iter_mut().for_each(|value| *value += 1);
                guarded.set(part, guarded.get(part) + 1);
                drop(claim);
                if round.is_multiple_of(16) {
                    let mut all = until_free(|| array.lock());
                    all.iter_mut().for_each(|value| *value += 1);
                    (0..THREADS).for_each(|part| guarded.set(part, guarded.get(part) + 1));
                }
            }
        },
    );
    assert_eq!(*Array::<u64>::open(store, "x").unwrap().lock().unwrap(), [2 * expected; 4 * THREADS]);
}

/// Hands guarded numbers from one thread to another and back, `ROUNDS` times. `give` and `take` get 0 for the way there and
/// 1 for the way back, and the number of the round, from 1.
fn hand_over(give: impl Fn(usize, u64) + Sync, take: impl Fn(usize, u64) + Sync) {
    let (guarded, give, take) = (&Guarded::plain(), &give, &take);
    thread::scope(|scope| {
        scope.spawn(move || {
            for round in 1..=ROUNDS {
                take(0, round);
                assert_eq!(guarded.get(0), 2 * round - 1);
                guarded.increment();
                give(1, round);
            }
        });
        for round in 1..=ROUNDS {
            guarded.increment();
            give(0, round);
            take(1, round);
            assert_eq!(guarded.get(0), 2 * round);
        }
    });
}

fn spin_until(is_done: impl Fn() -> bool) {
    while !is_done() {
        thread::yield_now();
    }
}

#[test]
fn an_event_that_is_set_or_pulses_shows_what_was_written_before() {
    let Scratch { ref store, .. } = scratch();
    let events = ["there", "back"].map(|name| Event::create(store, name).unwrap());
    let take = |way: usize, round: u64| match round % 3 {
        0 => events[way].wait().unwrap(),
        1 => assert!(events[way].wait_timeout(Duration::from_mins(1)).unwrap()),
        _ => spin_until(|| events[way].is_set()),
    };
    hand_over(
        |way, _| events[way].set(),
        |way, round| {
            take(way, round);
            events[way].clear();
        },
    );
    let pulses = ["pulses-there", "pulses-back"].map(|name| Event::create(store, name).unwrap());
    hand_over(
        |way, _| pulses[way].pulse(),
        |way, round| assert!(pulses[way].wait_pulse(round as u32 - 1, None).unwrap()),
    );
}

#[test]
fn numbers_and_flags_show_what_was_written_before_they_changed() {
    let Scratch { ref store, .. } = scratch();
    let flags = ["flag-there", "flag-back"].map(|name| Flag::create(store, name).unwrap());
    hand_over(
        |way, _| flags[way].set(true),
        |way, _| {
            spin_until(|| flags[way].get());
            flags[way].set(false);
        },
    );
    let counters = ["there", "back"].map(|name| Counter::<u64>::create(store, name).unwrap());
    hand_over(
        |way, round| match round % 3 {
            0 => assert_eq!(counters[way].add(1), round),
            1 => counters[way].set(round),
            _ => counters[way].compare_exchange(round - 1, round).unwrap(),
        },
        |way, round| spin_until(|| counters[way].get() == round),
    );
    let (narrow, wide) = (
        AtomicArray::<u32>::create(store, "narrow", 2).unwrap(),
        AtomicArray::<u64>::create(store, "wide", 2).unwrap(),
    );
    hand_over(
        |way, round| {
            if round.is_multiple_of(2) {
                narrow.set(way, round as u32).unwrap();
            } else {
                wide.add(way, 2).unwrap();
            }
        },
        |way, round| {
            spin_until(|| {
                if round.is_multiple_of(2) {
                    narrow.get(way) == Some(round as u32)
                } else {
                    wide.get(way) == Some(round + 1)
                }
            });
        },
    );
}

#[test]
fn a_flag_a_number_or_a_permit_is_a_lock() {
    let Scratch { ref store, .. } = scratch();
    let all = THREADS as u64 * ROUNDS;
    Flag::create(store, "flag").unwrap();
    in_threads(
        || Flag::open(store, "flag").unwrap(),
        all,
        |flag, _, guarded| {
            for _ in 0..ROUNDS {
                spin_until(|| !flag.swap(true));
                guarded.increment();
                flag.set(false);
            }
        },
    );
    Counter::<u64>::create(store, "counter").unwrap();
    in_threads(
        || Counter::<u64>::open(store, "counter").unwrap(),
        all,
        |counter, _, guarded| {
            for _ in 0..ROUNDS {
                spin_until(|| counter.compare_exchange(0, 1).is_ok());
                guarded.increment();
                counter.set(0);
            }
        },
    );
    Semaphore::create(store, "semaphore", 1).unwrap();
    in_threads(
        || Semaphore::open(store, "semaphore").unwrap(),
        all / 3,
        |semaphore, _, guarded| {
            for round in 0..ROUNDS / 3 {
                let permit = semaphore.acquire().unwrap();
                guarded.increment();
                if round.is_multiple_of(2) {
                    drop(permit);
                } else {
                    permit.forget();
                    assert!(semaphore.release().unwrap());
                }
            }
        },
    );
}

#[test]
fn a_permit_that_is_added_shows_what_was_written_before() {
    let Scratch { ref store, .. } = scratch();
    let signals = ["there", "back"].map(|name| Semaphore::create(store, name, 0).unwrap());
    hand_over(|way, _| signals[way].add_permit().unwrap(), |way, _| signals[way].acquire().unwrap().forget());
}

#[test]
fn a_barrier_shows_what_its_participants_wrote_before() {
    let Scratch { ref store, .. } = scratch();
    Barrier::create(store, "x", THREADS).unwrap();
    in_threads(
        || Barrier::open(store, "x").unwrap(),
        ROUNDS / 3,
        |barrier, number, guarded| {
            for round in 1..=ROUNDS / 3 {
                // Each writes its number, the last one adds 1 to all before the others continue, and each takes it away.
                assert_eq!(guarded.get(number), round - 1);
                guarded.set(number, round);
                let place = barrier.arrive_with(None, || {
                    assert_eq!(guarded.numbers(), [round; THREADS]);
                    (0..THREADS).for_each(|other| guarded.set(other, round + 1));
                    Ok::<_, coframe::Error>(())
                });
                assert!(place.unwrap() < THREADS);
                assert_eq!(guarded.numbers(), [round + 1; THREADS]);
                barrier.wait_timeout(Duration::from_mins(1)).unwrap();
                guarded.set(number, round);
            }
        },
    );
}

#[test]
fn readers_in_threads_see_whole_values_of_writers_in_threads() {
    let Scratch { ref store, .. } = scratch();
    Latest::create(store, "x", [0_u64; 17]).unwrap();
    in_threads(
        || Latest::<[u64; 17]>::open(store, "x").unwrap(),
        0,
        |latest, number, _| {
            let mut seen = latest.read()[0];
            for _ in 0..ROUNDS {
                if number < 2 {
                    // Each write is by another writer, which continues where the last one stopped.
                    let mut writer = until_free(|| latest.writer());
                    let next = latest.read()[0] + 1;
                    writer.write(&[next; 17]);
                }
                let value = latest.read();
                assert_eq!(value, [value[0]; 17]);
                assert!(value[0] >= seen, "{} after {seen}", value[0]);
                seen = value[0];
            }
        },
    );
    assert_eq!(Latest::<[u64; 17]>::open(store, "x").unwrap().read(), [4 * ROUNDS; 17]);
}

#[test]
fn threads_that_create_open_and_drop_a_cell_at_once_get_the_same_one() {
    let Scratch { ref store, .. } = scratch();
    for round in 0..ROUNDS / 6 {
        let name = format!("x{round}");
        in_threads(
            || Store::open_at(store.path()).unwrap(),
            0,
            |store, _, _| {
                let lock = Mutex::open_or_create(store, &name, [0_u64; 9]).unwrap();
                let clone = lock.clone();
                drop(lock);
                clone.update(|values| values.iter_mut().for_each(|value| *value += 1)).unwrap();
            },
        );
        assert_eq!(Mutex::<[u64; 9]>::open(store, &name).unwrap().get().unwrap(), [RUNS; 9]);
    }
}
