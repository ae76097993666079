//! A cell's file: written without a name, linked atomically, checked when it is opened (FORMAT.md, section 9).

use std::{
    fs::File,
    ops::Deref,
    sync::{Arc, atomic::Ordering},
};

use super::{
    handle::CellHandle,
    home::Home,
    layout::{BODY, CellKind},
    memory::Memory,
    participants::Participants,
    robust,
};
use crate::{
    error::{Error, Result},
    fork::count_forks,
    name::{Name, short_type_name},
    store::{Address, Store},
};

const MAGIC: u64 = u64::from_le_bytes(*b"coframeC");
const FORMAT: u32 = 3;
/// Offsets of the header's words.
mod offset {
    pub(super) const MAGIC: usize = 0;
    pub(super) const FORMAT: usize = 8;
    pub(super) const KIND: usize = 12;
    pub(super) const ID: [usize; 2] = [16, 24];
    pub(super) const COUNT: usize = 32;
    pub(super) const SIZE: usize = 40;
    pub(super) const TYPE: usize = 48;
    /// The namespaces of a cell with a lock: two words.
    pub(super) const HOME: usize = 176;
}
/// Bytes of a type's name that are recorded.
const TYPE_BYTES: usize = 128;

/// The kind and the sizes that a cell must have.
#[derive(Clone, Copy)]
pub(super) struct CellLayout {
    pub(super) kind: CellKind,
    /// Number of elements; 1 unless it is an array. When opening, 0 accepts any number.
    pub(super) count: usize,
    /// Bytes of an element.
    pub(super) size: usize,
    /// Bytes of the whole file for that many elements.
    pub(super) bytes: usize,
    pub(super) type_name: &'static str,
}

impl CellLayout {
    /// Returns the layout of a cell without a lock that is one word.
    pub(super) fn word<T>(kind: CellKind) -> Self {
        Self { kind, count: 1, size: size_of::<T>(), bytes: BODY + 64, type_name: std::any::type_name::<T>() }
    }
}

/// An open cell. Cheap to clone. The memory is unmapped with the last clone, even if the name was removed before.
#[derive(Clone, Debug)]
pub(super) struct Region {
    shared: Arc<Shared>,
}

/// What the clones of a cell share. A guard refers to this, which saves it a load on its way to the memory.
#[derive(Debug)]
pub(super) struct Shared {
    memory: Memory,
    /// `None` for a kind without a lock.
    home: Option<Home>,
    handle: CellHandle,
    count: usize,
}

/// Returns a type's name, as much of it as the header has room for.
fn type_name(full: &str) -> String {
    let mut name = short_type_name(full);
    name.truncate((0..=TYPE_BYTES).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0));
    name
}

impl Region {
    /// Creates a cell. `initialise` runs before other processes can open it. Returns `None` if the name exists.
    pub(super) fn create(
        store: &Store,
        name: &str,
        shape: CellLayout,
        initialise: impl FnOnce(&Memory) -> Result<()>,
    ) -> Result<Option<Self>> {
        let name = name.parse::<Name>()?;
        let id = crate::store::random_id()?;
        count_forks();
        let mut made = None;
        let linked = store.make_cell(&name, shape.bytes, |file| {
            let memory = Memory::map(file, shape.bytes)?;
            write_header(&memory, shape, id);
            initialise(&memory)?;
            let home = shape.kind.has_lock().then(|| Home::create(file, &memory, offset::HOME)).transpose()?;
            made = Some((memory, home));
            Ok(())
        })?;
        let Some((memory, home)) = made.filter(|_| linked) else { return Ok(None) };
        let handle = CellHandle(Address::new(store, name, id));
        Ok(Some(Self { shared: Arc::new(Shared { memory, home, handle, count: shape.count }) }))
    }

    /// Opens a cell and checks that it is the expected one. `shape` is called with the number of elements.
    pub(super) fn open(store: &Store, name: &str, shape: impl Fn(usize) -> CellLayout) -> Result<Self> {
        let name = name.parse::<Name>()?;
        let (file, len) = store.open_cell(&name)?;
        let what = || format!("the cell `{name}` in `{}`", store.path().display());
        if len < BODY {
            let detail = format_args!("it has {len} bytes, a cell has at least {BODY}: it was cut short");
            return Err(Error::corrupt(what(), "K1-header", detail));
        }
        count_forks();
        let memory = Memory::map(&file, len)?;
        let found = check_header(&memory, &shape, &what)?;
        let home = join(&file, &memory, found, &what)?;
        let id = offset::ID.map(|place| u128::from(memory.word64(place).load(Ordering::Relaxed)));
        let handle = CellHandle(Address::new(store, name, id[0] | (id[1] << 64)));
        Ok(Self { shared: Arc::new(Shared { memory, home, handle, count: found.count }) })
    }

