//! Memory that one worker and its pool share: which task is running, and results that were not sent yet.
//!
//! The worker writes, and the pool reads. A worker that is killed leaves the board as it was, so the pool knows which
//! task was running and which results were finished but not sent.
//!
//! | word | written by | content |
//! | --- | --- | --- |
//! | 0 | worker | 1 + number of the task that started last |
//! | 1 | worker | when it started |
//! | 2 | worker | 1 + number of the task that ended last |
//! | 3 | worker | bytes in the mailbox, which follows the words |
//! | 4 | pool | 1 while the pool is about to kill the worker |
#![expect(unsafe_code, reason = "two processes share this memory")]

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    ptr::NonNull,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};

use super::steps::{Begun, Steps};
use crate::error::{Error, Result};

/// Bytes of results that a worker gathers before it sends them.
pub(super) const MAILBOX: usize = 64 * 1024;
/// The words, on a separate cache line.
const WORDS: usize = 64;
const WORD: usize = 8;

/// A shared mapping of a sealed memfd of `WORDS + MAILBOX` bytes.
#[derive(Debug)]
pub(super) struct Board {
    _map: MmapRaw,
    base: NonNull<u8>,
    /// Held while this process accesses the mailbox.
    mailbox: Mutex<()>,
}

// SAFETY: the pointer is that of the map, which `Board` owns and never moves. The words are read and written as atomics;
// the mailbox is written by the worker, under a mutex, and read by the pool when it gives the board up, after the worker's
// death.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

impl Board {
    /// Creates the memory, with a descriptor to send to the worker.
    pub(super) fn make() -> Result<(Self, OwnedFd)> {
        let os = |action, e: rustix::io::Errno| Error::os(action, "memfd:coframe-board", e);
        let fd = rustix::fs::memfd_create("coframe-board", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|e| os("make", e))?;
        let len = u64::try_from(WORDS + MAILBOX).unwrap_or(u64::MAX);
        rustix::fs::ftruncate(&fd, len).map_err(|e| os("size", e))?;
        // Neither side can truncate it, so the other gets no SIGBUS.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(|e| os("seal", e))?;
        Ok((Self::open(&fd)?, fd))
    }

    /// Maps the memory of a descriptor that `make` created.
    pub(super) fn open(fd: &impl AsFd) -> Result<Self> {
        let file =
            File::from(fd.as_fd().try_clone_to_owned().map_err(|e| Error::os("share", "memfd:coframe-board", e))?);
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        if len != u64::try_from(WORDS + MAILBOX).unwrap_or(u64::MAX) {
            return Err(Error::invalid("the memory that a worker was given", format_args!("it has {len} bytes")));
        }
        let map = MmapOptions::new().len(WORDS + MAILBOX).map_raw(&file);
        let map = map.map_err(|e| Error::os("map", "memfd:coframe-board", e))?;
        // A child that either side forks does not use this memory.
        map.advise(Advice::DontFork).map_err(|e| Error::os("keep a forked child out of", "memfd:coframe-board", e))?;
        let base = NonNull::new(map.as_mut_ptr())
            .ok_or_else(|| Error::invalid("the memory that a worker was given", "it was mapped at address 0"))?;
        Ok(Self { _map: map, base, mailbox: Mutex::new(()) })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < WORDS / WORD, "there are eight words");
        // SAFETY: the map is page-aligned and longer than `WORDS`, so it contains the word, aligned to 8 bytes.
        let word = unsafe { self.base.add(index * WORD) }.cast::<u64>();
        // SAFETY: valid for as long as `self` keeps the map, and accessed as an atomic only, by both processes.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }

