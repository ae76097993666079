//! The memory of a cell, shared by every process that has it open. All `unsafe` code that touches it is in this file.
#![expect(unsafe_code, reason = "cells are memory that several processes write to")]

use std::{
    fs::File,
    ptr::NonNull,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytemuck::Pod;
use memmap2::{MmapOptions, MmapRaw};

use super::layout::{BODY, DATA, OWNER, POISON};
use crate::{
    error::{Error, Result},
    fork::generation,
};

/// A cell's file, mapped for reading and writing.
///
/// `fallocate` reserved its pages before the file got its name, and no process truncates it, so a touch raises no
/// SIGBUS (SAFETY.md, T1, lists the processes that are trusted with this).
///
/// A map whose mutex a thread of this process holds is never unmapped: the C library and the kernel keep a list of the
/// robust mutexes of each thread, which runs through this memory. A guard that safe code leaked leaves its mutex in
/// that list.
#[derive(Debug)]
pub(super) struct Memory {
    /// `None` only while it is dropped.
    map: Option<MmapRaw>,
    base: NonNull<u8>,
    len: usize,
    /// The mutex and the words after it: the bytes from `BODY` to `DATA`, or the first ones of a cell without them.
    line: NonNull<u8>,
    /// One more than the generation of the process whose thread holds the mutex through this map, or 0.
    holder: AtomicU32,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A forked child does not share its parent's locks, and the fork emptied its own list.
        if *self.holder.get_mut() == generation().wrapping_add(1) {
            std::mem::forget(self.map.take());
        }
    }
}

// SAFETY: the map is owned and never moves. All access goes through atomics, through a slice that a held robust mutex or
// a claim guards, or through plain copies of atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// The outcome of locking a robust mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    /// It was free.
    Clean,
    /// Its owner died while it held it.
    AfterDeath,
    /// Another thread held it until the time limit.
    Busy,
    /// This thread holds it.
    Own,
}

impl Memory {
    /// Maps `len` bytes of a file that has them.
    pub(super) fn map(file: &File, len: usize) -> Result<Self> {
        let os = |e| Error::os("map", "a cell", e);
        let map = MmapOptions::new().len(len).map_raw(file).map_err(os)?;
        let base = NonNull::new(map.as_mut_ptr())
            .ok_or_else(|| Error::invalid("the memory of a cell", "it was mapped at address 0"))?;
        let mut memory = Self { map: Some(map), base, len, line: base, holder: AtomicU32::new(0) };
        memory.line = memory.at(BODY, DATA - BODY, 64).unwrap_or(base);
        Ok(memory)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    // `#[inline]` here and below: these are called from generic code in the user's crate, on paths of nanoseconds.
    /// Returns a pointer to `len` bytes at `offset`; `None` if they are outside of the map or not aligned to `align`.
    #[inline]
    fn at(&self, offset: usize, len: usize, align: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        // The map starts at a page.
        if end > self.len || !offset.is_multiple_of(align) {
            return None;
        }
        // SAFETY: `offset <= end <= len`, inside one mapping.
        Some(unsafe { self.base.add(offset) })
    }

    /// Returns the address of a place, for foreign code. For a place outside of the map, that of the first byte.
    pub(super) fn pointer(&self, offset: usize) -> *mut u8 {
        self.at(offset, 0, 1).unwrap_or(self.base).as_ptr()
    }

    /// Returns an atomic of 32 bits. For a place outside of the map, the first word, which only the magic uses.
    #[inline]
    pub(super) fn word32(&self, offset: usize) -> &AtomicU32 {
        let place = self.at(offset, 4, 4).unwrap_or(self.base);
        // SAFETY: inside the map, aligned, mapped writable for as long as `self`, and only ever accessed as an atomic
        // by any process (FORMAT.md, section 9: no two kinds of access share a word).
        unsafe { AtomicU32::from_ptr(place.cast().as_ptr()) }
    }

    /// Returns an atomic of 64 bits, as `word32` does.
    #[inline]
    pub(super) fn word64(&self, offset: usize) -> &AtomicU64 {
        let place = self.at(offset, 8, 8).unwrap_or(self.base);
        // SAFETY: as for `word32`.
        unsafe { AtomicU64::from_ptr(place.cast().as_ptr()) }
    }

    /// Returns consecutive atomics of 64 bits; none if they are outside of the map.
    #[inline]
    pub(super) fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        let place = count.checked_mul(8).and_then(|len| self.at(offset, len, 8));
        let Some(place) = place else { return &[] };
        // SAFETY: in range and aligned as checked, and accessed as atomics by every process, as for `word32`.
        unsafe { std::slice::from_raw_parts(place.cast::<AtomicU64>().as_ptr(), count) }
    }

