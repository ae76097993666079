//! Waiting for each other: events, barriers, semaphores.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use super::{
    alive::Mark,
    futex::{wait_until, wake_all},
    guard::{self, DATA},
    memory::generation,
    region::{BODY, CellKind, Region, Shape, taken},
    table::Table,
};
use crate::{
    error::{Error, Kind, Result},
    interrupt::{Looks, uninterrupted},
    store::Store,
};

/// Something that has happened, or not yet; any process sets it, any waits for it. No death can harm it.
///
/// ```
/// use coframe::{Store, cell::Event};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::at(dir.path().join("store"))?;
/// let ready = Event::create(&store, "ready")?;
/// assert!(!ready.wait_timeout(Duration::from_millis(1)));
/// ready.set();
/// ready.wait();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    region: Region,
}

fn event_shape() -> Shape {
    Shape { kind: CellKind::Event, count: 1, size: 4, bytes: BODY + 64, type_name: "()" }
}

impl Event {
    /// Makes an event that has not happened. Errors as [`Counter::create`](super::Counter::create).
    pub fn create(store: &Store, name: &str) -> Result<Self> {
        let region = Region::create(store, name, event_shape(), |_| Ok(()))?;
        region.map(|region| Self { region }).ok_or_else(|| taken(store, name))
    }

    /// Opens an event. Errors as [`Counter::open`](super::Counter::open).
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, |_| event_shape()).map(|region| Self { region })
    }

    /// Opens an event, or makes it if there is none.
    pub fn open_or_create(store: &Store, name: &str) -> Result<Self> {
        let region = Region::open_or_create(store, name, |_| event_shape(), event_shape(), |_| Ok(()))?;
        Ok(Self { region })
    }

    /// Says that it has happened, and wakes all that wait.
    pub fn set(&self) {
        let word = self.region.memory().word32(BODY);
        word.store(1, Ordering::Release);
        wake_all(word);
    }

    /// Makes it as if it had not happened.
    pub fn clear(&self) {
        self.region.memory().word32(BODY).store(0, Ordering::Release);
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.region.memory().word32(BODY).load(Ordering::Acquire) != 0
    }

    /// Blocks until it has happened.
    pub fn wait(&self) {
        wait_until(self.region.memory().word32(BODY), None, || self.is_set());
    }

    /// Blocks until it has happened, or the time is over; says whether it has.
    #[must_use]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        wait_until(self.region.memory().word32(BODY), Some(limit), || self.is_set())
    }
}

super::handles!(Event);

/// Counts up when something has changed that waiters want to know; they wait on it.
const CHANGES: usize = DATA;
const BROKEN: usize = DATA + 4;

/// How long one waits for the others at a barrier before one sleeps.
const MOMENT: Duration = Duration::from_micros(20);

fn changed(region: &Region) {
    let word = region.memory().word32(CHANGES);
    word.fetch_add(1, Ordering::Release);
    wake_all(word);
}

/// A point that a number of participants reach together.
///
/// A participant that dies while it waits breaks the barrier, as does one whose time is over: everybody gets an error
/// ([`is_broken`](Error::is_broken)) until [`reset`](Self::reset). One that dies before it comes cannot be known: take a
/// time limit. Participants must be in one pid namespace.
#[derive(Clone, Debug)]
pub struct Barrier {
    region: Region,
}

fn barrier_shape(parties: usize) -> Shape {
    Shape { kind: CellKind::Barrier, count: parties, size: 16, bytes: Table::bytes(parties), type_name: "()" }
}

impl Barrier {
    /// Makes a barrier for so many participants, threads or processes. Errors as
    /// [`Counter::create`](super::Counter::create).
    pub fn create(store: &Store, name: &str, parties: usize) -> Result<Self> {
        let region = Region::create(store, name, barrier_shape(parties.max(1)), |memory| {
            guard::initialise::<u8>(memory, DATA, &[])
        })?;
        region.map(|region| Self { region }).ok_or_else(|| taken(store, name))
    }

