//! A value under a lock that survives its owner.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    time::Duration,
};

use bytemuck::Pod;

use super::{
    guard::{self, DATA, Guard, SMALL},
    region::{CellKind, Region, Shape, taken},
};
use crate::{
    error::{Error, Result},
    store::Store,
};

/// A plain value (`bytemuck::Pod`) that processes change in turn.
///
/// The lock is a robust pthread mutex: when its owner dies, in whatever way, the next one gets it, and is told
/// ([`is_poisoned`](Error::is_poisoned)) that the value may be half-changed.
///
/// ```
/// use coframe::{Store, cell::Value};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::at(dir.path().join("store"))?;
/// let position = Value::create(&store, "position", [0.0_f64; 3])?;
/// position.update(|p| p[2] += 1.5)?;
/// assert_eq!(position.get()?, [0.0, 0.0, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Value<T: Pod> {
    region: Region,
    value: PhantomData<T>,
}

/// A lock that guards something outside of it: a [`Value`] of nothing.
///
/// ```
/// use coframe::{Store, cell::Lock};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::at(dir.path().join("store"))?;
/// let lock = Lock::open_or_create(&store, "printer", ())?;
/// let held = lock.lock()?;
/// let other = std::thread::spawn(move || Lock::open(&store, "printer")?.lock_timeout(Duration::ZERO).map(|l| l.is_some()));
/// assert!(!other.join().unwrap()?);
/// drop(held);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Lock = Value<()>;

fn shape<T: Pod>() -> Shape {
    let size = size_of::<T>();
    let bytes = (data::<T>() + size).max(DATA);
    Shape { kind: CellKind::Value, count: 1, size, bytes, type_name: std::any::type_name::<T>() }
}

/// Where the value stands.
const fn data<T>() -> usize {
    if size_of::<T>() <= 8 && align_of::<T>() <= 8 { SMALL } else { DATA }
}

/// Refuses what cannot stand at `DATA`.
pub(super) fn check_alignment<T>() -> Result<()> {
    let align = align_of::<T>();
    if align <= 64 {
        return Ok(());
    }
    let name = std::any::type_name::<T>();
    Err(Error::unsupported(format_args!("a cell of `{name}`, which is aligned to {align} bytes,"), "use at most 64"))
}

impl<T: Pod> Value<T> {
    /// Makes a value. Errors as [`Counter::create`](super::Counter::create).
    pub fn create(store: &Store, name: &str, value: T) -> Result<Self> {
        check_alignment::<T>()?;
        let region =
            Region::create(store, name, shape::<T>(), |memory| guard::initialise(memory, data::<T>(), &[value]))?;
        region.map(Self::of).ok_or_else(|| taken(store, name))
    }

    /// Opens a value. Errors as [`Counter::open`](super::Counter::open), a value of another type among them.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        check_alignment::<T>()?;
        Region::open(store, name, |_| shape::<T>()).map(Self::of)
    }

    /// Opens a value, or makes it if there is none.
    pub fn open_or_create(store: &Store, name: &str, value: T) -> Result<Self> {
        check_alignment::<T>()?;
        let initialise = |memory: &_| guard::initialise(memory, data::<T>(), &[value]);
        Region::open_or_create(store, name, |_| shape::<T>(), shape::<T>(), initialise).map(Self::of)
    }

    fn of(region: Region) -> Self {
        Self { region, value: PhantomData }
    }

    /// Takes the lock; blocks until it is free.
    ///
    /// # Errors
    ///
    /// [`is_poisoned`](Error::is_poisoned) when an owner died inside and nobody has mended the value since:
    /// [`lock_poisoned`](Self::lock_poisoned) gives it all the same. [`is_invalid`](Error::is_invalid) when this
    /// thread has it already.
    pub fn lock(&self) -> Result<ValueGuard<'_, T>> {
        self.acquire(None, false)
    }

    /// Takes the lock, also when an owner died inside; [`Guard::is_poisoned`] says so, and
    /// [`Guard::clear_poison`] ends it.
    pub fn lock_poisoned(&self) -> Result<ValueGuard<'_, T>> {
        self.acquire(None, true)
    }

    fn acquire(&self, limit: Option<Duration>, even_poisoned: bool) -> Result<ValueGuard<'_, T>> {
        let busy = || crate::error::Kind::Busy { what: self.region.label(), holder: "another process".to_owned() };
        let guard = guard::lock(&self.region, data::<T>(), limit, even_poisoned)?.ok_or_else(busy)?;
        Ok(ValueGuard { guard })
    }

    /// Takes the lock if it becomes free in time; `None` otherwise. Zero does not block.
    pub fn lock_timeout(&self, limit: Duration) -> Result<Option<ValueGuard<'_, T>>> {
        Ok(guard::lock(&self.region, data::<T>(), Some(limit), false)?.map(|guard| ValueGuard { guard }))
    }

    /// A copy of the value, taken under the lock.
    pub fn get(&self) -> Result<T> {
        self.lock().map(|value| *value)
    }

    /// Replaces the value, under the lock.
    pub fn set(&self, value: T) -> Result<()> {
        self.lock().map(|mut place| *place = value)
    }

    /// Changes the value under the lock, and returns what the function does.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.lock().map(|mut value| change(&mut value))
    }

    /// Whether an owner died inside, and nobody has mended the value since. Does not lock.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        guard::is_poisoned(&self.region)
    }
}

super::handles!(Value<T: Pod>);

/// A locked [`Value`]; [`Guard`] has what can be done beside reading and changing it.
#[derive(Debug)]
pub struct ValueGuard<'a, T: Pod> {
    guard: Guard<'a, T>,
}

impl<T: Pod> ValueGuard<'_, T> {
    /// Whether an earlier owner died while it had the lock, so that the value may be half-changed.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.guard.is_poisoned()
    }

    /// Says that the value is in order again.
    pub fn clear_poison(&mut self) {
        self.guard.clear_poison();
    }
}

impl<T: Pod> Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.one()
    }
}

impl<T: Pod> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.one_mut()
    }
}
