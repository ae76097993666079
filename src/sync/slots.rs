//! The order in which three slots and four numbers are written and read, so that a reader never waits, never starves and
//! never sees parts of two values (FORMAT.md, rule K5). This file imports only `std`, because `ci/loom` compiles it for a
//! model checker.
//!
//! ```text
//! latest   number of writes, slot of the latest value     the writer changes it after each value
//! asked    readers that asked for a value to be kept      a reader increments it when its copies fail
//! kept     the last `asked` that was answered, slot       the writer changes it, and writes to the two other slots
//! since    number of writes when `kept` changed           the writer's own
//! ```

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// An atomic number: in shared memory, or in a model checker.
pub(super) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    /// Adds 1, and returns the sum.
    fn increment(&self) -> u64;
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
    fn increment(&self) -> u64 {
        self.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}

/// The numbers of a latest cell.
pub(super) struct Words<'a, W> {
    pub(super) latest: &'a W,
    pub(super) asked: &'a W,
    pub(super) kept: &'a W,
    pub(super) since: &'a W,
}

/// When a reader asks, and for how long the writer then keeps a value.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Copies that fail before a reader asks.
    pub(super) tries: u32,
    /// Writes for which a kept value stays at least.
    pub(super) kept_for: u64,
}

/// A copy that takes less time than 32 writes succeeds after 64 writes at the latest.
pub(super) const TERMS: Terms = Terms { tries: 3, kept_for: 64 };

/// Bits of `latest` and `kept` that hold the number of a slot.
const SLOT_BITS: u32 = 2;

/// Returns the number of a slot: at most 2, whatever the memory contains.
#[inline]
fn slot(word: u64) -> u64 {
    (word & ((1 << SLOT_BITS) - 1)).min(2)
}

/// Copies a complete value: the latest, or one that was the latest during the call. `copy` reads the words of a slot,
/// relaxed.
#[inline]
pub(super) fn read<W: Word, T>(words: &Words<'_, W>, terms: Terms, copy: impl Fn(u64) -> T) -> T {
    // Pairs with the last store of `write`: the slot that it names is complete.
    let seen = words.latest.load(Ordering::Acquire);
    copy_unless_changed(words.latest, seen, &copy).unwrap_or_else(|| read_beside_writer(words, terms, &copy))
}

/// Reads if a write ended during the first copy.
#[cold]
fn read_beside_writer<W: Word, T>(words: &Words<'_, W>, terms: Terms, copy: &impl Fn(u64) -> T) -> T {
    let (mut tries, mut asked) = (1, None);
    loop {
        // Pairs with the store of `kept` in `write`, which follows the value's.
        let kept = words.kept.load(Ordering::Acquire);
        let is_answered = asked.is_some_and(|asked| kept >> SLOT_BITS >= asked);
        // Pairs with the last store of `write`, as above.
        let (word, seen) =
            if is_answered { (words.kept, kept) } else { (words.latest, words.latest.load(Ordering::Acquire)) };
        if let Some(value) = copy_unless_changed(word, seen, copy) {
            return value;
        }
        tries += 1;
        if tries >= terms.tries && asked.is_none() {
            asked = Some(words.asked.increment());
        }
    }
}

/// Copies the slot that a word names; `None` if the word changed meanwhile, so that the slot may have been written to.
#[inline]
fn copy_unless_changed<W: Word, T>(word: &W, seen: u64, copy: &impl Fn(u64) -> T) -> Option<T> {
    let value = copy(slot(seen));
    // With the writer's release fence: if any word above was of a later value, this sees the number that was stored
    // before it.
    W::fence(Ordering::Acquire);
    (word.load(Ordering::Relaxed) == seen).then_some(value)
}

/// The writer, the only one that changes these numbers.
#[derive(Debug)]
pub(super) struct Writer {
    latest: u64,
    kept: u64,
    since: u64,
}

impl Writer {
    pub(super) fn new<W: Word>(words: &Words<'_, W>) -> Self {
        let [latest, kept, since] = [words.latest, words.kept, words.since].map(|word| word.load(Ordering::Relaxed));
        Self { latest, kept, since }
    }

