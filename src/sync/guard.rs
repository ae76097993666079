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
    layout::{BODY, OWNER, POISON},
    memory::{Acquired, Memory, RawMutex},
    region::Region,
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
    memory.mutex(BODY).initialise()
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
    pub(super) region: &'a Region,
    /// The offset of the values.
    data: usize,
    generation: u32,
    /// Whether the thread was panicking already when it took the lock.
    in_panic: bool,
    /// A pthread mutex belongs to a thread, so this is not `Send`.
    values: PhantomData<(*const (), &'a mut T)>,
}

/// Takes the lock. Returns `None` if another thread holds it until the time limit passes. If the last owner died while
/// it held the lock, this is an error, unless `even_poisoned` is set.
#[expect(
    clippy::inline_always,
    reason = "as a call it takes 30 ns instead of 17: its result goes over memory between atomics"
)]
#[inline(always)]
pub(super) fn lock<T: Pod>(
    region: &Region,
    data: usize,
    limit: Option<Duration>,
    even_poisoned: bool,
) -> Result<Option<Guard<'_, T>>> {
    region.check_home()?;
    let memory = region.memory();
    let acquired = if interrupt::is_possible() {
        lock_asking(region, limit)
    } else {
        memory.mutex(BODY).lock(limit, || poison(region, memory.word32(OWNER).load(Ordering::Relaxed)))
    };
    match acquired? {
        Acquired::Busy => return Ok(None),
        Acquired::Own => return Err(twice(region)),
        Acquired::Clean | Acquired::AfterDeath => {}
    }
    let guard = Guard { region, data, generation: generation(), in_panic: thread::panicking(), values: PhantomData };
    if is_poisoned(region) && !even_poisoned {
        return Err(poisoned(region));
    }
    memory.word32(OWNER).store(process(), Ordering::Relaxed);
    Ok(Some(guard))
}

/// Takes the lock, and lets the caller end the wait. A separate function keeps the path to a free lock short.
#[cold]
fn lock_asking(region: &Region, limit: Option<Duration>) -> Result<Acquired> {
    let owner = || region.memory().word32(OWNER).load(Ordering::Relaxed);
    let what = || match owner() {
        0 => region.label(),
        pid => format!("{}, which {} holds,", region.label(), error::process(&pid)),
    };
    take_asking(region.memory().mutex(BODY), limit, || poison(region, owner()), what)
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
fn twice(region: &Region) -> Error {
    let what = format!("locking {} twice in one thread", region.label());
    Error::invalid(what, "drop the first guard before")
}

/// Records that a process died and may have left values inconsistent.
pub(super) fn poison(region: &Region, dead: u32) {
    poison_memory(region.memory(), dead);
}

/// Records a panic of this thread while it could change values, unless it was panicking before.
pub(super) fn poison_in_panic(region: &Region, was_in_panic: bool) {
    if !was_in_panic && thread::panicking() {
        region.memory().word32(POISON).store(PANICKED | process(), Ordering::Relaxed);
    }
}

/// Returns the error of poisoned values.
#[cold]
pub(super) fn poisoned(region: &Region) -> Error {
    let cause = match region.memory().word32(POISON).load(Ordering::Relaxed) {
        UNKNOWN => "a process died while it held the lock".to_owned(),
        cause if cause & PANICKED != 0 => {
            format!("a thread of process {} panicked while it held the lock", cause & !PANICKED)
        }
        dead => format!("process {dead} died while it held the lock"),
    };
    Kind::Poisoned { what: region.label(), cause }.into()
}

/// Returns whether an owner died or panicked while it held the lock, and no process has repaired the values since.
#[inline]
pub(super) fn is_poisoned(region: &Region) -> bool {
    region.memory().word32(POISON).load(Ordering::Relaxed) != 0
}

impl<T: Pod> Guard<'_, T> {
    /// Returns the value of a cell that has one value.
    pub(super) fn one(&self) -> &T {
        // SAFETY: as in `deref`; creating and opening checked that the cell has room for at least one value.
        unsafe { self.region.memory().value(self.data) }
    }

    pub(super) fn one_mut(&mut self) -> &mut T {
        // SAFETY: as in `one`; `&mut self` makes this the only reference of this guard.
        unsafe { self.region.memory().value(self.data) }
    }

    /// Returns whether an earlier owner died or panicked while it held the lock, so that the values may be
    /// inconsistent.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        is_poisoned(self.region)
    }

    /// Marks the values as consistent again.
    pub fn clear_poison(&mut self) {
        self.region.memory().word32(POISON).store(0, Ordering::Relaxed);
    }
}

impl<T: Pod> Deref for Guard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: this guard holds the robust mutex that the format puts before these values (K2); all access to them
        // goes through it, in every process. (Claims on parts of an array are refused while it is held, and it while
        // there are claims: `array`.)
        unsafe { self.region.memory().slice(self.data, self.region.count()) }
    }
}

impl<T: Pod> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes this the only slice of this guard.
        unsafe { self.region.memory().slice(self.data, self.region.count()) }
    }
}

impl<T: Pod> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        if self.generation == generation() {
            let memory = self.region.memory();
            poison_in_panic(self.region, self.in_panic);
            memory.word32(OWNER).store(0, Ordering::Relaxed);
            memory.mutex(BODY).unlock();
        }
    }
}

impl<T: Pod> fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("cell", self.region.handle().name()).finish_non_exhaustive()
    }
}
