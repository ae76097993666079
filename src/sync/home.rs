//! The namespaces in which a cell's lock and marks are valid (FORMAT.md, rule K6).
//!
//! A robust mutex identifies its owner by a thread id, and a mark identifies a process by its id. In another pid
//! namespace these ids belong to other threads, so a cell with a lock belongs to the processes of one namespace. Every
//! process that has the cell open holds a shared flock on its file, through its map. A process of another namespace
//! that gets the exclusive flock is the only one, and may take the cell over.

use std::{
    fs::File,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{memory::Memory, space::Space};
use crate::{
    error::{Error, Kind, Result},
    fork::generation,
    interrupt::Looks,
};

/// How long a process waits while another one takes the cell over, which takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Whether this process is in the namespaces of a cell.
#[derive(Debug)]
pub(super) struct Home {
    /// The offset of the two words in the header.
    place: usize,
    /// One more than the generation of the process that passed the check, or 0. A forked child may be in other
    /// namespaces.
    known: AtomicU32,
}

impl Home {
    /// Records the namespaces of this process in a new file.
    pub(super) fn create(file: &File, memory: &Memory, place: usize) -> Result<Self> {
        let home = Self { place, known: AtomicU32::new(0) };
        home.record(memory, Space::own()?);
        share(file)?;
        home.know();
        Ok(home)
    }

    /// Joins the processes that have the file open, if this process is in the namespaces of the cell. If it is in
    /// others and no process has the file open, takes the cell over: `recover` then runs alone, and clears what earlier
    /// processes left.
    pub(super) fn join(file: &File, memory: &Memory, place: usize, recover: impl Fn() -> Result<()>) -> Result<Self> {
        let home = Self { place, known: AtomicU32::new(0) };
        let own = Space::own()?;
        let (start, mut looks) = (Instant::now(), Looks::new());
        loop {
            if home.recorded(memory) == own {
                if share(file)? {
                    // Another process may have taken it over before this one had its share.
                    if home.recorded(memory) == own {
                        home.know();
                        return Ok(home);
                    }
                    unlock(file)?;
                }
            } else if take(file, FlockOperation::NonBlockingLockExclusive)? {
                // Only the holder of the exclusive lock changes the words.
                if home.recorded(memory) != own {
                    recover()?;
                    home.record(memory, own);
                }
                // Releases the lock for a moment; the loop checks again.
                unlock(file)?;
                continue;
            } else {
                return Ok(home);
            }
            if start.elapsed() > PATIENCE {
                let what = "a cell that another process takes over".to_owned();
                return Err(Kind::Busy { what, holder: "that process".to_owned() }.into());
            }
            looks.check(|| "a cell that another process takes over".to_owned())?;
            std::thread::sleep(PAUSE);
        }
    }

    /// Refuses a process that is not in the namespaces of the cell. For the others it costs a load and a comparison.
    #[inline]
    pub(super) fn check(&self, memory: &Memory, what: impl Fn() -> String) -> Result<()> {
        if self.known.load(Ordering::Relaxed) == generation().wrapping_add(1) {
            return Ok(());
        }
        self.check_again(memory, what)
    }

    #[cold]
    fn check_again(&self, memory: &Memory, what: impl Fn() -> String) -> Result<()> {
        let (own, found) = (Space::own()?, self.recorded(memory));
        if own == found {
            self.know();
            return Ok(());
        }
        let next = "run its processes in one pid namespace and one time namespace (containers: share the pid namespace), \
                    or use a counter, a flag, an event or an atomic array, which have no lock";
        let found = if own.pids == found.pids {
            format!("{}, which processes of another time namespace have open, in this one", what())
        } else {
            let (theirs, ours) = (found.pids, own.pids);
            format!("{}, which processes of pid namespace {theirs} have open, in pid namespace {ours}", what())
        };
        Err(Error::unsupported(found, next))
    }

    fn know(&self) {
        self.known.store(generation().wrapping_add(1), Ordering::Relaxed);
    }

    fn recorded(&self, memory: &Memory) -> Space {
        // Pairs with the releases of `record`.
        let word = |index: usize| memory.word64(self.place + 8 * index).load(Ordering::Acquire);
        Space { pids: word(0), ticks: word(1) }
    }

    fn record(&self, memory: &Memory, space: Space) {
        // Acquired by `recorded`.
        memory.word64(self.place).store(space.pids, Ordering::Release);
        memory.word64(self.place + 8).store(space.ticks, Ordering::Release);
    }
}

/// Takes the shared lock that marks the file as open in this process. The map keeps it after the descriptor is closed.
fn share(file: &File) -> Result<bool> {
    take(file, FlockOperation::NonBlockingLockShared)
}

fn take(file: &File, operation: FlockOperation) -> Result<bool> {
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::os("lock the file of", "a cell", e)),
        }
    }
}

fn unlock(file: &File) -> Result<()> {
    flock(file, FlockOperation::Unlock).map_err(|e| Error::os("unlock the file of", "a cell", e))
}
