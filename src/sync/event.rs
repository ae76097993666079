//! Events: flags that processes wait for.

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    futex::{wait_until, wake_all},
    layout::{BODY, CellKind},
    region::{CellLayout, Region, name_taken},
};
use crate::{error::Result, interrupt::Looks, store::Store};

/// A flag that processes can wait for, like Python's `threading.Event`. It holds no lock, so no crash can leave it
/// inconsistent.
///
/// ```
/// use coframe::{Store, sync::Event};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let ready = Event::create(&store, "ready")?;
/// assert!(!ready.wait_timeout(Duration::from_millis(1))?);
/// ready.set();
/// ready.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    region: Region,
}

/// The number of pulses, a futex.
const PULSES: usize = BODY + 4;

fn event_shape() -> CellLayout {
    CellLayout { kind: CellKind::Event, count: 1, size: 4, bytes: BODY + 64, type_name: "()" }
}

impl Event {
    /// Creates an event that is not set. Errors as [`Counter::create`](super::Counter::create).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let done = coframe::sync::Event::create(&store, "done")?;
    /// assert!(!done.is_set());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(store: &Store, name: &str) -> Result<Self> {
        let region = Region::create(store, name, event_shape(), |_| Ok(()))?;
        region.map(|region| Self { region }).ok_or_else(|| name_taken(store, name))
    }

    /// Opens an event. Errors as [`Counter::open`](super::Counter::open).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Event::create(&store, "done")?.set();
    /// let done = coframe::sync::Event::open(&store, "done")?; // in another process
    /// assert!(done.is_set());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, |_| event_shape()).map(|region| Self { region })
    }

    /// Opens an event, or creates it if it does not exist.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let done = coframe::sync::Event::open_or_create(&store, "done")?;
    /// done.set();
    /// done.wait()?; // returns at once
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_or_create(store: &Store, name: &str) -> Result<Self> {
        let region = Region::open_or_create(store, name, |_| event_shape(), event_shape(), |_| Ok(()))?;
        Ok(Self { region })
    }

    /// Sets the event, and wakes every process that waits for it.
    pub fn set(&self) {
        let word = self.region.memory().word32(BODY);
        // Acquired by `is_set`, and by `wait_until` in those that wait.
        word.store(1, Ordering::Release);
        wake_all(word);
    }

    /// Clears the event.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let done = coframe::sync::Event::open_or_create(&store, "done")?;
    /// done.set();
    /// done.clear();
    /// assert!(!done.is_set());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self) {
        // Acquired by `is_set`.
        self.region.memory().word32(BODY).store(0, Ordering::Release);
    }

    /// Returns whether the event is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        // Pairs with the releases of `set` and `clear`.
        self.region.memory().word32(BODY).load(Ordering::Acquire) != 0
    }

    /// Wakes every process that waits for a [pulse](Self::wait_pulse). Whether the event is set does not change.
    ///
    /// With a [`Mutex`](super::Mutex) this is a condition variable: read [`pulses`](Self::pulses) under the lock, release it,
    /// and wait. No pulse is missed, and none is lost with a process that is killed.
    ///
    /// ```
    /// use coframe::{Store, sync::Event};
    /// use std::time::Duration;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let store = Store::open_at(dir.path().join("store"))?;
    /// let changed = Event::create(&store, "changed")?;
    /// let before = changed.pulses();
    /// changed.pulse(); // another process, between the two calls
    /// assert!(changed.wait_pulse(before, Some(Duration::ZERO))?);
    /// assert!(!changed.is_set());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pulse(&self) {
        let word = self.region.memory().word32(PULSES);
        // Acquired by `pulses`, and by `wait_until` in those that wait.
        word.fetch_add(1, Ordering::Release);
        wake_all(word);
    }

    /// Returns the number of pulses so far. It wraps around.
    #[must_use]
    pub fn pulses(&self) -> u32 {
        // Pairs with the release of `pulse`.
        self.region.memory().word32(PULSES).load(Ordering::Acquire)
    }

    /// Blocks until the number of pulses is not `since`, or until the time limit passes; returns whether there was a
    /// pulse. Errors as [`wait`](Self::wait).
    pub fn wait_pulse(&self, since: u32, limit: Option<Duration>) -> Result<bool> {
        self.blocked(PULSES, limit, "to pulse", || self.pulses() != since)
    }

    /// Blocks until the event is set.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let done = coframe::sync::Event::create(&store, "done")?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| done.set()); // another process, as a rule
    ///     done.wait()
    /// })?;
    /// assert!(done.is_set());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_interrupted`](crate::Error::is_interrupted) if the caller ends the wait
    /// ([`interruptible`](crate::interruptible)).
    pub fn wait(&self) -> Result<()> {
        self.wait_within(None).map(drop)
    }

    /// Blocks until the event is set or the time limit passes; returns whether it is set. Errors as
    /// [`wait`](Self::wait).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let done = coframe::sync::Event::open_or_create(&store, "done")?;
    /// assert!(!done.wait_timeout(std::time::Duration::from_millis(1))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> Result<bool> {
        self.wait_within(Some(limit))
    }

    fn wait_within(&self, limit: Option<Duration>) -> Result<bool> {
        self.blocked(BODY, limit, "to be set", || self.is_set())
    }

    /// Blocks until `is_done`, which is checked again when the word at `place` changes, or until the time limit passes.
    fn blocked(&self, place: usize, limit: Option<Duration>, what: &str, is_done: impl Fn() -> bool) -> Result<bool> {
        let (mut looks, mut asked) = (Looks::new(), Ok(()));
        let is_over = || {
            if !is_done() {
                asked = looks.check(|| format!("{} {what}", self.region.label()));
            }
            is_done() || asked.is_err()
        };
        wait_until(self.region.memory().word32(place), limit, is_over);
        if is_done() {
            return Ok(true);
        }
        asked.map(|()| false)
    }
}

super::handles!(Event);
