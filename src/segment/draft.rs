//! A file that is being written and has no name yet.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    sync::Arc,
};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};

use super::{
    directory::Directory,
    lock::{self, Flock},
    mapping::Mapping,
    medium::{self, Medium},
};
use crate::{
    error::{Error, Result},
    failpoint,
};

/// The maximum number of slices of one writev(2).
const IOV_MAX: usize = 1024;
/// How often one write asks for room.
const ATTEMPTS: usize = 3;

/// An unnamed file in a directory. If it is dropped, or its process is killed, nothing is left of it.
///
/// Written with `write(2)` rather than through a map: a full file system is an error and not a SIGBUS, writing is as
/// fast or faster on 4 KiB pages, and no `unsafe` is needed.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    directory: Arc<Directory>,
    /// The name on file systems without `O_TMPFILE`; a shared lock shows sweeps that its writer lives.
    hidden: Option<String>,
    /// Whether the file stays under the hidden name if it is dropped before it is complete.
    stays: bool,
    len: u64,
}

impl Draft {
    /// Creates a file.
    ///
    /// `hidden` is called only if the file system lacks `O_TMPFILE`. It gives a temporary name, and a guard that
    /// keeps sweeps out until the file under that name is locked.
    pub(crate) fn create<G>(directory: &Arc<Directory>, hidden: impl FnOnce() -> Result<(String, G)>) -> Result<Self> {
        let directory = Arc::clone(directory);
        if let Some(file) = directory.unnamed()? {
            return Ok(Self { file, directory, hidden: None, stays: false, len: 0 });
        }
        let (name, _guard) = hidden()?;
        let file = directory.named(&name)?;
        flock(&file, FlockOperation::NonBlockingLockShared)
            .map_err(|e| Error::os("lock", directory.path().join(&name), e))?;
        Ok(Self { file, directory, hidden: Some(name), stays: false, len: 0 })
    }

    /// Opens the file of a transfer under this hidden name, to append to it, and creates it if it does not exist. If the
    /// draft is dropped, or its process is killed, the file stays, unless it is empty.
    ///
    /// The caller keeps other writers of the file out.
    pub(crate) fn resume(directory: &Arc<Directory>, name: &str) -> Result<Self> {
        let directory = Arc::clone(directory);
        let path = directory.path().join(name);
        loop {
            reopen_sealed(&directory, name)?;
            let mut file = directory.open_or_make_file(name)?;
            lock::shared(&file, &path)?;
            // A sweep may have removed an old file before it was locked.
            if directory.is_same(name, &file)? {
                let len =
                    file.seek(SeekFrom::End(0)).map_err(|e| directory.write_error("find the end of a file in", e))?;
                return Ok(Self { file, directory, hidden: Some(name.to_owned()), stays: true, len });
            }
        }
    }

    /// Goes on with an empty file under the hidden name.
    pub(crate) fn restart(&mut self) -> Result<()> {
        // Without the name, the drop of the old file leaves the new one.
        let Some(name) = self.hidden.take() else { return Ok(()) };
        self.directory.unlink(&name)?;
        *self = Self::resume(&self.directory, &name)?;
        Ok(())
    }

    /// Removes the file when the draft is dropped, even if it would stay.
    pub(crate) fn discard(mut self) {
        self.stays = false;
    }

