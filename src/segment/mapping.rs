//! A file mapped for reading, and its shared lock, which lives as long as the map.
#![expect(unsafe_code, reason = "mapping memory is what this module is for")]

use std::{fs::File, io, ops::Range, path::Path, sync::Arc};

use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::FileType;

use super::{
    directory::{Directory, Trust, check_owner},
    lock,
    map_cache::MapCache,
};
use crate::error::{Error, Kind, Result};

/// The sticky bit, which Linux ignores on files, marks a mirror (FORMAT.md, rule I2-mirror).
const MIRROR: u32 = 0o1000;

/// The bytes of one file, for as long as anything refers to them.
///
/// The map was made from a descriptor that held a shared lock and was closed afterwards. The lock belongs to the open
/// file description, which the map keeps alive: on Linux "locked" means exactly "mapped" (seen on tmpfs and ext4). With a
/// [`MapCache`] it belongs to another map, of one page.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Arc<Mmap>,
    /// The map that has the lock if the other one is in a [`MapCache`], which must not keep it.
    _lock: Option<Mmap>,
    sealed: bool,
    mirror: bool,
    /// Device and inode of the file. No other file can get them while the map lives.
    file: (u64, u64),
}

/// The writer of a file, as far as the opener knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// This crate, on this machine and as this user, if the file is read-only.
    Own,
    /// Any process may have written it: every value is validated.
    Unknown,
}

/// The result of opening a name.
pub(crate) enum Opened {
    Mapped(Arc<Mapping>),
    /// The name does not exist, or its file lost it between two calls: look the name up again.
    Gone,
}

impl Mapping {
    /// Opens, locks and maps the file `name` of any writer. Blocks for a fraction of a second at most; reads
    /// nothing.
    pub(crate) fn open(directory: &Directory, name: &str) -> Result<Opened> {
        Self::open_as(directory, name, Writer::Unknown, None)
    }

    /// Like [`open`](Self::open), for a file whose writer is known; takes its map from a cache, or adds it there.
    pub(crate) fn open_as(
        directory: &Directory,
        name: &str,
        writer: Writer,
        cache: Option<&MapCache>,
    ) -> Result<Opened> {
        let Some(file) = directory.open_file(name)? else { return Ok(Opened::Gone) };
        let path = directory.path().join(name);
        let stat = || rustix::fs::fstat(&file).map_err(|e| Error::os("read the size of", &path, e));
        let kind = FileType::from_raw_mode(stat()?.st_mode);
        if kind != FileType::RegularFile {
            let (what, detail) = (format_args!("`{}`", path.display()), format_args!("it is a {kind:?}, not a file"));
            return Err(Error::corrupt(what, "S1-magic", detail));
        }
        lock::shared(&file, &path)?;
        // Read again, because the file may have lost its name before it was locked.
        let stat = stat()?;
        if stat.st_nlink == 0 {
            return Ok(Opened::Gone);
        }
        let mut mapping = match cache {
            None => Self::map(directory, &file, &stat, &path)?,
            Some(cache) => match Self::cached(directory, name, &file, &stat, cache)? {
                Some(mapping) => mapping,
                None => return Ok(Opened::Gone),
            },
        };
        mapping.sealed &= writer == Writer::Own;
        Ok(Opened::Mapped(Arc::new(mapping)))
    }

    /// The map of a locked file from a cache; `None` if the name has another file now.
    fn cached(
        directory: &Directory,
        name: &str,
        file: &File,
        stat: &rustix::fs::Stat,
        cache: &MapCache,
    ) -> Result<Option<Self>> {
        let path = directory.path().join(name);
        let lock = Some(map_page(file, &path)?);
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(map) = cache.get(inode, usize::try_from(stat.st_size).unwrap_or_default()) {
            if directory.trust() == Trust::Checked {
                check_owner(stat, &path)?;
            }
            return Ok(Some(Self { _lock: lock, ..Self::of(map, stat) }));
        }
        // Through a descriptor without the lock, so that the kept map does not keep it.
        let Some(unlocked) = directory.open_file(name)? else { return Ok(None) };
        let again = rustix::fs::fstat(&unlocked).map_err(|e| Error::os("read the size of", &path, e))?;
        if (again.st_dev, again.st_ino) != inode {
            return Ok(None);
        }
        let mapping = Self::map(directory, &unlocked, stat, &path)?;
        cache.keep(inode, &path, &mapping.map);
        Ok(Some(Self { _lock: lock, ..mapping }))
    }

    /// Maps a locked file that is still unnamed.
    pub(super) fn from_draft(directory: &Directory, file: &File) -> Result<Arc<Self>> {
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
        // SAFETY: `&[u8]` needs that no process writes to these bytes or cuts the file while the map lives.
        // This crate does neither: a file gets its name after it was made read-only and its writable descriptor was
        // closed (`Draft::seal`), and files are unlinked, never truncated (FORMAT.md, rule L3). Other users cannot:
        // the directory and the file belong to this user and are writable by this user only (`check_owner`). Other
        // processes of this user are trusted not to (SAFETY.md, T1), or the caller promised it (`Trust::Promised`).
        let map = unsafe { MmapOptions::new().len(len).map(file) }.map_err(|e| Error::os("map", path, e))?;
        Ok(Self::of(Arc::new(map), stat))
    }

    fn of(map: Arc<Mmap>, stat: &rustix::fs::Stat) -> Self {
        let sealed = stat.st_mode & 0o222 == 0;
        let mirror = stat.st_mode & MIRROR != 0;
        Self { map, _lock: None, sealed, mirror, file: (stat.st_dev, stat.st_ino) }
    }

    /// Device and inode of the file.
    pub(crate) fn file(&self) -> (u64, u64) {
        self.file
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Maps the pages of a part of the file, as reading a byte of each would.
    pub(crate) fn populate(&self, part: &Range<usize>) -> io::Result<()> {
        self.map.advise_range(Advice::PopulateRead, part.start, part.len())
    }

    /// Whether the records of the file about itself and its values are trusted (SAFETY.md, T3): it was read-only when
    /// it was mapped, like every published segment, and was not opened as a file of an unknown writer.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }
}

impl Mapping {
    /// Whether the bytes came from another store. They were validated before the file got its name, but the metadata
    /// that a publisher attached is not trusted.
    pub(crate) fn is_mirror(&self) -> bool {
        self.mirror
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Maps a page of a locked file, so that its lock lives with the map. Its bytes are never read.
pub(super) fn map_page(file: &File, path: &Path) -> Result<Mmap> {
    // SAFETY: the map's bytes are never turned into a reference: `DirectoryLock` and `Mapping` keep the map private and unread.
    unsafe { MmapOptions::new().len(1).map(file) }
        .map_err(|e| Kind::Os { action: "map the lock file", path: path.to_owned(), source: e }.into())
}
