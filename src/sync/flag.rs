//! Flags: switches without a lock.

use std::sync::atomic::Ordering;

use super::{
    layout::{BODY, CellKind},
    region::{CellLayout, Region, name_taken},
};
use crate::{error::Result, store::Store};

/// A switch that any process can set and read, without a lock. To wait for it, use an [`Event`](super::Event).
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// use coframe::sync::Flag;
/// let stop = Flag::open_or_create(&store, "stop")?;
/// assert!(!stop.swap(true)); // false before
/// assert!(stop.get());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Flag {
    region: Region,
}

impl Flag {
    /// Creates a flag that is not set.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let stop = coframe::sync::Flag::create(&store, "stop")?;
    /// assert!(!stop.get());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) if the name exists.
    pub fn create(store: &Store, name: &str) -> Result<Self> {
        let region = Region::create(store, name, CellLayout::word::<bool>(CellKind::Flag), |_| Ok(()))?;
        region.map(|region| Self { region }).ok_or_else(|| name_taken(store, name))
    }

    /// Opens a flag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Flag::create(&store, "stop")?.set(true);
    /// let stop = coframe::sync::Flag::open(&store, "stop")?; // in another process
    /// assert!(stop.get());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_not_found`](crate::Error::is_not_found) if the name does not exist, and
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) if it is a cell of another kind.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, |_| CellLayout::word::<bool>(CellKind::Flag)).map(|region| Self { region })
    }

    /// Opens a flag, or creates it if it does not exist.
    pub fn open_or_create(store: &Store, name: &str) -> Result<Self> {
        let layout = CellLayout::word::<bool>(CellKind::Flag);
        Region::open_or_create(store, name, |_| layout, layout, |_| Ok(())).map(|region| Self { region })
    }

    /// Returns whether the flag is set.
    #[must_use]
    pub fn get(&self) -> bool {
        // Pairs with the releases of `set` and `swap`.
        self.region.memory().word32(BODY).load(Ordering::Acquire) != 0
    }

    /// Sets or clears the flag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stop = coframe::sync::Flag::create(&store, "stop")?;
    /// stop.set(true);
    /// assert!(stop.get());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, on: bool) {
        // Acquired by `get`.
        self.region.memory().word32(BODY).store(on.into(), Ordering::Release);
    }

    /// Sets or clears the flag, and returns its previous value. If several processes set a flag, one of them gets
    /// `false`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let claimed = coframe::sync::Flag::create(&store, "claimed")?;
    /// let is_first = !claimed.swap(true);
    /// assert!(is_first);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn swap(&self, on: bool) -> bool {
        // Pairs with the changes before it; acquired by `get`.
        self.region.memory().word32(BODY).swap(on.into(), Ordering::AcqRel) != 0
    }
}

super::handles!(Flag);