    /// Reads bytes that were written before; returns how many.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        read_at(&self.file, &self.directory, buffer, offset)
    }

    /// Bytes written so far, which is where the next write goes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends all slices, in order, with as few system calls as the kernel allows; copies each byte once.
    pub(crate) fn write(&mut self, slices: &[&[u8]]) -> Result<()> {
        self.write_making_room(slices, &mut || false)
    }

    /// Like [`write`](Draft::write), but calls `make_room` if the file system is full. If that frees something, writing
    /// continues where it stopped.
    pub(crate) fn write_making_room(&mut self, slices: &[&[u8]], make_room: &mut dyn FnMut() -> bool) -> Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            slices.iter().filter(|slice| !slice.is_empty()).map(|slice| IoSlice::new(slice)).collect();
        let mut rest = slices.as_mut_slice();
        let mut attempts = ATTEMPTS;
        while !rest.is_empty() {
            match write_once(&self.file, rest) {
                Ok(written) => {
                    self.len = self.len.saturating_add(bytes(written));
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if medium::is_full(&e) && attempts > 0 && make_room() => attempts -= 1,
                Err(e) => {
                    let left = rest.iter().map(|slice| bytes(slice.len())).fold(self.len, u64::saturating_add);
                    return Err(self.directory.write_error("write to", e).with_needed(left, self.len));
                }
            }
        }
        Ok(())
    }

    /// Writes bytes at this offset, before or after the end; bytes between are a hole. Calls `make_room` as
    /// [`write_making_room`](Draft::write_making_room) does.
    pub(crate) fn write_at(&mut self, mut rest: &[u8], offset: u64, make_room: &mut dyn FnMut() -> bool) -> Result<()> {
        let (mut offset, mut attempts) = (offset, ATTEMPTS);
        while !rest.is_empty() {
            match write_once_at(&self.file, rest, offset) {
                Ok(written) => {
                    offset = offset.saturating_add(bytes(written));
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if medium::is_full(&e) && attempts > 0 && make_room() => attempts -= 1,
                Err(e) => {
                    let left = offset.saturating_add(bytes(rest.len()));
                    return Err(self.directory.write_error("write to", e).with_needed(left, offset));
                }
            }
        }
        self.len = self.len.max(offset);
        Ok(())
    }

    /// Cuts what follows the first `len` bytes.
    pub(crate) fn cut(&mut self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|e| self.directory.write_error("cut a file in", e))?;
        self.len = len;
        Ok(())
    }

    #[cfg(any(feature = "sync", feature = "shm"))]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name as it is, writable. False when the name is taken.
    pub(crate) fn link(self, name: &str) -> Result<bool> {
        link(&self.directory, &self.file, self.hidden.as_deref(), name)
    }

    /// Ends writing: read-only mode, data on disk where there is a disk, shared lock, no writable descriptor left.
    pub(crate) fn seal(self) -> Result<Sealed> {
        self.seal_as(Mode::RUSR)
    }

    /// Like [`seal`](Draft::seal), with the mark of a mirror, whose bytes come from another store.
    pub(crate) fn seal_mirror(self) -> Result<Sealed> {
        self.seal_as(Mode::RUSR | Mode::SVTX)
    }

    fn seal_as(mut self, mode: Mode) -> Result<Sealed> {
        let error = |action, e: rustix::io::Errno| self.directory.write_error(action, e);
        failpoint::reach("before-seal").map_err(|e| error("seal a file in", e))?;
        fchmod(&self.file, mode).map_err(|e| error("seal a file in", e))?;
        if self.directory.medium() == Medium::Disk {
            rustix::fs::fdatasync(&self.file).map_err(|e| error("synchronise a file in", e))?;
        }
        let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        let file: File = rustix::fs::open(open, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| error("reopen a file in", e))?
            .into();
        flock(&file, FlockOperation::NonBlockingLockShared).map_err(|e| error("lock a file in", e))?;
        let sealed = Sealed { file, directory: Arc::clone(&self.directory), hidden: self.hidden.take() };
        failpoint::reach("sealed").map_err(|e| sealed.directory.write_error("seal a file in", e))?;
        Ok(sealed)
    }
}

fn write_once(mut file: &File, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    failpoint::reach("write")?;
    match file.write_vectored(slices.get(..slices.len().min(IOV_MAX)).unwrap_or_default())? {
        0 => Err(ErrorKind::StorageFull.into()),
        written => Ok(written),
    }
}

fn write_once_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    failpoint::reach("write")?;
    match file.write_at(bytes, offset)? {
        0 => Err(ErrorKind::StorageFull.into()),
        written => Ok(written),
    }
}

fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Makes a file writable whose writer was killed after it had sealed the file. Unlinks it if it was published.
fn reopen_sealed(directory: &Directory, name: &str) -> Result<()> {
    let Some(stat) = directory.stat(name)? else { return Ok(()) };
    if stat.st_nlink > 1 {
        return directory.unlink(name);
    }
    if stat.st_mode & Mode::WUSR.bits() != 0 {
        return Ok(());
    }
    let Some(file) = directory.open_file(name)? else { return Ok(()) };
    // A reader that maps the file has locked it: it was published and removed.
    let Some(lock) = Flock::try_exclusive(file, &directory.path().join(name))? else { return directory.unlink(name) };
    fchmod(lock.file(), Mode::RUSR | Mode::WUSR).map_err(|e| directory.write_error("reopen a file in", e))
}

pub(super) fn read_at(file: &File, directory: &Directory, buffer: &mut [u8], offset: u64) -> Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            read => return read.map_err(|e| Error::os("read a file in", directory.path(), e)),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.stays && self.len > 0 {
            return;
        }
        drop_hidden(&self.directory, self.hidden.as_deref());
    }
}

/// A complete, read-only, still unnamed file; it holds the shared lock.
#[derive(Debug)]
pub(crate) struct Sealed {
    file: File,
    directory: Arc<Directory>,
    hidden: Option<String>,
}

impl Sealed {
    /// Gives the file its name. Returns false and changes nothing if the name exists.
    pub(crate) fn link(&self, name: &str) -> Result<bool> {
        link(&self.directory, &self.file, self.hidden.as_deref(), name)
    }

    /// Maps the file; the map takes over the lock.
    pub(crate) fn map(&self) -> Result<Arc<Mapping>> {
        Mapping::from_draft(&self.directory, &self.file)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        drop_hidden(&self.directory, self.hidden.as_deref());
    }
}

fn link(directory: &Directory, file: &File, hidden: Option<&str>, name: &str) -> Result<bool> {
    let Some(hidden) = hidden else { return directory.link(file, name) };
    // A second name, and the first one is removed later, because rename would replace an existing file.
    directory.link_again(hidden, name)
}

fn drop_hidden(directory: &Directory, hidden: Option<&str>) {
    if let Some(name) = hidden {
        // A file that cannot be removed now is hidden and unlocked, so the next sweep removes it.
        let _ = directory.unlink(name);
    }
}
