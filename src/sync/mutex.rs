//! A value under a lock that survives its owner.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    time::Duration,
};

use bytemuck::Pod;

use super::{
    guard::{self, Guard},
    layout::{CellKind, DATA, SMALL},
    region::{CellLayout, Region, name_taken},
};
use crate::{
    error::{Error, Result},
    store::Store,
};

/// A plain value (`bytemuck::Pod`) under a lock that processes share.
///
/// A `Mutex<()>` protects something outside of the cell.
///
/// The lock is a robust pthread mutex: if its owner dies, the next owner gets it together with an error
/// ([`is_poisoned`](Error::is_poisoned)), because the value may be inconsistent.
///
/// ```
/// use coframe::{Store, sync::Mutex};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let position = Mutex::create(&store, "position", [0.0_f64; 3])?;
/// position.update(|p| p[2] += 1.5)?;
/// assert_eq!(position.get()?, [0.0, 0.0, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mutex<T: Pod> {
    region: Region,
    value: PhantomData<T>,
}

fn shape<T: Pod>() -> CellLayout {
    let size = size_of::<T>();
    let bytes = (data::<T>() + size).max(DATA);
    CellLayout { kind: CellKind::Value, count: 1, size, bytes, type_name: std::any::type_name::<T>() }
}

/// The offset of the value.
const fn data<T>() -> usize {
    if size_of::<T>() <= 8 && align_of::<T>() <= 8 { SMALL } else { DATA }
}

/// Refuses types whose alignment does not fit `DATA`.
pub(super) fn check_alignment<T>() -> Result<()> {
    let align = align_of::<T>();
    if align <= 64 {
        return Ok(());
    }
    let name = std::any::type_name::<T>();
    Err(Error::unsupported(format_args!("a cell of `{name}`, which is aligned to {align} bytes,"), "use at most 64"))
}

