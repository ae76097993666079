//! Semaphores: a number of permits.

use std::time::Duration;

use super::{
    alive::Mark,
    futex::{changed, wait_until},
    guard,
    layout::{CHANGES, CellKind, DATA},
    memory::generation,
    participants::{self, Participants},
    region::{Region, Shape, taken},
};
use crate::{
    error::{Kind, Result},
    interrupt::{Looks, uninterrupted},
    store::Store,
};

/// A number of permits, each held by one holder at a time.
///
/// Permits of a process that died come back: a process that waits checks the holders twenty times a second. A holder that
/// cannot be checked keeps its permit. Holders must be in one pid namespace; in another one, opening is an error
/// ([`is_unsupported`](crate::Error::is_unsupported)).
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
#[derive(Clone, Debug)]
pub struct Semaphore {
    region: Region,
}

fn semaphore_shape(permits: usize) -> Shape {
    Shape { kind: CellKind::Semaphore, count: permits, size: 16, bytes: participants::bytes(permits), type_name: "()" }
}

impl Semaphore {
    /// Creates a semaphore with a number of permits. Errors as [`Counter::create`](super::Counter::create).
    pub fn create(store: &Store, name: &str, permits: usize) -> Result<Self> {
        let region =
            Region::create(store, name, semaphore_shape(permits), |memory| guard::initialise::<u8>(memory, DATA, &[]))?;
        region.map(|region| Self { region }).ok_or_else(|| taken(store, name))
    }

    /// Opens a semaphore. Errors as [`Counter::open`](super::Counter::open).
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, semaphore_shape).map(|region| Self { region })
    }

    /// How many permits there are in all.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.region.count()
    }

    fn participants(&self) -> Participants<'_> {
        Participants::marks(self.region.memory(), self.permits())
    }

    /// How many permits are free; those of dead processes count.
    pub fn available(&self) -> Result<usize> {
        let _held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        self.take_back();
        Ok(self.permits() - self.participants().taken().count())
    }

    /// Takes the permits of dead processes back. Under the lock.
    fn take_back(&self) {
        let participants = self.participants();
        for (index, mark) in participants.taken() {
            if !mark.is_alive() {
                participants.clear(index);
            }
        }
    }

    fn try_take(&self) -> Result<Option<Permit<'_>>> {
        let mark = Mark::own();
        let _held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        let participants = self.participants();
        let free = participants.free().or_else(|| {
            self.take_back();
            participants.free()
        });
        let Some(index) = free else { return Ok(None) };
        participants.set(index, mark);
        Ok(Some(Permit { semaphore: self, index, generation: generation() }))
    }

    /// Takes a permit; blocks until one is free.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        let busy = || Kind::Busy { what: self.region.label(), holder: "its holders".to_owned() };
        self.acquire_within(None)?.ok_or_else(|| busy().into())
    }

    /// Takes a permit if one is free; `None` otherwise.
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        self.try_acquire_for(Duration::ZERO)
    }

    /// Takes a permit if one becomes free within the timeout; `None` otherwise.
    pub fn try_acquire_for(&self, limit: Duration) -> Result<Option<Permit<'_>>> {
        self.acquire_within(Some(limit))
    }

    fn acquire_within(&self, limit: Option<Duration>) -> Result<Option<Permit<'_>>> {
        let (mut outcome, mut looks) = (Ok(None), Looks::new());
        wait_until(self.region.memory().word32(CHANGES), limit, || {
            outcome = self.try_take();
            // A caller that has its permit is not asked any more.
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

/// A permit of a [`Semaphore`], given back when it is dropped; in a forked child that does nothing.
#[must_use = "a permit is given back when it is dropped"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    index: usize,
    generation: u32,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.generation != generation() {
            return;
        }
        let region = &self.semaphore.region;
        // What cannot be given back now is found dead with this process.
        if let Ok(Some(held)) = uninterrupted(|| guard::lock::<u8>(region, DATA, None, true)) {
            self.semaphore.participants().clear(self.index);
            drop(held);
            changed(region.memory());
        }
    }
}