    fn lock_mailbox(&self) -> MutexGuard<'_, ()> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mailbox(&self) -> NonNull<u8> {
        // SAFETY: the map has `WORDS + MAILBOX` bytes.
        unsafe { self.base.add(WORDS) }
    }

    fn steps(&self) -> Steps<'_> {
        Steps { begun: self.word(0), at: self.word(1), ended: self.word(2), condemned: self.word(4) }
    }

    /// For the worker: see `Steps::begin`.
    pub(super) fn begin(&self, number: u64, at: u64) -> bool {
        self.steps().begin(number, at)
    }

    /// For the pool: see `Steps::condemn`.
    pub(super) fn condemn(&self, number: u64) -> bool {
        self.steps().condemn(number)
    }

    /// For the worker: see `Steps::is_condemned`.
    pub(super) fn is_condemned(&self) -> bool {
        self.steps().is_condemned()
    }

    /// For the worker: see `Steps::end`.
    pub(super) fn end(&self, number: u64) {
        self.steps().end(number);
    }

    /// For both: see `Steps::running`.
    pub(super) fn running(&self) -> Option<Begun> {
        self.steps().running()
    }

    /// Adds bytes to the worker's mailbox. Returns false if they do not fit.
    pub(super) fn gather(&self, bytes: &[u8]) -> bool {
        let _mailbox = self.lock_mailbox();
        let len = self.gathered();
        if bytes.len() > MAILBOX - len {
            return false;
        }
        // SAFETY: `len <= MAILBOX`, so this stays inside the map.
        let end = unsafe { self.mailbox().add(len) };
        // SAFETY: the source is a slice outside the map; the target is large enough, as checked. Only this process
        // writes here, and the pool reads the mailbox only after this process is dead (`leftover`).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), end.as_ptr(), bytes.len()) };
        // Acquired by `gathered`: the bytes are visible before their length.
        self.word(3).store(u64::try_from(len + bytes.len()).unwrap_or(0), Ordering::Release);
        true
    }

    /// Returns the number of bytes in the mailbox.
    fn gathered(&self) -> usize {
        // Pairs with the releases of `gather` and `clear`.
        usize::try_from(self.word(3).load(Ordering::Acquire)).unwrap_or(MAILBOX).min(MAILBOX)
    }

    /// Returns what a dead worker left in its mailbox.
    pub(super) fn into_leftover(self) -> Vec<u8> {
        let len = self.gathered();
        let mut bytes = vec![0; len];
        // SAFETY: `len <= MAILBOX` bytes are inside the map; the target was allocated with that length. No process writes
        // to them: the pool calls this, which gives up the board, once the worker was waited for.
        unsafe { std::ptr::copy_nonoverlapping(self.mailbox().as_ptr(), bytes.as_mut_ptr(), len) };
        bytes
    }

    /// Empties the worker's mailbox.
    pub(super) fn clear(&self) {
        let _mailbox = self.lock_mailbox();
        // Acquired by `gathered`.
        self.word(3).store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Begun, Board, MAILBOX};

    #[test]
    fn what_one_mapping_writes_the_other_reads() {
        let (pool, fd) = Board::make().unwrap();
        let worker = Board::open(&fd).unwrap();
        assert_eq!(pool.running(), None);
        assert!(worker.begin(0, 17));
        assert_eq!(pool.running(), Some(Begun { number: 0, at: 17 }));
        assert!(worker.gather(b"one "));
        assert!(worker.gather(b"two"));
        worker.end(0);
        assert_eq!(pool.running(), None);
        assert_eq!(pool.into_leftover(), b"one two");
        worker.clear();
        assert!(worker.into_leftover().is_empty());
    }

    #[test]
    fn a_task_that_starts_under_a_kill_for_another_does_not_run() {
        let (pool, fd) = Board::make().unwrap();
        let worker = Board::open(&fd).unwrap();
        assert!(worker.begin(0, 1));
        worker.end(0);
        assert!(!pool.condemn(0), "it has ended");
        assert!(worker.begin(1, 2));
        assert!(pool.condemn(1));
        worker.end(1);
        assert!(!worker.begin(2, 3));
        assert!(worker.is_condemned());
    }

    #[test]
    fn a_mailbox_takes_what_fits_and_no_more() {
        let (board, _) = Board::make().unwrap();
        assert!(board.gather(&vec![1; MAILBOX - 1]));
        assert!(!board.gather(&[2; 2]));
        assert!(board.gather(&[2; 1]));
        assert_eq!(board.into_leftover().len(), MAILBOX);
    }

    #[test]
    fn memory_of_another_size_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert!(Board::open(&file).unwrap_err().is_invalid_argument());
    }
}
