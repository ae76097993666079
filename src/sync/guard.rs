//! Values under a robust mutex, for `Mutex` and `Array`.
#![expect(unsafe_code, reason = "a held lock gives access to shared memory")]

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use bytemuck::Pod;

use super::{
    futex::{Deadline, LOOK_UP},
    memory::{Acquired, CellLock, Memory, RawMutex},
    region::Shared,
    robust::{PANICKED, UNKNOWN, poison_memory},
};
use crate::{
    error::{self, Error, Kind, Result},
    fork::{generation, process},
    interrupt,
};

/// Initialises the lock and the values of a new cell.
pub(super) fn initialise<T: Pod>(memory: &Memory, data: usize, values: &[T]) -> Result<()> {
    // SAFETY: the file is unnamed, so no other process can open it, and this thread has only this reference.
    let place = unsafe { memory.slice::<T>(data, values.len()) };
    if place.len() != values.len() {
        return Err(Error::invalid("the first values of a cell", "they do not fit into it"));
    }
    place.copy_from_slice(values);
    memory.lock().mutex().initialise()
}

/// A locked cell: exclusive access to its values, for this thread, until it is dropped.
///
/// In a forked child, dropping it does nothing: the parent still holds the lock.
///
/// Dropped by a panic, it poisons the values, as a guard of the standard library does.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let sums: coframe::sync::Array<i32> = coframe::sync::Array::open_or_create(&store, "sums", 3)?;
/// let mut sums = sums.lock()?; // derefs to a slice; the lock is released on drop
/// sums.sort();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Guard<'a, T: Pod> {
    pub(super) cell: &'a Shared,
    generation: u32,
    /// The offset of the values.
    data: u16,
    /// Whether the thread was panicking already when it took the lock.
    in_panic: bool,
    /// A pthread mutex belongs to a thread, so this is not `Send`.
    values: PhantomData<(*const (), &'a mut T)>,
}

/// Takes the lock. Returns `None` if another thread holds it until the time limit passes. If the last owner died while
/// it held the lock, this is an error, unless `even_poisoned` is set.
#[expect(
    clippy::inline_always,
    reason = "a call doubles what a free lock costs here; what is rare is in functions apart"
)]
#[inline(always)]
pub(super) fn lock<T: Pod>(
    cell: &Shared,
    data: usize,
    limit: Option<Duration>,
    even_poisoned: bool,
) -> Result<Option<Guard<'_, T>>> {
    cell.check_home()?;
    let lock = cell.memory().lock();
    let taken = if interrupt::is_possible() {
        lock_asking(cell, limit)?
    } else {
        match lock.mutex().take(limit) {
            // Apart from the other codes, whose result goes over memory between the atomics of the mutex.
            0 => true,
            code => held(cell, code)?,
        }
    };
    if !taken {
        return Ok(None);
    }
    if lock.poison().load(Ordering::Relaxed) != 0 && !even_poisoned {
        return Err(refuse(cell));
    }
    lock.owner().store(process(), Ordering::Relaxed);
    // No kind of cell has its values after `ELEMENTS`, which fits.
    let data = u16::try_from(data).unwrap_or_default();
    Ok(Some(Guard { cell, generation: generation(), data, in_panic: thread::panicking(), values: PhantomData }))
}

/// Releases a lock again, because the values are poisoned.
#[cold]
fn refuse(cell: &Shared) -> Error {
    let error = poisoned(cell);
    cell.memory().lock().mutex().unlock();
    error
}

/// Returns whether a lock was taken for which the C library returned something else than 0.
#[cold]
fn held(cell: &Shared, code: libc::c_int) -> Result<bool> {
    let lock = cell.memory().lock();
    settle(cell, lock.mutex().outcome(code, || poison(cell, lock.owner().load(Ordering::Relaxed)))?)
}

fn settle(cell: &Shared, acquired: Acquired) -> Result<bool> {
    match acquired {
        Acquired::Busy => Ok(false),
        Acquired::Own => Err(twice(cell)),
        Acquired::Clean | Acquired::AfterDeath => Ok(true),
    }
}

/// Takes the lock, and lets the caller end the wait. Returns whether it was taken.
#[cold]
fn lock_asking(cell: &Shared, limit: Option<Duration>) -> Result<bool> {
    let lock = cell.memory().lock();
    let owner = || lock.owner().load(Ordering::Relaxed);
    let what = || match owner() {
        0 => cell.label(),
        pid => format!("{}, which {} holds,", cell.label(), error::process(&pid)),
    };
    settle(cell, take_asking(lock.mutex(), limit, || poison(cell, owner()), what)?)
}