impl<T: Pod> Mutex<T> {
    /// Creates a cell with a first value. Errors as [`Counter::create`](super::Counter::create).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let point = coframe::sync::Mutex::create(&store, "point", [0.0_f64; 3])?;
    /// assert_eq!(point.get()?, [0.0; 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(store: &Store, name: &str, value: T) -> Result<Self> {
        check_alignment::<T>()?;
        let region =
            Region::create(store, name, shape::<T>(), |memory| guard::initialise(memory, data::<T>(), &[value]))?;
        region.map(Self::from_region).ok_or_else(|| name_taken(store, name))
    }

    /// Opens a cell. Errors as [`Counter::open`](super::Counter::open), also for a value of another type.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Mutex::create(&store, "point", [1.0_f64; 3])?;
    /// let point = coframe::sync::Mutex::<[f64; 3]>::open(&store, "point")?; // in another process
    /// assert_eq!(point.get()?, [1.0; 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        check_alignment::<T>()?;
        Region::open(store, name, |_| shape::<T>()).map(Self::from_region)
    }

    /// Opens a cell, or creates it with `value` if it does not exist.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let point = coframe::sync::Mutex::open_or_create(&store, "point", [0.0_f64; 3])?;
    /// point.set([1.0, 2.0, 3.0])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_or_create(store: &Store, name: &str, value: T) -> Result<Self> {
        check_alignment::<T>()?;
        let initialise = |memory: &_| guard::initialise(memory, data::<T>(), &[value]);
        Region::open_or_create(store, name, |_| shape::<T>(), shape::<T>(), initialise).map(Self::from_region)
    }

    fn from_region(region: Region) -> Self {
        Self { region, value: PhantomData }
    }

    /// Takes the lock; blocks until it is free.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let point = coframe::sync::Mutex::open_or_create(&store, "point", [0_i32; 2])?;
    /// let mut inside = point.lock()?;
    /// inside[0] += 1;
    /// drop(inside);
    /// assert_eq!(point.get()?, [1, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_poisoned`](Error::is_poisoned) if an owner died while it held the lock and the value was not repaired
    /// since; [`lock_poisoned`](Self::lock_poisoned) locks it anyway.
    /// [`is_invalid_argument`](Error::is_invalid_argument) if this thread holds the lock already.
    #[expect(clippy::inline_always, reason = "a free lock is taken inline (DESIGN.md)")]
    #[inline(always)]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.acquire(None, false)
    }

    /// Takes the lock, even if an owner died while it held it. [`Guard::is_poisoned`] reports that, and
    /// [`Guard::clear_poison`] clears it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let point = coframe::sync::Mutex::open_or_create(&store, "point", [0_i32; 2])?;
    /// let mut inside = point.lock_poisoned()?; // also after its owner died
    /// if inside.is_poisoned() {
    ///     *inside = [0, 0];
    ///     inside.clear_poison();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock_poisoned(&self) -> Result<MutexGuard<'_, T>> {
        self.acquire(None, true)
    }

    #[expect(clippy::inline_always, reason = "a free lock is taken inline (DESIGN.md)")]
    #[inline(always)]
    fn acquire(&self, limit: Option<Duration>, even_poisoned: bool) -> Result<MutexGuard<'_, T>> {
        let busy = || crate::error::Kind::Busy { what: self.region.label(), holder: "another process".to_owned() };
        let guard = guard::lock(&self.region, data::<T>(), limit, even_poisoned)?.ok_or_else(busy)?;
        Ok(MutexGuard { guard })
    }

    /// Takes the lock if it is free; `None` otherwise. Errors as [`lock`](Self::lock).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let point = coframe::sync::Mutex::create(&store, "point", [0_i32; 2])?;
    /// if let Some(mut point) = point.try_lock()? {
    ///     point[0] += 1;
    /// }
    /// assert_eq!(point.get()?, [1, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_lock(&self) -> Result<Option<MutexGuard<'_, T>>> {
        self.try_lock_for(Duration::ZERO)
    }

    /// Takes the lock, or returns `None` if it is not free within the timeout. Errors as [`lock`](Self::lock).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let point = coframe::sync::Mutex::open_or_create(&store, "point", [0_i32; 2])?;
    /// let inside = point.try_lock_for(std::time::Duration::from_millis(10))?;
    /// assert!(inside.is_some()); // no other process holds it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_lock_for(&self, limit: Duration) -> Result<Option<MutexGuard<'_, T>>> {
        Ok(guard::lock(&self.region, data::<T>(), Some(limit), false)?.map(|guard| MutexGuard { guard }))
    }

    /// Returns a copy of the value, taken under the lock.
    pub fn get(&self) -> Result<T> {
        self.lock().map(|value| *value)
    }

    /// Replaces the value, under the lock.
    pub fn set(&self, value: T) -> Result<()> {
        self.lock().map(|mut place| *place = value)
    }

    /// Changes the value under the lock, and returns the result of the function.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let point = coframe::sync::Mutex::open_or_create(&store, "point", [0_i32; 2])?;
    /// let sum = point.update(|p| {
    ///     p[1] = 4;
    ///     p[0] + p[1]
    /// })?;
    /// assert_eq!(sum, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(clippy::inline_always, reason = "a free lock is taken inline (DESIGN.md)")]
    #[inline(always)]
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.lock().map(|mut value| change(&mut value))
    }

    /// Returns the address of the value in this process, for foreign code (ctypes, C).
    ///
    /// Code that reads or writes there must hold the lock, or all processes must agree on who accesses it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let value = coframe::sync::Mutex::create(&store, "level", 1.5_f64)?;
    /// let guard = value.lock()?;
    /// assert_eq!(value.as_mut_ptr().cast_const(), std::ptr::from_ref(&*guard));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut T {
        self.region.memory().pointer(data::<T>()).cast()
    }

    /// Returns whether an owner died while it held the lock and the value was not repaired since. Does not lock.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        guard::is_poisoned(&self.region)
    }
}

super::handles!(Mutex<T: Pod>);

/// A locked [`Mutex`]. [`Guard`] documents its methods.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// let point = coframe::sync::Mutex::create(&store, "point", [0_i32; 2])?;
/// let mut guard = point.lock()?; // derefs to the value; released on drop
/// guard[1] = 4;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MutexGuard<'a, T: Pod> {
    guard: Guard<'a, T>,
}

impl<T: Pod> MutexGuard<'_, T> {
    /// Returns whether an earlier owner died while it held the lock, so that the value may be inconsistent.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.guard.is_poisoned()
    }

    /// Marks the value as consistent again.
    pub fn clear_poison(&mut self) {
        self.guard.clear_poison();
    }
}

impl<T: Pod> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.one()
    }
}

impl<T: Pod> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.one_mut()
    }
}