    /// Replaces the value. `store` writes the words of a slot, relaxed.
    #[inline]
    pub(super) fn write<W: Word>(&mut self, words: &Words<'_, W>, terms: Terms, store: impl FnOnce(u64)) {
        let (writes, asked) = (self.latest >> SLOT_BITS, words.asked.load(Ordering::Relaxed));
        if asked != self.kept >> SLOT_BITS && writes.wrapping_sub(self.since) >= terms.kept_for {
            self.since = writes;
            self.kept = (asked << SLOT_BITS) | slot(self.latest);
            // In this order: a writer that dies in between does not leave a value that is replaced too early.
            words.since.store(self.since, Ordering::Relaxed);
            words.kept.store(self.kept, Ordering::Release);
        }
        // A reader that reads a word stored below sees at least the numbers stored so far (`copy_unless_changed`).
        W::fence(Ordering::Release);
        let next = (0..2).find(|number| ![slot(self.latest), slot(self.kept)].contains(number)).unwrap_or(2);
        store(next);
        self.latest = (writes.wrapping_add(1) << SLOT_BITS) | next;
        words.latest.store(self.latest, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::atomic::{AtomicU64, Ordering},
    };

    use super::{TERMS, Terms, Words, Writer, read};

    #[derive(Default)]
    struct Memory {
        numbers: [AtomicU64; 4],
        slots: [AtomicU64; 3],
    }

    impl Memory {
        fn words(&self) -> Words<'_, AtomicU64> {
            let [latest, asked, kept, since] = &self.numbers;
            Words { latest, asked, kept, since }
        }

        fn slot(&self, number: u64) -> &AtomicU64 {
            &self.slots[usize::try_from(number).unwrap()]
        }

        fn write(&self) {
            let value = (self.numbers[0].load(Ordering::Relaxed) >> 2) + 1;
            Writer::new(&self.words())
                .write(&self.words(), TERMS, |slot| self.slot(slot).store(value, Ordering::Relaxed));
        }

        /// Reads while `writes` values are written during each copy; returns the value and the number of copies.
        fn read_during(&self, writes: u64, terms: Terms) -> Option<(u64, u32)> {
            let copies = Cell::new(0);
            let copy = |slot| {
                copies.set(copies.get() + 1);
                // The bound of the test: a reader that needs more copies starves.
                if copies.get() > 100 {
                    return None;
                }
                let value = self.slot(slot).load(Ordering::Relaxed);
                (0..writes).for_each(|_| self.write());
                Some(value)
            };
            // Beyond the bound nothing is written, so that the reading ends.
            read(&self.words(), terms, copy).map(|value| (value, copies.get()))
        }
    }

    #[test]
    fn a_reader_whose_every_copy_a_writer_overtakes_reads_a_kept_value() {
        for writes in [1, 2, 3, 7, 31] {
            let memory = Memory::default();
            let mut last = 0;
            for _ in 0..50 {
                let before = memory.numbers[0].load(Ordering::Relaxed) >> 2;
                let (value, copies) = memory.read_during(writes, TERMS).unwrap();
                assert!(value >= before && value >= last, "{value} after {before} and {last}");
                assert!(u64::from(copies) <= 5 + TERMS.kept_for / writes, "{copies} copies with {writes} writes each");
                last = value;
            }
        }
        // Without asking it starves.
        assert_eq!(Memory::default().read_during(1, Terms { tries: u32::MAX, ..TERMS }), None);
    }

    #[test]
    fn a_kept_value_stays_while_other_readers_ask() {
        let memory = Memory::default();
        (0..100).for_each(|_| memory.write());
        memory.words().asked.fetch_add(1, Ordering::Relaxed);
        memory.write();
        let kept = memory.numbers[2].load(Ordering::Relaxed);
        assert_eq!((kept >> 2, memory.slot(kept & 3).load(Ordering::Relaxed)), (1, 100));
        for _ in 0..TERMS.kept_for - 1 {
            memory.words().asked.fetch_add(1, Ordering::Relaxed);
            memory.write();
            assert_eq!(
                (memory.numbers[2].load(Ordering::Relaxed), memory.slot(kept & 3).load(Ordering::Relaxed)),
                (kept, 100)
            );
        }
        memory.write();
        assert_eq!(memory.numbers[2].load(Ordering::Relaxed) >> 2, TERMS.kept_for);
    }
}