/// Takes a mutex as `RawMutex::lock` does, and lets the caller end the wait. `what` describes what the caller waits
/// for.
pub(super) fn take_asking(
    mutex: RawMutex<'_>,
    limit: Option<Duration>,
    on_death: impl Fn(),
    what: impl Fn() -> String,
) -> Result<Acquired> {
    // The mutex is usually free: then no clock is read.
    let acquired = mutex.lock(Some(Duration::ZERO), &on_death)?;
    if acquired != Acquired::Busy {
        return Ok(acquired);
    }
    if !interrupt::is_possible() {
        return mutex.lock(limit, on_death);
    }
    let deadline = Deadline::new(limit);
    while let Some(rest) = deadline.rest() {
        match mutex.lock(Some(rest.min(LOOK_UP)), &on_death)? {
            Acquired::Busy => interrupt::check(&what)?,
            acquired => return Ok(acquired),
        }
    }
    Ok(Acquired::Busy)
}

#[cold]
fn twice(cell: &Shared) -> Error {
    let what = format!("locking {} twice in one thread", cell.label());
    Error::invalid(what, "drop the first guard before")
}

/// Records that a process died and may have left values inconsistent.
pub(super) fn poison(cell: &Shared, dead: u32) {
    poison_memory(cell.memory(), dead);
}

/// Records a panic of this thread while it could change values, unless it was panicking before.
#[inline]
pub(super) fn poison_in_panic(lock: CellLock<'_>, was_in_panic: bool) {
    if !was_in_panic && thread::panicking() {
        poison_by_panic(lock);
    }
}

#[cold]
fn poison_by_panic(lock: CellLock<'_>) {
    lock.poison().store(PANICKED | process(), Ordering::Relaxed);
}

/// Returns the error of poisoned values.
#[cold]
pub(super) fn poisoned(cell: &Shared) -> Error {
    let cause = match cell.memory().lock().poison().load(Ordering::Relaxed) {
        UNKNOWN => "a process died while it held the lock".to_owned(),
        cause if cause & PANICKED != 0 => {
            format!("a thread of process {} panicked while it held the lock", cause & !PANICKED)
        }
        dead => format!("process {dead} died while it held the lock"),
    };
    Kind::Poisoned { what: cell.label(), cause }.into()
}

/// Returns whether an owner died or panicked while it held the lock, and no process has repaired the values since.
#[inline]
pub(super) fn is_poisoned(cell: &Shared) -> bool {
    cell.memory().lock().poison().load(Ordering::Relaxed) != 0
}

impl<T: Pod> Guard<'_, T> {
    /// Returns the value of a cell that has one value.
    pub(super) fn one(&self) -> &T {
        // SAFETY: as in `deref`; creating and opening checked that the cell has room for at least one value.
        unsafe { self.cell.memory().value(self.data.into()) }
    }

    pub(super) fn one_mut(&mut self) -> &mut T {
        // SAFETY: as in `one`; `&mut self` makes this the only reference of this guard.
        unsafe { self.cell.memory().value(self.data.into()) }
    }

    /// Returns whether an earlier owner died or panicked while it held the lock, so that the values may be
    /// inconsistent.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        is_poisoned(self.cell)
    }

    /// Marks the values as consistent again.
    pub fn clear_poison(&mut self) {
        self.cell.memory().lock().poison().store(0, Ordering::Relaxed);
    }
}

impl<T: Pod> Deref for Guard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: this guard holds the robust mutex that the format puts before these values (K2); all access to them
        // goes through it, in every process. (Claims on parts of an array are refused while it is held, and it while
        // there are claims: `array`.)
        unsafe { self.cell.memory().slice(self.data.into(), self.cell.count()) }
    }
}

impl<T: Pod> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes this the only slice of this guard.
        unsafe { self.cell.memory().slice(self.data.into(), self.cell.count()) }
    }
}

impl<T: Pod> Drop for Guard<'_, T> {
    #[expect(clippy::inline_always, reason = "a free lock is taken inline (DESIGN.md)")]
    #[inline(always)]
    fn drop(&mut self) {
        if self.generation == generation() {
            let lock = self.cell.memory().lock();
            poison_in_panic(lock, self.in_panic);
            lock.owner().store(0, Ordering::Relaxed);
            lock.mutex().unlock();
        }
    }
}

impl<T: Pod> fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("cell", self.cell.handle().name()).finish_non_exhaustive()
    }
}
