//! Arrays: under one lock, in parts that are claimed, or element by element.

use std::{marker::PhantomData, ops::Range, sync::atomic::Ordering, time::Duration};

use bytemuck::Pod;

use super::{
    claims::{self, Claim, ELEMENTS},
    guard::{self, Guard},
    layout::{CellKind, DATA},
    memory::Memory,
    mutex::check_alignment,
    region::{CellLayout, Region, name_taken},
};
use crate::{
    error::{Error, Kind, Result},
    store::Store,
};

/// Plain values (`bytemuck::Pod`) of one type, under a lock for all of them, or claimed in parts.
///
/// For single numbers that many processes add to, an [`AtomicArray`] needs no lock.
///
/// ```
/// use coframe::{Store, sync::Array};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let image: Array<[f32; 3]> = Array::create(&store, "image", 640 * 480)?;
/// {
///     let mut left = image.claim_part(0, 2)?; // another process takes part 1
///     left[0] = [1.0, 0.5, 0.0];
///     assert!(image.lock().unwrap_err().is_busy()); // not while a part is claimed
/// }
/// assert_eq!(image.lock()?[0], [1.0, 0.5, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Array<T: Pod> {
    region: Region,
    values: PhantomData<T>,
}

fn shape<T>(kind: CellKind, data: usize, count: usize) -> CellLayout {
    let size = size_of::<T>();
    let bytes = count.checked_mul(size).and_then(|len| len.checked_add(data)).unwrap_or(usize::MAX);
    CellLayout { kind, count, size, bytes, type_name: std::any::type_name::<T>() }
}

/// Opens an array of `len` elements, or creates it if it does not exist.
fn open_or_create(
    store: &Store,
    name: &str,
    len: usize,
    shape: impl Fn(usize) -> CellLayout,
    initialise: impl Fn(&Memory) -> Result<()>,
) -> Result<Region> {
    let region = Region::open_or_create(store, name, &shape, shape(len), initialise)?;
    let found = region.count();
    if found == len {
        return Ok(region);
    }
    let what = format!("{}, which has {found} elements", region.label());
    Err(Error::invalid(what, format_args!("expected {len}")))
}

impl<T: Pod> Array<T> {
    fn from_region(region: Region) -> Self {
        Self { region, values: PhantomData }
    }