    /// Returns values that only the caller may access while the slice is alive; none if they are outside of the map.
    ///
    /// # Safety
    ///
    /// No other reference to these bytes is alive, in any process: the caller holds a robust mutex or a claim on them.
    #[expect(
        clippy::mut_from_ref,
        reason = "the memory is not this struct's alone; the lock that is held gives access"
    )]
    pub(super) unsafe fn slice<T: Pod>(&self, offset: usize, count: usize) -> &mut [T] {
        let place = count.checked_mul(size_of::<T>()).and_then(|len| self.at(offset, len, align_of::<T>()));
        let Some(place) = place else { return &mut [] };
        // SAFETY: in range and aligned as checked; `Pod`: any bytes are a value, without padding; nothing else touches
        // them, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(place.cast::<T>().as_ptr(), count) }
    }

    /// Returns one value, as `slice` does.
    ///
    /// # Safety
    ///
    /// As for `slice`. The value is also inside of the map, and aligned.
    #[expect(clippy::mut_from_ref, reason = "as for `slice`")]
    pub(super) unsafe fn value<T: Pod>(&self, offset: usize) -> &mut T {
        debug_assert!(self.at(offset, size_of::<T>(), align_of::<T>()).is_some(), "a value outside of its cell");
        // SAFETY: inside the map, as the caller promises.
        let place = unsafe { self.base.add(offset) };
        // SAFETY: aligned, and any bytes are a value; nothing else touches it, as the caller promises.
        unsafe { place.cast::<T>().as_mut() }
    }

    /// Returns the lock of a cell.
    #[inline]
    pub(super) fn lock(&self) -> CellLock<'_> {
        CellLock { memory: self }
    }

    /// Returns the robust mutex at `offset`.
    #[cfg(feature = "map")]
    pub(super) fn mutex(&self, offset: usize) -> RawMutex<'_> {
        let place = self.at(offset, size_of::<libc::pthread_mutex_t>(), align_of::<libc::pthread_mutex_t>());
        RawMutex { raw: place.unwrap_or(self.base).cast(), memory: self }
    }
}

/// The lock of a cell: a mutex, and two words in its cache line.
#[derive(Clone, Copy)]
pub(super) struct CellLock<'a> {
    memory: &'a Memory,
}

impl<'a> CellLock<'a> {
    #[inline]
    pub(super) fn mutex(self) -> RawMutex<'a> {
        RawMutex { raw: self.memory.line.cast(), memory: self.memory }
    }

    /// The process that has the lock, or 0.
    #[inline]
    pub(super) fn owner(self) -> &'a AtomicU32 {
        self.word::<OWNER>()
    }

    /// Why the values may be inconsistent, or 0.
    #[inline]
    pub(super) fn poison(self) -> &'a AtomicU32 {
        self.word::<POISON>()
    }

    #[inline]
    fn word<const OFFSET: usize>(self) -> &'a AtomicU32 {
        const { assert!(OFFSET >= BODY && OFFSET + 4 <= DATA && OFFSET.is_multiple_of(4)) }
        // SAFETY: `line` has `DATA - BODY` bytes of the map: those that `at` checked, or the first ones of its first page.
        let place = unsafe { self.memory.line.add(OFFSET - BODY) };
        // SAFETY: inside the map and aligned, as above, and accessed as an atomic by every process, as in `word32`.
        unsafe { AtomicU32::from_ptr(place.cast().as_ptr()) }
    }
}

/// A robust, process-shared, error-checking pthread mutex in a cell. Only processes with the same C library may share
/// one: its layout is glibc's own.
#[derive(Clone, Copy)]
pub(super) struct RawMutex<'a> {
    raw: NonNull<libc::pthread_mutex_t>,
    memory: &'a Memory,
}

