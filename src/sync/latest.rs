//! One writer, many readers that never wait.

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytemuck::Pod;

use super::{
    guard::{self, Guard},
    layout::{CellKind, DATA},
    memory::Memory,
    mutex::check_alignment,
    region::{CellLayout, Region, name_taken},
    slots::{self, TERMS, Words, Writer},
};
use crate::{
    error::{Kind, Result},
    store::Store,
};

/// A plain value (`bytemuck::Pod`) that one writer replaces and any number of readers copy, without a lock.
///
/// A reader never blocks, and never sees a part of one value and a part of another, even if the writer dies during a
/// write: the value has three slots, and a number selects the one that holds the latest complete value.
///
/// If a writer that never pauses overtakes a reader's copies, the reader asks the writer to keep one value for 64
/// writes. The writer does not wait for the reader. A copy that takes less time than 32 writes then succeeds.
///
/// ```
/// use coframe::{Store, sync::Latest};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let quote = Latest::create(&store, "quote", [101.5_f64, 101.7])?;
/// let mut writer = quote.writer()?;
/// writer.write(&[101.6, 101.8]);
/// assert_eq!(Latest::<[f64; 2]>::open(&store, "quote")?.read(), [101.6, 101.8]);
/// assert!(quote.writer().is_err()); // there is one already
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Latest<T: Pod> {
    region: Region,
    value: PhantomData<T>,
}

/// The four numbers of `slots::Words`.
const NUMBERS: [usize; 4] = [DATA, DATA + 8, DATA + 16, DATA + 24];
const SLOTS: usize = DATA + 64;

/// Bytes of a slot: whole words.
fn slot_bytes<T>() -> usize {
    size_of::<T>().next_multiple_of(64)
}

fn slot<T>(number: u64) -> usize {
    match number {
        0 => SLOTS,
        1 => SLOTS + slot_bytes::<T>(),
        _ => SLOTS + 2 * slot_bytes::<T>(),
    }
}

fn words(memory: &Memory) -> Words<'_, AtomicU64> {
    let [latest, asked, kept, since] = NUMBERS.map(|place| memory.word64(place));
    Words { latest, asked, kept, since }
}

fn shape<T: Pod>() -> CellLayout {
    let size = size_of::<T>();
    let bytes = SLOTS + 3 * slot_bytes::<T>();
    CellLayout { kind: CellKind::Latest, count: 1, size, bytes, type_name: std::any::type_name::<T>() }
}

/// Stores a value word by word, each word atomically, so that a late reader reads stale words instead of racing.
fn store<T: Pod>(memory: &Memory, slot: usize, value: &T) {
    let bytes = bytemuck::bytes_of(value);
    let (whole, rest) = bytes.as_chunks::<8>();
    let words = memory.words(slot, bytes.len().div_ceil(8));
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
    if let (Some(word), false) = (words.last(), rest.is_empty()) {
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        word.store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

fn load<T: Pod>(memory: &Memory, slot: usize) -> T {
    let mut value = T::zeroed();
    let bytes = bytemuck::bytes_of_mut(&mut value);
    let words = memory.words(slot, bytes.len().div_ceil(8));
    let (whole, rest) = bytes.as_chunks_mut::<8>();
    for (bytes, word) in whole.iter_mut().zip(words) {
        *bytes = word.load(Ordering::Relaxed).to_le_bytes();
    }
    if let Some(word) = words.last() {
        let last = word.load(Ordering::Relaxed).to_le_bytes();
        rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
    }
    value
}

impl<T: Pod> Latest<T> {
    fn from_region(region: Region) -> Self {
        Self { region, value: PhantomData }
    }

    /// Creates a cell with a first value. Errors as [`Counter::create`](super::Counter::create).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let position = coframe::sync::Latest::create(&store, "position", [0.0_f64; 2])?;
    /// assert_eq!(position.read(), [0.0; 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(store_: &Store, name: &str, value: T) -> Result<Self> {
        check_alignment::<T>()?;
        let region = Region::create(store_, name, shape::<T>(), |memory| {
            store(memory, slot::<T>(0), &value);
            guard::initialise::<u8>(memory, DATA, &[])
        })?;
        region.map(Self::from_region).ok_or_else(|| name_taken(store_, name))
    }

    /// Opens a cell. Errors as [`Counter::open`](super::Counter::open).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Latest::create(&store, "position", [0.0_f64; 2])?;
    /// let position = coframe::sync::Latest::<[f64; 2]>::open(&store, "position")?; // in another process
    /// assert_eq!(position.read(), [0.0; 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        check_alignment::<T>()?;
        Region::open(store, name, |_| shape::<T>()).map(Self::from_region)
    }

    /// Returns the latest value. Never blocks; copies again if the writer has written meanwhile.
    #[must_use]
    pub fn read(&self) -> T {
        let memory = self.region.memory();
        slots::read(&words(memory), TERMS, |number| load(memory, slot::<T>(number)))
    }

    /// Makes this thread the writer, until the returned [`LatestWriter`] is dropped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let position = coframe::sync::Latest::create(&store, "position", [0.0_f64; 2])?;
    /// let mut writer = position.writer()?;
    /// writer.write(&[1.0, 2.0]);
    /// assert_eq!(position.read(), [1.0, 2.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_busy`](crate::Error::is_busy) while another writer is alive. A dead writer does not count.
    pub fn writer(&self) -> Result<LatestWriter<'_, T>> {
        let busy = || Kind::Busy { what: self.region.label(), holder: "another writer".to_owned() };
        let held = match guard::lock(&self.region, DATA, Some(Duration::ZERO), true) {
            Ok(held) => held,
            // This thread is the writer already.
            Err(error) if error.is_invalid_argument() => None,
            Err(error) => return Err(error),
        };
        let held = held.ok_or_else(busy)?;
        Ok(LatestWriter { held, writer: Writer::new(&words(self.region.memory())), value: PhantomData })
    }
}

super::handles!(Latest<T: Pod>);

/// The only writer of a [`Latest`], until it is dropped.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// let latest = coframe::sync::Latest::create(&store, "latest", [0_u64; 2])?;
/// latest.writer()?.write(&[1, 2]);
/// assert_eq!(latest.read(), [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LatestWriter<'a, T: Pod> {
    held: Guard<'a, u8>,
    writer: Writer,
    value: PhantomData<T>,
}

impl<T: Pod> LatestWriter<'_, T> {
    /// Replaces the value. Never waits for readers.
    pub fn write(&mut self, value: &T) {
        let memory = self.held.cell.memory();
        self.writer.write(&words(memory), TERMS, |number| store(memory, slot::<T>(number), value));
    }
}