    /// Creates an array of zeros. Errors as [`Counter::create`](super::Counter::create), and
    /// [`is_no_space`](Error::is_no_space) when the store is full.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// use coframe::sync::Array;
    /// let sums: Array<f64> = Array::create(&store, "sums", 4)?;
    /// assert_eq!(*sums.lock()?, [0.0; 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(store: &Store, name: &str, len: usize) -> Result<Self> {
        check_alignment::<T>()?;
        let shape = shape::<T>(CellKind::Array, ELEMENTS, len);
        let region = Region::create(store, name, shape, |memory| guard::initialise::<T>(memory, ELEMENTS, &[]))?;
        region.map(Self::from_region).ok_or_else(|| name_taken(store, name))
    }

    /// Opens an array of any length. Errors as [`Counter::open`](super::Counter::open), an array of another type among
    /// them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Array::<f64>::create(&store, "sums", 4)?;
    /// let sums: coframe::sync::Array<f64> = coframe::sync::Array::open(&store, "sums")?; // in another process
    /// assert_eq!(sums.len(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        check_alignment::<T>()?;
        Region::open(store, name, |count| shape::<T>(CellKind::Array, ELEMENTS, count)).map(Self::from_region)
    }

    /// Opens an array of this length, or creates it if it does not exist.
    pub fn open_or_create(store: &Store, name: &str, len: usize) -> Result<Self> {
        check_alignment::<T>()?;
        let shape = |count| shape::<T>(CellKind::Array, ELEMENTS, count);
        let initialise = |memory: &_| guard::initialise::<T>(memory, ELEMENTS, &[]);
        open_or_create(store, name, len, shape, initialise).map(Self::from_region)
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.region.count()
    }

    /// Returns whether the array has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the lock on all elements; blocks until it is free.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let sums: coframe::sync::Array<f64> = coframe::sync::Array::open_or_create(&store, "sums", 4)?;
    /// let mut all = sums.lock()?;
    /// all[3] += 0.5;
    /// assert_eq!(all.iter().sum::<f64>(), 0.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_busy`](Error::is_busy) while parts are claimed; [`is_poisoned`](Error::is_poisoned) if a process died while
    /// it held the lock or a claim.
    pub fn lock(&self) -> Result<Guard<'_, T>> {
        self.acquire(None, false)?.ok_or_else(|| self.busy("another process".to_owned()))
    }

    /// Takes the lock, even if a process died while it held it. [`Guard::is_poisoned`] reports that, and
    /// [`Guard::clear_poison`] clears it.
    pub fn lock_poisoned(&self) -> Result<Guard<'_, T>> {
        self.acquire(None, true)?.ok_or_else(|| self.busy("another process".to_owned()))
    }

    /// Takes the lock if it is free; `None` otherwise. Errors as [`lock`](Self::lock).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let sums: coframe::sync::Array<f64> = coframe::sync::Array::open_or_create(&store, "sums", 4)?;
    /// if let Some(mut all) = sums.try_lock()? {
    ///     all.fill(1.0);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_lock(&self) -> Result<Option<Guard<'_, T>>> {
        self.try_lock_for(Duration::ZERO)
    }

    /// Takes the lock, or returns `None` if it is not free within the timeout. Errors as [`lock`](Self::lock).
    pub fn try_lock_for(&self, limit: Duration) -> Result<Option<Guard<'_, T>>> {
        self.acquire(Some(limit), false)
    }

    fn busy(&self, holder: String) -> Error {
        Kind::Busy { what: self.region.label(), holder }.into()
    }

    fn acquire(&self, limit: Option<Duration>, even_poisoned: bool) -> Result<Option<Guard<'_, T>>> {
        let Some(guard) = guard::lock(&self.region, ELEMENTS, limit, even_poisoned)? else { return Ok(None) };
        if let Some(pid) = claims::living(&self.region, &(0..self.len())) {
            return Err(self.busy(format!("process {pid}, which has claimed a part of it")));
        }
        if guard.is_poisoned() && !even_poisoned {
            return Err(guard::poisoned(&self.region));
        }
        Ok(Some(guard))
    }

    /// Returns the address of the elements in this process, for foreign code (numpy, C).
    ///
    /// Code that reads or writes there must hold the lock or a claim, or all processes must agree on who accesses which
    /// element.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let array = coframe::sync::Array::<f64>::create(&store, "sums", 3)?;
    /// let guard = array.lock()?;
    /// assert_eq!(array.as_mut_ptr().cast_const(), guard.as_ptr());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut T {
        self.region.memory().pointer(ELEMENTS).cast()
    }

    /// Claims a range of elements exclusively. Other holders can claim other ranges. Does not block.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let sums: coframe::sync::Array<f64> = coframe::sync::Array::open_or_create(&store, "sums", 4)?;
    /// let (mut left, mut right) = (sums.claim(0..2)?, sums.claim(2..4)?); // at the same time
    /// left[0] = 1.0;
    /// right[1] = 2.0;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_busy`](Error::is_busy) if another holder has claimed some of them;
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the range is not inside the array;
    /// [`is_poisoned`](Error::is_poisoned) as [`lock`](Self::lock).
    pub fn claim(&self, elements: Range<usize>) -> Result<Claim<'_, T>> {
        claims::claim(&self.region, elements)
    }

    /// Claims the part `part` of `parts` parts that differ by at most one element, as [`claim`](Self::claim) does.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let sums: coframe::sync::Array<f64> = coframe::sync::Array::open_or_create(&store, "sums", 4)?;
    /// assert_eq!(sums.claim_part(1, 2)?.elements(), 2..4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn claim_part(&self, part: usize, parts: usize) -> Result<Claim<'_, T>> {
        let (each, longer) = (self.len() / parts.max(1), self.len() % parts.max(1));
        let start = |part: usize| part.saturating_mul(each).saturating_add(part.min(longer));
        self.claim(start(part)..start(part.saturating_add(1)))
    }
}

super::handles!(Array<T: Pod>);

/// An element type of an [`AtomicArray`].
pub trait Element: Copy + PartialOrd + sealed::Element {}

mod sealed {
    pub trait Element: Sized {
        fn to_bits64(self) -> u64;
        fn from_bits64(bits: u64) -> Self;
        fn plus(self, other: Self) -> Self;
    }
}

macro_rules! element {
    ($($type:ty: $to:expr, $of:expr, $plus:expr;)*) => {$(
        impl Element for $type {}
        impl sealed::Element for $type {
            fn to_bits64(self) -> u64 {
                $to(self)
            }
            fn from_bits64(bits: u64) -> Self {
                $of(bits)
            }
            fn plus(self, other: Self) -> Self {
                $plus(self, other)
            }
        }
    )*};
}

/// Returns the low half, which contains a 32-bit element.
fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0)
}

