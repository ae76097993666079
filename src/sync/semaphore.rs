//! Semaphores: a number of permits.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    alive::Incarnation,
    futex::{changed, wait_until},
    guard,
    layout::{CHANGES, CellKind, DATA},
    participants::{self, Participants},
    region::{CellLayout, Region, name_taken},
};
use crate::{
    error::{Kind, Result},
    fork::generation,
    interrupt::{Looks, uninterrupted},
    store::Store,
};

/// The number of added permits that no process holds.
const ADDED: usize = DATA + 8;

/// A number of permits, each held by one holder at a time.
///
/// The permits of a process that died are returned: a process that waits checks the holders twenty times a second. A
/// holder that cannot be checked keeps its permit. Holders must be in one pid namespace; in another one, opening is an
/// error ([`is_unsupported`](crate::Error::is_unsupported)).
///
/// ```
/// use coframe::{Store, sync::Semaphore};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let licences = Semaphore::create(&store, "licences", 2)?;
/// let (_one, two) = (licences.acquire()?, licences.acquire()?);
/// assert!(licences.try_acquire()?.is_none());
/// drop(two);
/// assert_eq!(licences.available()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With 0 permits it is a signal: each [`add_permit`](Self::add_permit) lets one `acquire` through, in any process.
///
/// ```
/// # use coframe::{Store, sync::Semaphore};
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = Store::open_at(dir.path().join("store"))?;
/// let arrived = Semaphore::create(&store, "arrived", 0)?;
/// arrived.add_permit()?;
/// arrived.acquire()?.forget();
/// assert_eq!(arrived.available()?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    region: Region,
}

fn semaphore_shape(permits: usize) -> CellLayout {
    CellLayout {
        kind: CellKind::Semaphore,
        count: permits,
        size: 16,
        bytes: participants::bytes(permits),
        type_name: "()",
    }
}

