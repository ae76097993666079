//! Claims: parts of an array that one holder each has to itself.
#![expect(unsafe_code, reason = "a claim gives access to shared memory")]

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut, Range},
    sync::atomic::Ordering,
};

use bytemuck::Pod;

use super::{
    alive::Mark,
    guard::{self, DATA, poison},
    memory::{Memory, generation},
    region::Region,
};
use crate::{
    error::{Error, Kind, Result},
    interrupt::uninterrupted,
};

/// How many claims there may be at once.
const MOST: usize = 64;
const ENTRY: usize = 32;
/// Where the elements of an array begin: after the table of claims.
pub(super) const ELEMENTS: usize = DATA + MOST * ENTRY;

/// An entry of the table: elements, and who has them.
#[derive(Clone, Copy)]
struct Entry {
    start: u64,
    end: u64,
    mark: Mark,
}

fn place(index: usize) -> usize {
    DATA + index * ENTRY
}

/// Reads an entry. The table is read and written under the array's lock.
fn read(memory: &Memory, index: usize) -> Option<Entry> {
    let word = |offset| memory.word64(place(index) + offset).load(Ordering::Relaxed);
    let pid = memory.word32(place(index) + 24).load(Ordering::Relaxed);
    (pid != 0).then(|| Entry { start: word(0), end: word(8), mark: Mark { pid, started: word(16) } })
}

fn write(memory: &Memory, index: usize, entry: Entry) {
    for (offset, value) in [(0, entry.start), (8, entry.end), (16, entry.mark.started)] {
        memory.word64(place(index) + offset).store(value, Ordering::Relaxed);
    }
    // Last: an entry counts once it has a process.
    memory.word32(place(index) + 24).store(entry.mark.pid, Ordering::Relaxed);
}

fn clear(memory: &Memory, index: usize) {
    memory.word32(place(index) + 24).store(0, Ordering::Relaxed);
}

/// Drops the claims of dead processes, which may have left their elements half-changed; returns a living one that
/// overlaps. Under the lock.
pub(super) fn living(region: &Region, elements: &Range<usize>) -> Option<u32> {
    let memory = region.memory();
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut holder = None;
    for index in 0..MOST {
        let Some(entry) = read(memory, index) else { continue };
        if !entry.mark.is_alive() {
            poison(region, entry.mark.pid);
            clear(memory, index);
        } else if entry.start < number(elements.end) && number(elements.start) < entry.end {
            holder = Some(entry.mark.pid);
        }
    }
    holder
}

/// A part of an [`Array`](super::Array) that this holder alone may read and change, until it is dropped.
///
/// In a forked child it does nothing when it is dropped; the claim stays its parent's.
pub struct Claim<'a, T: Pod> {
    region: &'a Region,
    elements: Range<usize>,
    /// Its entry in the table.
    index: usize,
    generation: u32,
    values: PhantomData<&'a mut T>,
}

/// Claims elements that nobody else has.
pub(super) fn claim<T: Pod>(region: &Region, elements: Range<usize>) -> Result<Claim<'_, T>> {
    let count = region.count();
    if elements.start > elements.end || elements.end > count {
        let what = format!("the elements {elements:?} of {}", region.label());
        return Err(Error::invalid(what, format_args!("expected a range inside 0..{count}")));
    }
    let busy = |holder: String| {
        let what = format!("the elements {elements:?} of {}", region.label());
        Error::from(Kind::Busy { what, holder })
    };
    let held = guard::lock::<T>(region, ELEMENTS, None, false)?;
    if let Some(pid) = living(region, &elements) {
        return Err(busy(format!("process {pid}, which has claimed some of them")));
    }
    if guard::is_poisoned(region) {
        return Err(guard::poisoned(region));
    }
    let memory = region.memory();
    let free = (0..MOST).find(|index| read(memory, *index).is_none());
    let index = free.ok_or_else(|| busy(format!("{MOST} other claims, and there are no more")))?;
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    write(memory, index, Entry { start: number(elements.start), end: number(elements.end), mark: Mark::own() });
    drop(held);
    Ok(Claim { region, elements, index, generation: generation(), values: PhantomData })
}

impl<T: Pod> Claim<'_, T> {
    /// Which elements these are.
    #[must_use]
    pub fn elements(&self) -> Range<usize> {
        self.elements.clone()
    }
}

impl<T: Pod> Deref for Claim<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let start = ELEMENTS + self.elements.start * size_of::<T>();
        // SAFETY: the entry in the table says, to every process that keeps the format (K4), that these elements are this
        // claim's alone: no claim is given that overlaps, and no lock on the whole array while there are claims.
        unsafe { self.region.memory().slice(start, self.elements.len()) }
    }
}

impl<T: Pod> DerefMut for Claim<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let start = ELEMENTS + self.elements.start * size_of::<T>();
        // SAFETY: as in `deref`; `&mut self` makes this the only slice of this claim.
        unsafe { self.region.memory().slice(start, self.elements.len()) }
    }
}

impl<T: Pod> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            return;
        }
        // An entry that cannot be cleared now is found dead with this process.
        uninterrupted(|| {
            if let Ok(Some(_held)) = guard::lock::<T>(self.region, ELEMENTS, None, true) {
                clear(self.region.memory(), self.index);
            }
        });
    }
}

impl<T: Pod> fmt::Debug for Claim<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut claim = f.debug_struct("Claim");
        claim.field("cell", self.region.handle().name()).field("elements", &self.elements).finish_non_exhaustive()
    }
}