impl RawMutex<'_> {
    /// Initialises the mutex, in memory that no other process has mapped yet.
    pub(super) fn initialise(self) -> Result<()> {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: `attributes` is valid for writes; this initialises it.
        let mut result = unsafe { libc::pthread_mutexattr_init(attributes) };
        // SAFETY: initialised above (otherwise `result` is an error, and the value is not used below).
        result |= unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: as above.
        result |= unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: as above.
        result |= unsafe { libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK) };
        if result == 0 {
            // SAFETY: the mutex is in this map (see `Memory::mutex`), and the file is still unnamed.
            result = unsafe { libc::pthread_mutex_init(self.raw.as_ptr(), attributes) };
        }
        // SAFETY: initialised above, not used again.
        unsafe { libc::pthread_mutexattr_destroy(attributes) };
        if result == 0 {
            Ok(())
        } else {
            Err(Error::os("make a mutex in", "a cell", std::io::Error::from_raw_os_error(result)))
        }
    }

    /// Takes the mutex. `None` waits without a limit; a limit counts `CLOCK_MONOTONIC`. `on_death` runs before the
    /// mutex counts as consistent again, so that a death in between is not forgotten.
    #[inline]
    pub(super) fn lock(self, limit: Option<Duration>, on_death: impl FnOnce()) -> Result<Acquired> {
        match self.take(limit) {
            0 => Ok(Acquired::Clean),
            code => self.outcome(code, on_death),
        }
    }

    /// Takes the mutex as `lock` does, and returns the code of the C library: 0 if its last owner did not die. Any other
    /// code is for `outcome`.
    #[inline]
    pub(super) fn take(self, limit: Option<Duration>) -> libc::c_int {
        let raw = self.raw.as_ptr();
        let code = match limit {
            // SAFETY: `initialise` created the mutex before the file got its name, and the header that records this was
            // checked when the cell was opened.
            None => unsafe { libc::pthread_mutex_lock(raw) },
            // SAFETY: as above.
            Some(Duration::ZERO) => unsafe { libc::pthread_mutex_trylock(raw) },
            Some(limit) => self.lock_within(limit),
        };
        if code == 0 {
            self.note_holder();
        }
        code
    }

    /// Returns what a code of `take` means, and takes over the mutex of a dead owner.
    #[cold]
    pub(super) fn outcome(self, code: libc::c_int, on_death: impl FnOnce()) -> Result<Acquired> {
        match code {
            0 => Ok(Acquired::Clean),
            libc::EOWNERDEAD => {
                self.note_holder();
                on_death();
                // SAFETY: this thread has the mutex, whose last owner died.
                unsafe { libc::pthread_mutex_consistent(self.raw.as_ptr()) };
                Ok(Acquired::AfterDeath)
            }
            libc::EBUSY | libc::ETIMEDOUT => Ok(Acquired::Busy),
            libc::EDEADLK => Ok(Acquired::Own),
            code => Err(Error::os("lock the mutex of", "a cell", std::io::Error::from_raw_os_error(code))),
        }
    }

    /// Records that a thread of this process holds the mutex, so that the map stays.
    #[inline]
    fn note_holder(self) {
        self.memory.holder.store(generation().wrapping_add(1), Ordering::Relaxed);
    }

    /// Locks with a time limit that a change of the system's clock does not move.
    fn lock_within(self, limit: Duration) -> libc::c_int {
        let raw = self.raw.as_ptr();
        let Some(clocklock) = clocklock() else { return self.try_lock_until(limit) };
        let until = monotonic().saturating_add(limit);
        let until = libc::timespec {
            tv_sec: libc::time_t::try_from(until.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: until.subsec_nanos().into(),
        };
        // SAFETY: the C library's function; the mutex as in `lock`; `until` is a valid time.
        unsafe { clocklock(raw, libc::CLOCK_MONOTONIC, &raw const until) }
    }

    /// Does the same if the C library supports only the system's clock: tries again and again.
    fn try_lock_until(self, limit: Duration) -> libc::c_int {
        const PAUSE: Duration = Duration::from_millis(1);
        let start = Instant::now();
        loop {
            // SAFETY: as in `lock`.
            let result = unsafe { libc::pthread_mutex_trylock(self.raw.as_ptr()) };
            let Some(rest) = limit.checked_sub(start.elapsed()).filter(|_| result == libc::EBUSY) else {
                return result;
            };
            std::thread::sleep(rest.min(PAUSE));
        }
    }

    /// Releases the mutex. Does nothing in a thread that does not hold it, because the mutex checks its owner.
    #[inline]
    pub(super) fn unlock(self) {
        // Before the mutex is released, because another thread may then take it through this map.
        self.memory.holder.store(0, Ordering::Relaxed);
        // SAFETY: any thread may call this on an error-checking mutex; it has an effect only in the owner.
        if unsafe { libc::pthread_mutex_unlock(self.raw.as_ptr()) } != 0 {
            // Perhaps another thread holds it. If not, the map stays although it need not.
            self.note_holder();
        }
    }
}

type Clocklock =
    unsafe extern "C" fn(*mut libc::pthread_mutex_t, libc::clockid_t, *const libc::timespec) -> libc::c_int;

/// `pthread_mutex_clocklock`, which glibc has since 2.30 and other C libraries may not have.
fn clocklock() -> Option<Clocklock> {
    static FOUND: OnceLock<Option<Clocklock>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: looks up a name, which ends with a zero.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_mutex_clocklock".as_ptr()) };
        // SAFETY: a function of this name has this type (POSIX.1-2024); null is `None`.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<Clocklock>>(found) }
    })
}

/// Reads `CLOCK_MONOTONIC`.
fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Waits until the word differs from `value`, for a wake-up or a timeout. The caller checks the word again.
pub(super) fn futex_wait(word: &AtomicU32, value: u32, limit: Duration) {
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: the word is valid for as long as the reference, the time for as long as the call; the kernel only reads
    // them. Not private: waiters may be in other processes.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const limit) };
}

/// Wakes all that wait for the word, in all processes.
pub(super) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel does not access the word, only the waiters at its address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