impl Semaphore {
    /// Creates a semaphore with a number of permits. Errors as [`Counter::create`](super::Counter::create).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let slots = coframe::sync::Semaphore::create(&store, "slots", 2)?;
    /// assert_eq!((slots.permits(), slots.available()?), (2, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(store: &Store, name: &str, permits: usize) -> Result<Self> {
        let region =
            Region::create(store, name, semaphore_shape(permits), |memory| guard::initialise::<u8>(memory, DATA, &[]))?;
        region.map(|region| Self { region }).ok_or_else(|| name_taken(store, name))
    }

    /// Opens a semaphore. Errors as [`Counter::open`](super::Counter::open).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Semaphore::create(&store, "slots", 2)?;
    /// let slots = coframe::sync::Semaphore::open(&store, "slots")?; // in another process
    /// assert_eq!(slots.permits(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, semaphore_shape).map(|region| Self { region })
    }

    /// Returns the number of permits with which it was created.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.region.count()
    }

    fn participants(&self) -> Participants<'_> {
        Participants::marks(self.region.memory(), self.permits())
    }

    /// Returns the number of free permits, including those of dead processes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let slots = coframe::sync::Semaphore::create(&store, "slots", 2)?;
    /// let permit = slots.acquire()?;
    /// assert_eq!(slots.available()?, 1);
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn available(&self) -> Result<usize> {
        let _held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        self.take_back();
        let added = usize::try_from(self.added().load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        Ok((self.permits() - self.participants().occupied().count()).saturating_add(added))
    }

    /// Releases a permit that was [forgotten](Permit::forget): one of this process, otherwise one of another process.
    /// Returns `false` if all permits are free.
    pub fn release(&self) -> Result<bool> {
        let held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        let (participants, own) = (self.participants(), Incarnation::own());
        let taken = participants.occupied().find(|(_, mark)| *mark == own).or_else(|| participants.occupied().next());
        if let Some((index, _)) = taken {
            participants.clear(index);
        }
        drop(held);
        if taken.is_some() {
            changed(self.region.memory());
        }
        Ok(taken.is_some())
    }

    /// Adds a permit that belongs to no process: it can be taken once, and is not returned when its taker dies.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let signal = coframe::sync::Semaphore::create(&store, "signal", 0)?;
    /// signal.add_permit()?; // lets one `acquire` through
    /// signal.acquire()?.forget();
    /// assert_eq!(signal.available()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_permit(&self) -> Result<()> {
        let held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        self.added().fetch_add(1, Ordering::Relaxed);
        drop(held);
        changed(self.region.memory());
        Ok(())
    }

    /// Returns the number of added permits, which is written under the lock.
    fn added(&self) -> &AtomicU64 {
        self.region.memory().word64(ADDED)
    }

    /// Frees the permits of dead processes. Call it under the lock.
    fn take_back(&self) {
        let participants = self.participants();
        for (index, mark) in participants.occupied() {
            if !mark.is_alive() {
                participants.clear(index);
            }
        }
    }

    fn try_take(&self) -> Result<Option<Permit<'_>>> {
        let mark = Incarnation::own();
        let _held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        let participants = self.participants();
        let free = participants.free().or_else(|| {
            self.take_back();
            participants.free()
        });
        let entry = if let Some(index) = free {
            let number = participants.word(index).fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            participants.set(index, mark);
            Some(Entry { index, mark, number })
        } else if self.added().load(Ordering::Relaxed) > 0 {
            self.added().fetch_sub(1, Ordering::Relaxed);
            None
        } else {
            return Ok(None);
        };
        Ok(Some(Permit { semaphore: self, entry, generation: generation() }))
    }

    /// Takes a permit; blocks until one is free.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let slots = coframe::sync::Semaphore::create(&store, "slots", 2)?;
    /// let permit = slots.acquire()?;
    /// assert_eq!(slots.available()?, 1);
    /// drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(&self) -> Result<Permit<'_>> {
        let busy = || Kind::Busy { what: self.region.label(), holder: "its holders".to_owned() };
        self.acquire_within(None)?.ok_or_else(|| busy().into())
    }

    /// Takes a permit if one is free; returns `None` otherwise.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let slots = coframe::sync::Semaphore::create(&store, "slots", 1)?;
    /// let permit = slots.try_acquire()?;
    /// assert!(permit.is_some() && slots.try_acquire()?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        self.try_acquire_for(Duration::ZERO)
    }

    /// Takes a permit if one becomes free within the timeout; returns `None` otherwise.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let slots = coframe::sync::Semaphore::create(&store, "slots", 1)?;
    /// let permit = slots.acquire()?;
    /// assert!(slots.try_acquire_for(std::time::Duration::from_millis(1))?.is_none());
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_acquire_for(&self, limit: Duration) -> Result<Option<Permit<'_>>> {
        self.acquire_within(Some(limit))
    }

    fn acquire_within(&self, limit: Option<Duration>) -> Result<Option<Permit<'_>>> {
        let (mut outcome, mut looks) = (Ok(None), Looks::new());
        wait_until(self.region.memory().word32(CHANGES), limit, || {
            outcome = self.try_take();
            // A caller that has its permit is not interrupted any more.
            if matches!(outcome, Ok(None))
                && let Err(error) = looks.check(|| format!("a permit of {}", self.region.label()))
            {
                outcome = Err(error);
            }
            !matches!(outcome, Ok(None))
        });
        outcome
    }
}

super::handles!(Semaphore);

/// A permit of a [`Semaphore`], returned when it is dropped. In a forked child, dropping it does nothing.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let slots = coframe::sync::Semaphore::create(&store, "slots", 1)?;
/// {
///     let _permit = slots.acquire()?;
///     assert_eq!(slots.available()?, 0);
/// } // released here, or when this process dies
/// assert_eq!(slots.available()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a permit is returned when it is dropped"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    /// `None` for an added permit, which belongs to no process.
    entry: Option<Entry>,
    generation: u32,
}

/// An entry of the table, and how often it was taken: [`Semaphore::release`] may have returned it meanwhile.
#[derive(Debug)]
struct Entry {
    index: usize,
    mark: Incarnation,
    number: u32,
}

impl Permit<'_> {
    /// Keeps the permit taken until [`Semaphore::release`], or until this process ends.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let slots = coframe::sync::Semaphore::create(&store, "slots", 1)?;
    /// slots.acquire()?.forget();
    /// assert_eq!(slots.available()?, 0);
    /// slots.release()?;
    /// assert_eq!(slots.available()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forget(mut self) {
        self.entry = None;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take().filter(|_| self.generation == generation()) else { return };
        let region = &self.semaphore.region;
        // A permit that cannot be returned now is returned as that of a dead process, after the end of this one.
        if let Ok(Some(held)) = uninterrupted(|| guard::lock::<u8>(region, DATA, None, true)) {
            let participants = self.semaphore.participants();
            let is_own = participants.get(entry.index) == Some(entry.mark);
            if is_own && participants.word(entry.index).load(Ordering::Relaxed) == entry.number {
                participants.clear(entry.index);
            }
            drop(held);
            changed(region.memory());
        }
    }
}