element! {
    i32: |x: i32| x.cast_unsigned().into(), |bits| low(bits).cast_signed(), i32::wrapping_add;
    u32: u64::from, low, u32::wrapping_add;
    f32: |x: f32| x.to_bits().into(), |bits| f32::from_bits(low(bits)), |a: f32, b| a + b;
    i64: i64::cast_unsigned, u64::cast_signed, i64::wrapping_add;
    u64: |x| x, |bits| bits, u64::wrapping_add;
    f64: f64::to_bits, f64::from_bits, |a: f64, b| a + b;
}

/// Numbers that any process changes one by one, without a lock: `i32`, `u32`, `f32`, `i64`, `u64` or `f64`.
///
/// A crash never leaves a number inconsistent. To change several numbers together, use an [`Array`].
///
/// ```
/// use coframe::{Store, sync::AtomicArray};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let progress: AtomicArray<f64> = AtomicArray::create(&store, "progress", 8)?;
/// progress.add(3, 0.25);
/// progress.max(3, 0.1);
/// assert_eq!(progress.get(3), Some(0.25));
/// assert_eq!(progress.add(8, 1.0), None); // index 8 is out of range
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AtomicArray<T: Element> {
    region: Region,
    values: PhantomData<T>,
}

impl<T: Element> AtomicArray<T> {
    fn from_region(region: Region) -> Self {
        Self { region, values: PhantomData }
    }

    fn shape(count: usize) -> CellLayout {
        shape::<T>(CellKind::AtomicArray, DATA, count)
    }

    /// Creates an array of zeros. Errors as [`Array::create`].
    pub fn create(store: &Store, name: &str, len: usize) -> Result<Self> {
        Region::create(store, name, Self::shape(len), |_| Ok(()))?
            .map(Self::from_region)
            .ok_or_else(|| name_taken(store, name))
    }

    /// Opens an array of any length. Errors as [`Array::open`].
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, Self::shape).map(Self::from_region)
    }

    /// Opens an array of this length, or creates it if it does not exist.
    pub fn open_or_create(store: &Store, name: &str, len: usize) -> Result<Self> {
        open_or_create(store, name, len, Self::shape, |_| Ok(())).map(Self::from_region)
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.region.count()
    }

    /// Returns whether the array has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns an element, or `None` if the index is out of range.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<T> {
        let memory = self.region.memory();
        let offset = self.offset(index)?;
        // Pairs with the releases of `set` and `change`.
        Some(T::from_bits64(if size_of::<T>() == 4 {
            memory.word32(offset).load(Ordering::Acquire).into()
        } else {
            memory.word64(offset).load(Ordering::Acquire)
        }))
    }

    /// Sets an element. Returns `None` if the index is out of range.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let best: coframe::sync::AtomicArray<i64> = coframe::sync::AtomicArray::open_or_create(&store, "best", 3)?;
    /// best.set(0, 5);
    /// assert_eq!((best.get(0), best.get(3)), (Some(5), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, index: usize, value: T) -> Option<()> {
        self.change(index, |_| value).map(drop)
    }

    /// Adds to an element, and returns its new value, or `None` if the index is out of range. Integers wrap around.
    pub fn add(&self, index: usize, value: T) -> Option<T> {
        self.change(index, |old| old.plus(value))
    }

    /// Raises an element to `value` if it is less, and returns its new value.
    pub fn max(&self, index: usize, value: T) -> Option<T> {
        self.change(index, |old| if old < value { value } else { old })
    }

    /// Lowers an element to `value` if it is more, and returns its new value.
    pub fn min(&self, index: usize, value: T) -> Option<T> {
        self.change(index, |old| if old > value { value } else { old })
    }

    /// Returns all elements, each as it was at some moment of the call.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let best: coframe::sync::AtomicArray<i64> = coframe::sync::AtomicArray::open_or_create(&store, "best", 3)?;
    /// best.max(1, 7);
    /// assert_eq!(best.to_vec(), [0, 7, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        (0..self.len()).filter_map(|index| self.get(index)).collect()
    }

    fn offset(&self, index: usize) -> Option<usize> {
        (index < self.len()).then(|| DATA + index * size_of::<T>())
    }

    /// Replaces an element by the result of `change`, which may be called several times.
    fn change(&self, index: usize, change: impl Fn(T) -> T) -> Option<T> {
        let memory = self.region.memory();
        let offset = self.offset(index)?;
        let new = |old: u64| change(T::from_bits64(old)).to_bits64();
        // Each change pairs with the one before it, and with the acquire of `get`.
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let old = if size_of::<T>() == 4 {
            memory.word32(offset).try_update(set, fetch, |old| Some(low(new(old.into())))).ok()?.into()
        } else {
            memory.word64(offset).try_update(set, fetch, |old| Some(new(old))).ok()?
        };
        Some(T::from_bits64(new(old)))
    }
}

super::handles!(AtomicArray<T: Element>);
