//! Counters: numbers that processes add to without a lock.

use std::{marker::PhantomData, sync::atomic::Ordering};

use super::{
    layout::{BODY, CellKind},
    region::{CellLayout, Region, name_taken},
};
use crate::{error::Result, store::Store};

/// The integer types of a [`Counter`].
pub trait Count: Copy + sealed::Count {}
impl Count for i64 {}
impl Count for u64 {}

mod sealed {
    pub trait Count {
        fn to_bits(self) -> u64;
        fn from_bits(bits: u64) -> Self;
    }
    impl Count for u64 {
        fn to_bits(self) -> u64 {
            self
        }
        fn from_bits(bits: u64) -> Self {
            bits
        }
    }
    impl Count for i64 {
        fn to_bits(self) -> u64 {
            self.cast_unsigned()
        }
        fn from_bits(bits: u64) -> Self {
            bits.cast_signed()
        }
    }
}

/// A number that any process can add to. It takes no lock, so no crash leaves it inconsistent.
///
/// Adding takes as long as on an atomic in private memory. The number wraps around.
///
/// ```
/// use coframe::{Store, sync::Counter};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let total: Counter = Counter::create(&store, "total")?;
/// let same: Counter = Counter::open(&store, "total")?; // in any process
/// assert_eq!(same.add(5), 5);
/// assert_eq!(total.add(-2), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Counter<T = i64> {
    region: Region,
    count: PhantomData<T>,
}

impl<T: Count> Counter<T> {
    /// Creates a counter with the value zero.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let total: coframe::sync::Counter = coframe::sync::Counter::create(&store, "total")?;
    /// assert_eq!(total.get(), 0);
    /// assert!(coframe::sync::Counter::<i64>::create(&store, "total").unwrap_err().is_invalid_argument());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) if the name exists.
    pub fn create(store: &Store, name: &str) -> Result<Self> {
        let region = Region::create(store, name, CellLayout::word::<T>(CellKind::Counter), |_| Ok(()))?;
        region.map(Self::from_region).ok_or_else(|| name_taken(store, name))
    }

    /// Opens a counter.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Counter::<i64>::create(&store, "total")?;
    /// let total: coframe::sync::Counter = coframe::sync::Counter::open(&store, "total")?; // in another process
    /// total.add(1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_not_found`](crate::Error::is_not_found) if the cell does not exist;
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) if it is a cell of another kind or type.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, |_| CellLayout::word::<T>(CellKind::Counter)).map(Self::from_region)
    }

    /// Opens a counter, or creates it if it does not exist.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let total: coframe::sync::Counter = coframe::sync::Counter::open_or_create(&store, "total")?;
    /// total.add(1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_or_create(store: &Store, name: &str) -> Result<Self> {
        let layout = CellLayout::word::<T>(CellKind::Counter);
        Region::open_or_create(store, name, |_| layout, layout, |_| Ok(())).map(Self::from_region)
    }

    fn from_region(region: Region) -> Self {
        Self { region, count: PhantomData }
    }

    /// Adds `n`, and returns the new number.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let total: coframe::sync::Counter = coframe::sync::Counter::open_or_create(&store, "total")?;
    /// assert_eq!(total.add(5), 5); // the new number
    /// assert_eq!(total.get(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&self, n: T) -> T {
        let n = n.to_bits();
        // Pairs with the changes before it; acquired by `get`.
        T::from_bits(self.region.memory().word64(BODY).fetch_add(n, Ordering::AcqRel).wrapping_add(n))
    }

    /// Returns the number.
    #[must_use]
    pub fn get(&self) -> T {
        // Pairs with the releases of `add`, `set` and `compare_exchange`.
        T::from_bits(self.region.memory().word64(BODY).load(Ordering::Acquire))
    }

    /// Sets the number.
    pub fn set(&self, n: T) {
        // Acquired by `get` and `compare_exchange`.
        self.region.memory().word64(BODY).store(n.to_bits(), Ordering::Release);
    }

    /// Sets the number to `new` if it is `expected`. Otherwise returns the number found, as an error.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let total: coframe::sync::Counter = coframe::sync::Counter::open_or_create(&store, "total")?;
    /// assert_eq!(total.compare_exchange(0, 3), Ok(()));
    /// assert_eq!(total.compare_exchange(0, 4), Err(3)); // the value found
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare_exchange(&self, expected: T, new: T) -> std::result::Result<(), T> {
        let (expected, new) = (expected.to_bits(), new.to_bits());
        let word = self.region.memory().word64(BODY);
        // Pairs with the changes before it; acquired by `get`.
        word.compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire).map(drop).map_err(T::from_bits)
    }
}

super::handles!(Counter<T: Count>);