    /// Opens the cell, or creates it if it does not exist.
    pub(super) fn open_or_create(
        store: &Store,
        name: &str,
        shape: impl Fn(usize) -> CellLayout,
        wanted: CellLayout,
        initialise: impl Fn(&Memory) -> Result<()>,
    ) -> Result<Self> {
        loop {
            match Self::open(store, name, &shape) {
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
            // Another process created it first, so it can be opened.
            if let Some(region) = Self::create(store, name, wanted, &initialise)? {
                return Ok(region);
            }
        }
    }
}

impl Deref for Region {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    #[inline]
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Refuses to use the lock and the marks in other namespaces than the cell's.
    #[inline]
    pub(super) fn check_home(&self) -> Result<()> {
        self.home.as_ref().map_or(Ok(()), |home| home.check(&self.memory, || self.label()))
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn handle(&self) -> &CellHandle {
        &self.handle
    }

    /// Returns the cell's name for errors: "the cell `total`".
    pub(super) fn label(&self) -> String {
        format!("the cell `{}`", self.handle.name())
    }
}

/// Returns the error of a name that exists.
pub(super) fn name_taken(store: &Store, name: &str) -> Error {
    let what = format!("the name `{name}` for a new cell in `{}`", store.path().display());
    Error::invalid(what, "a cell of that name exists: open it, or use `open_or_create`")
}

fn write_header(memory: &Memory, shape: CellLayout, id: u128) {
    // No other process has the file yet, so the order of these stores does not matter.
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    memory.word64(offset::MAGIC).store(MAGIC, Ordering::Relaxed);
    memory.word32(offset::FORMAT).store(FORMAT, Ordering::Relaxed);
    memory.word32(offset::KIND).store(shape.kind.code(), Ordering::Relaxed);
    let halves = [id & u128::from(u64::MAX), id >> 64].map(|half| u64::try_from(half).unwrap_or(0));
    for (place, half) in offset::ID.into_iter().zip(halves) {
        memory.word64(place).store(half, Ordering::Relaxed);
    }
    memory.word64(offset::COUNT).store(number(shape.count), Ordering::Relaxed);
    memory.word64(offset::SIZE).store(number(shape.size), Ordering::Relaxed);
    let mut name = type_name(shape.type_name).into_bytes();
    name.resize(TYPE_BYTES, 0);
    for (index, word) in name.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        memory.word64(offset::TYPE + 8 * index).store(word, Ordering::Relaxed);
    }
}

/// Joins the processes that have a cell with a lock open.
fn join(file: &File, memory: &Memory, shape: CellLayout, what: &impl Fn() -> String) -> Result<Option<Home>> {
    if !shape.kind.has_lock() {
        return Ok(None);
    }
    let home = Home::join(file, memory, offset::HOME, || {
        robust::recover(memory)?;
        Participants::for_kind(memory, shape.kind, shape.count).iter().for_each(Participants::give_up);
        Ok(())
    })?;
    // A latest cell is read without a lock, in every namespace.
    if shape.kind != CellKind::Latest {
        home.check(memory, what)?;
    }
    Ok(Some(home))
}

/// Compares the header with the expected layout; returns the layout of the cell.
fn check_header(
    memory: &Memory,
    shape: &impl Fn(usize) -> CellLayout,
    what: &impl Fn() -> String,
) -> Result<CellLayout> {
    let word = |place| memory.word64(place).load(Ordering::Relaxed);
    if word(offset::MAGIC) != MAGIC {
        return Err(Error::corrupt(what(), "K1-header", "it does not start like a cell"));
    }
    let format = memory.word32(offset::FORMAT).load(Ordering::Relaxed);
    if format != FORMAT {
        let found = format_args!("{}, which has cell format {format} where this build reads {FORMAT},", what());
        return Err(Error::unsupported(found, "upgrade coframe, or remove the cell"));
    }
    let number = |place| usize::try_from(word(place)).unwrap_or(usize::MAX);
    let wanted = shape(number(offset::COUNT));
    let (kind, size) = (memory.word32(offset::KIND).load(Ordering::Relaxed), number(offset::SIZE));
    let name: Vec<u8> = (0..TYPE_BYTES / 8).flat_map(|index| word(offset::TYPE + 8 * index).to_le_bytes()).collect();
    let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
    let expected = type_name(wanted.type_name);
    if kind != wanted.kind.code() || size != wanted.size || name != expected {
        let found = format!("{} of `{name}` ({size} bytes)", CellKind::text(kind));
        let wanted = format!("{} of `{expected}` ({} bytes)", CellKind::text(wanted.kind.code()), wanted.size);
        return Err(Error::invalid(format_args!("{}, which is {found}", what()), format_args!("expected {wanted}")));
    }
    if memory.len() < wanted.bytes {
        let (len, bytes) = (memory.len(), wanted.bytes);
        let detail = format_args!("it has {len} bytes and needs {bytes}: it was cut short");
        return Err(Error::corrupt(what(), "K1-header", detail));
    }
    Ok(wanted)
}
