//! flock(2) as guards: bounded waits, explicit unlocks, and guards that do nothing in a forked child.
//!
//! A lock belongs to the open file description, which a forked child shares. So a guard unlocks explicitly, instead
//! of leaving it to the last close, and only in the process that took it.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, getpid},
};

use crate::{
    error::{self, Error, Kind, Result},
    interrupt::Looks,
};

/// How long a reader waits for a lock. Only a sweep can hold it, for microseconds.
const READER_LIMIT: Duration = Duration::from_millis(250);

/// An exclusive lock on an open file, released when dropped.
pub(crate) struct Flock {
    file: File,
    /// The process whose drop unlocks; `None` once a map keeps the lock.
    process: Option<Pid>,
}

impl Flock {
    /// Takes the lock if it is free.
    pub(crate) fn try_exclusive(file: File, path: &Path) -> Result<Option<Self>> {
        let taken = acquire(&file, FlockOperation::NonBlockingLockExclusive, Duration::ZERO, path)?;
        Ok(taken.then(|| Self { file, process: Some(getpid()) }))
    }

    /// Waits for the lock until the deadline; the error names its holder.
    pub(crate) fn exclusive(file: File, path: &Path, limit: Duration) -> Result<Self> {
        if acquire(&file, FlockOperation::NonBlockingLockExclusive, limit, path)? {
            return Ok(Self { file, process: Some(getpid()) });
        }
        let what = format!("`{}`", path.display());
        Err(Kind::Busy { what, holder: holder(&file) }.into())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Closes the descriptor without unlocking.
    pub(super) fn leave(mut self) {
        self.process = None;
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        // A forked child shares the description with its parent: unlocking would release the parent's lock.
        if Some(getpid()) == self.process {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Takes a shared lock without blocking for long, so that a stopped sweeper does not hang a reader.
pub(super) fn shared(file: &File, path: &Path) -> Result<()> {
    if acquire(file, FlockOperation::NonBlockingLockShared, READER_LIMIT, path)? {
        return Ok(());
    }
    let what = format!("`{}`, which is being removed,", path.display());
    Err(Kind::Busy { what, holder: holder(file) }.into())
}

/// Tries until the limit, or until the caller ends it, with growing pauses.
fn acquire(file: &File, operation: FlockOperation, limit: Duration, path: &Path) -> Result<bool> {
    let start = Instant::now();
    let mut looks = Looks::new();
    let mut pause = Duration::from_micros(20);
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() >= limit => return Ok(false),
            Err(Errno::WOULDBLOCK) => {
                looks.check(|| format!("`{}`, which {} has locked,", path.display(), holder(file)))?;
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(5));
            }
            Err(e) => return Err(Error::os("lock", path, e)),
        }
    }
}

/// The process that holds a lock on this file, from /proc/locks: "process 4711 (python3)".
fn holder(file: &File) -> String {
    let unknown = || "another process".to_owned();
    let Ok(stat) = rustix::fs::fstat(file) else { return unknown() };
    let inode = format!(":{}", stat.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = locks
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.contains(&"->"))
        .find_map(|words| words.get(5)?.ends_with(&inode).then(|| words.get(4).map(|pid| (*pid).to_owned()))?);
    pid.map_or_else(unknown, |pid| error::process(&pid))
}
