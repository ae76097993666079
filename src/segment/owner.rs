//! The lock file of a session's owner: locked for as long as its process lives.

use std::{io::Write, time::Duration};

use memmap2::{Advice, Mmap};

use super::{directory::Directory, lock::Flock, mapping::map_page};
use crate::error::{Error, Result};

/// An exclusive lock that ends with this process and that no forked child inherits.
///
/// Only a map keeps the lock's description alive, and fork(2) does not copy that map. fork(2) would copy a descriptor,
/// so an idle child would keep the session of a dead owner alive.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _map: Mmap,
}

/// Creates the lock file `name` in `directory` and locks it for this process.
pub(crate) fn owner_lock(directory: &Directory, name: &str) -> Result<DirectoryLock> {
    let path = directory.path().join(name);
    let file = directory.named(name)?;
    // One byte, because an empty file cannot be mapped. write(2) rather than a sparse length: a full store is an
    // error here and not a SIGBUS in the process that reads the byte.
    (&file).write_all(b"\n").map_err(|e| directory.write_error("write to", e))?;
    let lock = Flock::exclusive(file, &path, Duration::ZERO)?;
    let map = map_page(lock.file(), &path)?;
    map.advise(Advice::DontFork).map_err(|e| Error::os("keep a forked child out of", &path, e))?;
    // The guard must not unlock: closing its descriptor leaves the lock to the map.
    lock.leave();
    Ok(DirectoryLock { _map: map })
}