    /// Opens a barrier. Errors as [`Counter::open`](super::Counter::open).
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, barrier_shape).map(|region| Self { region })
    }

    /// How many participants it waits for.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.region.count()
    }

    fn table(&self) -> Table<'_> {
        Table { region: &self.region, len: self.parties() }
    }

    /// Blocks until all participants are here. True for the one that came last.
    pub fn wait(&self) -> Result<bool> {
        self.wait_within(None)
    }

    /// Blocks until all participants are here, or the time is over, which breaks the barrier for all.
    pub fn wait_timeout(&self, limit: Duration) -> Result<bool> {
        self.wait_within(Some(limit))
    }

    fn broken(&self) -> Error {
        Kind::Broken { what: self.region.label(), why: "somebody died or came too late".to_owned() }.into()
    }

    /// Runs under the lock of the barrier's own table.
    fn locked<R>(&self, call: impl FnOnce() -> R) -> Result<R> {
        // Whoever dies inside leaves whole entries, which are looked at one by one: nothing is half-changed.
        let held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        let result = call();
        drop(held);
        Ok(result)
    }

    fn is_broken(&self) -> bool {
        self.region.memory().word32(BROKEN).load(Ordering::Acquire) != 0
    }

    fn break_it(&self) {
        self.region.memory().word32(BROKEN).store(1, Ordering::Release);
        (0..self.parties()).for_each(|index| self.table().set(index, None));
        changed(&self.region);
    }

    /// Whether somebody who waits here has died. A living process with a dead thread looks alive: threads take care of each
    /// other.
    fn someone_died(&self) -> bool {
        let own = Mark::own();
        let mut alive = own;
        self.table().taken().any(|(_, mark)| {
            // Threads of one process are looked at once, and those of this one not at all.
            if mark == own || mark == alive {
                return false;
            }
            alive = mark;
            !mark.is_alive()
        })
    }

    fn wait_within(&self, limit: Option<Duration>) -> Result<bool> {
        let memory = self.region.memory();
        let word = memory.word32(CHANGES);
        let (seen, is_last) = self.locked(|| {
            let (table, seen) = (self.table(), word.load(Ordering::Acquire));
            if self.is_broken() {
                return Err(self.broken());
            }
            if let Some(index) = table.free() {
                table.set(index, Some(Mark::own()));
            }
            let is_last = table.free().is_none();
            if is_last && self.someone_died() {
                self.break_it();
                return Err(self.broken());
            }
            if is_last {
                (0..self.parties()).for_each(|index| table.set(index, None));
                changed(&self.region);
            }
            Ok((seen, is_last))
        })??;
        if is_last {
            return Ok(true);
        }
        // The others may be here in a moment: that is shorter than to fall asleep and be woken.
        let start = Instant::now();
        while word.load(Ordering::Acquire) == seen && start.elapsed() < MOMENT {
            thread::yield_now();
        }
        let (mut looks, mut interrupted) = (Looks::new(), None);
        let arrived = || {
            if word.load(Ordering::Acquire) != seen {
                return true;
            }
            if self.someone_died() {
                // Looked at again: the table may be that of the next round by now.
                let is_so = || word.load(Ordering::Acquire) == seen && self.someone_died();
                let _ = self.locked(|| is_so().then(|| self.break_it()));
            }
            interrupted = looks.check(|| format!("the others at {}", self.region.label())).err();
            interrupted.is_some() || word.load(Ordering::Acquire) != seen
        };
        if !wait_until(word, limit, arrived) || interrupted.is_some() {
            // It may have opened just now.
            let too_early = || word.load(Ordering::Acquire) == seen;
            let broke = uninterrupted(|| self.locked(|| too_early().then(|| self.break_it()).is_some()))?;
            if let (true, Some(error)) = (broke, interrupted) {
                return Err(error);
            }
        }
        if self.is_broken() { Err(self.broken()) } else { Ok(false) }
    }

    /// Makes a broken barrier whole again, for the next round; whoever waits gets an error.
    pub fn reset(&self) -> Result<()> {
        self.locked(|| {
            if self.table().taken().next().is_some() {
                self.break_it();
            }
            self.region.memory().word32(BROKEN).store(0, Ordering::Release);
        })
    }
}

super::handles!(Barrier);

/// Permits, of which a number are out at once.
///
/// Permits of a process that died come back by themselves: whoever waits looks twenty times a second. Holders must be in
/// one pid namespace.
///
/// ```
/// use coframe::{Store, cell::Semaphore};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::at(dir.path().join("store"))?;
/// let licences = Semaphore::create(&store, "licences", 2)?;
/// let (_one, two) = (licences.acquire()?, licences.acquire()?);
/// assert!(licences.acquire_timeout(Duration::ZERO)?.is_none());
/// drop(two);
/// assert_eq!(licences.available()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    region: Region,
}

fn semaphore_shape(permits: usize) -> Shape {
    Shape { kind: CellKind::Semaphore, count: permits, size: 16, bytes: Table::bytes(permits), type_name: "()" }
}

impl Semaphore {
    /// Makes a semaphore with so many permits. Errors as [`Counter::create`](super::Counter::create).
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

    fn table(&self) -> Table<'_> {
        Table { region: &self.region, len: self.permits() }
    }

    /// How many permits nobody has; those of dead processes count.
    pub fn available(&self) -> Result<usize> {
        let _held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        self.take_back();
        Ok(self.permits() - self.table().taken().count())
    }

    /// Takes the permits of dead processes back. Under the lock.
    fn take_back(&self) {
        let table = self.table();
        for (index, mark) in table.taken() {
            if !mark.is_alive() {
                table.set(index, None);
            }
        }
    }

    fn try_take(&self) -> Result<Option<Permit<'_>>> {
        let _held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        let table = self.table();
        let free = table.free().or_else(|| {
            self.take_back();
            table.free()
        });
        let Some(index) = free else { return Ok(None) };
        table.set(index, Some(Mark::own()));
        Ok(Some(Permit { semaphore: self, index, generation: generation() }))
    }

    /// Takes a permit; blocks until there is one.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        let busy = || Kind::Busy { what: self.region.label(), holder: "its holders".to_owned() };
        self.acquire_within(None)?.ok_or_else(|| busy().into())
    }

    /// Takes a permit if there is one in time; `None` otherwise. Zero does not block.
    pub fn acquire_timeout(&self, limit: Duration) -> Result<Option<Permit<'_>>> {
        self.acquire_within(Some(limit))
    }

    fn acquire_within(&self, limit: Option<Duration>) -> Result<Option<Permit<'_>>> {
        let (mut outcome, mut looks) = (Ok(None), Looks::new());
        wait_until(self.region.memory().word32(CHANGES), limit, || {
            outcome = self.try_take();
            // Whoever has a permit is not asked any more.
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
            self.semaphore.table().set(self.index, None);
            drop(held);
            changed(region);
        }
    }
}
