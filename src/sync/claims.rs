//! Claims: parts of an array, each with one exclusive holder.
#![expect(unsafe_code, reason = "a claim gives access to shared memory")]

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut, Range},
    sync::atomic::Ordering,
    thread,
};

use bytemuck::Pod;

use super::{
    alive::Incarnation,
    guard::{self, poison, poison_in_panic},
    layout::{CLAIM, CLAIMS, DATA},
    participants::Participants,
    region::Region,
};
use crate::{
    error::{Error, Kind, Result},
    fork::generation,
    interrupt::uninterrupted,
};

/// The offset of an array's elements: after the table of claims.
pub(super) const ELEMENTS: usize = DATA + CLAIMS * CLAIM;
// A guard stores the offset of its values in 16 bits.
const _: () = assert!(ELEMENTS < 1 << 16);

/// Returns the first element of a claim, and the one after its last. Call it under the lock.
fn range(region: &Region, place: usize) -> (u64, u64) {
    let word = |offset| region.memory().word64(place + offset).load(Ordering::Relaxed);
    (word(16), word(24))
}

fn set_range(region: &Region, place: usize, (start, end): (u64, u64)) {
    for (offset, value) in [(16, start), (24, end)] {
        region.memory().word64(place + offset).store(value, Ordering::Relaxed);
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Removes the claims of dead processes, which may have left their elements inconsistent. Returns the process of a
/// living claim that overlaps. Call it under the lock.
pub(super) fn living(region: &Region, elements: &Range<usize>) -> Option<u32> {
    let participants = Participants::claims(region.memory());
    let mut holder = None;
    for (index, mark) in participants.occupied() {
        let (start, end) = range(region, participants.offset(index));
        if !mark.is_alive() {
            poison(region, mark.pid);
            participants.clear(index);
        } else if start < number(elements.end) && number(elements.start) < end {
            holder = Some(mark.pid);
        }
    }
    holder
}

/// A part of an [`Array`](super::Array) that only its holder may read and change, until the claim is dropped.
///
/// In a forked child, dropping it does nothing, because the claim is still its parent's. A claim that is dropped by a
/// panic poisons the array, as a guard does.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let sums: coframe::sync::Array<f64> = coframe::sync::Array::open_or_create(&store, "sums", 4)?;
/// let mut part = sums.claim(1..3)?; // others may claim 0..1 and 3..4 meanwhile
/// part.fill(1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Claim<'a, T: Pod> {
    region: &'a Region,
    elements: Range<usize>,
    /// Its entry in the table.
    index: usize,
    generation: u32,
    /// Whether the thread was panicking already when it made the claim.
    in_panic: bool,
    values: PhantomData<&'a mut T>,
}

/// Claims elements that no other holder has.
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
    let mark = Incarnation::own();
    let participants = Participants::claims(region.memory());
    let full = || busy(format!("{CLAIMS} other claims, which are the most that an array can have"));
    let index = participants.free().ok_or_else(full)?;
    set_range(region, participants.offset(index), (number(elements.start), number(elements.end)));
    participants.set(index, mark);
    drop(held);
    let in_panic = thread::panicking();
    Ok(Claim { region, elements, index, generation: generation(), in_panic, values: PhantomData })
}

impl<T: Pod> Claim<'_, T> {
    /// Returns the range of the claimed elements.
    #[must_use]
    pub fn elements(&self) -> Range<usize> {
        self.elements.clone()
    }
}

impl<T: Pod> Deref for Claim<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let start = ELEMENTS + self.elements.start * size_of::<T>();
        // SAFETY: the entry in the table reserves these elements for this claim, and every process that keeps rule K4
        // respects it: no claim is given that overlaps, and no lock on the whole array while claims exist.
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
        // An entry that cannot be cleared now is cleared as that of a dead process, after the end of this one.
        uninterrupted(|| {
            if let Ok(Some(_held)) = guard::lock::<T>(self.region, ELEMENTS, None, true) {
                poison_in_panic(self.region.memory().lock(), self.in_panic);
                Participants::claims(self.region.memory()).clear(self.index);
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
