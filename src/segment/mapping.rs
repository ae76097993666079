//! A file mapped for reading, with the shared lock that says so.
#![expect(unsafe_code, reason = "mapping memory is what this module is for")]

use std::{fs::File, path::Path, sync::Arc};

use memmap2::{Mmap, MmapOptions};

use super::{
    directory::{Directory, Trust, check_owner},
    lock,
};
use crate::error::{Error, Kind, Result};

/// The bytes of one file, for as long as anything refers to them.
///
/// The map was made from a descriptor that held a shared lock and was closed afterwards. The lock belongs to the open
/// file description, which the map keeps alive: on Linux "locked" means exactly "mapped" (seen on tmpfs and ext4).
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
    sealed: bool,
}

/// What opening a name gave.
pub(crate) enum Opened {
    Mapped(Arc<Mapping>),
    /// No file of that name is there, or it lost its name between two calls: look the name up again.
    Gone,
}

impl Mapping {
    /// Opens, locks and maps the file `name`. Blocks for a fraction of a second at most; reads nothing.
    pub(crate) fn open(directory: &Directory, name: &str) -> Result<Opened> {
        let Some(file) = directory.open_file(name)? else { return Ok(Opened::Gone) };
        let path = directory.path().join(name);
        lock::shared(&file, &path)?;
        let stat = rustix::fs::fstat(&file).map_err(|e| Error::os("read the size of", &path, e))?;
        if stat.st_nlink == 0 {
            return Ok(Opened::Gone);
        }
        Self::map(directory, &file, &stat, &path).map(|map| Opened::Mapped(Arc::new(map)))
    }

    /// Maps a locked file that has no name yet.
    pub(super) fn of_draft(directory: &Directory, file: &File) -> Result<Arc<Self>> {
        let stat = rustix::fs::fstat(file).map_err(|e| Error::os("read the size of", directory.path(), e))?;
        Self::map(directory, file, &stat, directory.path()).map(Arc::new)
    }

    fn map(directory: &Directory, file: &File, stat: &rustix::fs::Stat, path: &Path) -> Result<Self> {
        if directory.trust() == Trust::Checked {
            check_owner(stat, path)?;
        }
        let len = usize::try_from(stat.st_size).unwrap_or_default();
        if len == 0 {
            return Err(Error::corrupt(format_args!("`{}`", path.display()), "S1-magic", "the file is empty"));
        }
        // SAFETY: `&[u8]` needs that nobody writes to these bytes or cuts the file while the map lives.
        // This crate does neither: a file gets its name after it was made read-only and its writable descriptor was
        // closed (`Draft::seal`), and files are unlinked, never truncated (FORMAT.md, rule L3). Other users cannot:
        // the directory and the file belong to this user and nobody else can write to them (`check_owner`). Other
        // processes of this user are trusted not to (SAFETY.md, T1), or the caller promised it (`Trust::Promised`).
        let map = unsafe { MmapOptions::new().len(len).map(file) }.map_err(|e| Error::os("map", path, e))?;
        let sealed = stat.st_mode & 0o222 == 0;
        Ok(Self { map, sealed })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Whether the file was read-only for everybody when it was mapped, as a published segment is.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Maps a lock file, whose bytes nobody ever reads, so that its lock lives with the map.
pub(super) fn map_lock_file(file: &File, path: &Path) -> Result<Mmap> {
    // SAFETY: the map's bytes are never turned into a reference: `DirectoryLock` keeps the map private and unread.
    unsafe { MmapOptions::new().len(1).map(file) }
        .map_err(|e| Kind::Os { action: "map the lock file", path: path.to_owned(), source: e }.into())
}
