//! A directory that is checked once and then used through its descriptor.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    lock::Flock,
    medium::{self, Medium, Space},
};
use crate::error::{Error, Kind, Result};

/// The suffix of a symlink that has not been moved to its final name yet.
const UNSWITCHED: &str = ".new";

/// The reason why no other process writes to the files of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Owner and mode show that only this user can write.
    Checked,
    /// The caller of an `unsafe` constructor promised it.
    Promised,
}

/// The result of unlinking a file unless it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unlinked {
    /// Its size in bytes.
    Removed(u64),
    /// Another open file holds a lock on it.
    InUse,
    /// No file has the name, or another file has it by now.
    Gone,
}

/// A checked directory. Every later call goes through the descriptor, so replacing the path has no effect.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    medium: Medium,
    trust: Trust,
}

impl Directory {
    /// Opens the directory at `path`, and creates it (mode 0700) if it does not exist.
    pub(crate) fn open_or_make(path: &Path, trust: Trust) -> Result<Self> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::os("make the directory", path, e)),
        }
        Self::open(path, trust)
    }

    /// Opens the directory at `path`.
    pub(crate) fn open(path: &Path, trust: Trust) -> Result<Self> {
        Self::open_at(rustix::fs::CWD, path.as_os_str(), path, trust)
    }

    /// Opens the sub-directory `name`.
    pub(crate) fn sub(&self, name: &str) -> Result<Self> {
        Self::open_at(self.fd.as_fd(), OsStr::new(name), &self.path.join(name), self.trust)
    }

    fn open_at(at: BorrowedFd<'_>, name: &OsStr, path: &Path, trust: Trust) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => refused(path, "it is not a directory but a file or a symbolic link"),
            e => Error::os("open the directory", path, e),
        })?;
        if trust == Trust::Checked {
            let stat = rustix::fs::fstat(&fd).map_err(|e| Error::os("read the mode of", path, e))?;
            check_owner(&stat, path)?;
        }
        let medium = medium::medium(&fd, path)?;
        Ok(Self { fd, path: path.to_owned(), medium, trust })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn medium(&self) -> Medium {
        self.medium
    }

    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    pub(crate) fn space(&self) -> Result<Space> {
        medium::space(&self.fd, &self.path)
    }

    /// The error of a call that writes. A full file system has a separate kind.
    pub(crate) fn write_error(&self, action: &'static str, error: impl Into<io::Error>) -> Error {
        medium::write_error(action, &self.fd, &self.path, error)
    }

    /// Opens a file for reading; `None` if it does not exist.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<File>> {
        self.open_with(name, OFlags::RDONLY)
    }

    /// Opens a file for reading and writing; `None` if it does not exist.
    pub(crate) fn open_file_rw(&self, name: &str) -> Result<Option<File>> {
        self.open_with(name, OFlags::RDWR)
    }

    fn open_with(&self, name: &str, access: OFlags) -> Result<Option<File>> {
        // NONBLOCK: a FIFO in place of a file does not block the process.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::os("open", self.path.join(name), e)),
        }
    }

    /// An unnamed file in this directory, open for writing. `None` if the file system lacks `O_TMPFILE`.
    pub(super) fn unnamed(&self) -> Result<Option<File>> {
        if crate::failpoint::reach("no-tmpfile").is_err() {
            return Ok(None);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(None),
            Err(e) => Err(self.write_error("make a file in", e)),
        }
    }

    /// A new file under `name`, open for writing; fails when the name is taken.
    pub(crate) fn named(&self, name: &str) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|e| self.write_error("make a file in", e))
    }

    /// Opens the file `name` for reading and writing, and creates an empty one if it does not exist.
    pub(crate) fn open_or_make_file(&self, name: &str) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|e| self.write_error("make a file in", e))
    }

    /// Gives an open file a name. False when the name is taken.
    pub(super) fn link(&self, file: impl AsFd, name: &str) -> Result<bool> {
        let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
        match rustix::fs::linkat(rustix::fs::CWD, open, &self.fd, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(self.write_error("name a file in", e)),
        }
    }

    /// Gives a file a second name. False when the name is taken.
    pub(crate) fn link_again(&self, file: &str, name: &str) -> Result<bool> {
        match rustix::fs::linkat(&self.fd, file, &self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(self.write_error("name a file in", e)),
        }
    }

    /// The target of the symlink `name`; `None` if it does not exist.
    pub(crate) fn read_link(&self, name: &str) -> Result<Option<String>> {
        match rustix::fs::readlinkat(&self.fd, name, Vec::with_capacity(256)) {
            Ok(target) => Ok(target.into_string().ok()),
            // INVAL: the name exists and is not a symlink.
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(e) => Err(Error::os("read the link", self.path.join(name), e)),
        }
    }

    /// Makes the symlink `name` point to `target`, atomically.
    pub(crate) fn switch_link(&self, name: &str, target: &str) -> Result<()> {
        self.replace_link(name, target, Some("before-switch"))
    }

    /// Writes a short text that only holders of the store lock use, as the target of the symlink `name`, atomically.
    pub(crate) fn write_note(&self, name: &str, text: &str) -> Result<()> {
        match rustix::fs::symlinkat(text, &self.fd, name) {
            Err(Errno::EXIST) => self.replace_link(name, text, None),
            result => result.map_err(|e| self.write_error("make a link in", e)),
        }
    }

    fn replace_link(&self, name: &str, target: &str, step: Option<&str>) -> Result<()> {
        let temporary = format!(".{name}{UNSWITCHED}");
        // Only the holder of the store lock runs this, so a temporary link can only be that of a dead process.
        self.unlink(&temporary)?;
        rustix::fs::symlinkat(target, &self.fd, &*temporary).map_err(|e| self.write_error("make a link in", e))?;
        let reached = step
            .map_or(Ok(()), |step| crate::failpoint::reach(step).map_err(|e| self.write_error("switch a link in", e)));
        reached.and_then(|()| self.rename(&temporary, name)).inspect_err(|_| drop(self.unlink(&temporary)))
    }

    /// Whether an entry is the temporary link of a `switch_link` that did not finish.
    pub(crate) fn is_unswitched(entry: &str) -> bool {
        entry.starts_with('.') && entry.ends_with(UNSWITCHED)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to).map_err(|e| self.write_error("rename a file in", e))
    }

    /// Unlinks a name. A missing name is not an error.
    pub(crate) fn unlink(&self, name: &str) -> Result<()> {
        self.remove(name, AtFlags::empty())
    }

    /// Removes an empty sub-directory. A missing one is not an error.
    pub(crate) fn remove_sub(&self, name: &str) -> Result<()> {
        self.remove(name, AtFlags::REMOVEDIR)
    }

    fn remove(&self, name: &str, flags: AtFlags) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::os("remove", self.path.join(name), e)),
        }
    }

    /// Creates the sub-directory `name`, mode 0700. An existing one is not an error.
    pub(crate) fn make_sub(&self, name: &str) -> Result<()> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(self.write_error("make a directory in", e)),
        }
    }

    /// The status of `name`, without following a link; `None` if it does not exist.
    pub(crate) fn stat(&self, name: &str) -> Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::os("look up", self.path.join(name), e)),
        }
    }

    /// Bytes of the file `name`; `None` when no file has the name.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.stat(name)?.map(|stat| u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// Bytes that `name` occupies, which can be less than its size; 0 if it does not exist.
    pub(crate) fn allocated(&self, name: &str) -> Result<u64> {
        let blocks = self.stat(name)?.map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0));
        Ok(blocks.saturating_mul(512))
    }

    /// Whether the last change of `name` is longer ago than `limit`; false if it does not exist. If the clock was set back
    /// by more than that, the change is in the future, and counts as long ago too.
    pub(crate) fn is_older(&self, name: &str, limit: Duration) -> Result<bool> {
        let Some(stat) = self.stat(name)? else { return Ok(false) };
        let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        Ok(changed.elapsed().unwrap_or_else(|ahead| ahead.duration()) > limit)
    }

    /// Whether `name` now refers to the file that `file` has open.
    pub(crate) fn is_same(&self, name: &str, file: impl AsFd) -> Result<bool> {
        let Some(named) = self.stat(name)? else { return Ok(false) };
        let open = rustix::fs::fstat(file).map_err(|e| Error::os("look up", self.path.join(name), e))?;
        Ok((named.st_dev, named.st_ino) == (open.st_dev, open.st_ino))
    }

    /// All entries except `.` and `..`, in no order. Names that are not UTF-8 are skipped: coframe does not create such
    /// names.
    pub(crate) fn entries(&self) -> Result<Vec<(String, FileType)>> {
        let read = |e: Errno| Error::os("list", &self.path, e);
        crate::failpoint::reach("list").map_err(read)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(read)? {
            let entry = entry.map_err(read)?;
            match OsStr::from_bytes(entry.file_name().to_bytes()).to_str() {
                Some("." | "..") | None => {}
                Some(name) => entries.push((name.to_owned(), entry.file_type())),
            }
        }
        Ok(entries)
    }

    /// Makes names durable, where there is a disk.
    pub(crate) fn sync(&self) -> Result<()> {
        match self.medium {
            Medium::Memory => Ok(()),
            Medium::Disk => rustix::fs::fsync(&self.fd).map_err(|e| self.write_error("synchronise", e)),
        }
    }

    /// Unlinks `name` unless another open file holds a lock on it.
    ///
    /// Uses a new descriptor and never converts a lock: a failed upgrade loses the shared one.
    pub(crate) fn unlink_unused(&self, name: &str) -> Result<Unlinked> {
        let Some(file) = self.open_file(name)? else { return Ok(Unlinked::Gone) };
        let Some(lock) = Flock::try_exclusive(file, &self.path)? else { return Ok(Unlinked::InUse) };
        crate::failpoint::reach("sweep-locked").map_err(|e| self.write_error("sweep", e))?;
        if !self.is_same(name, lock.file())? {
            return Ok(Unlinked::Gone);
        }
        let bytes = lock.file().metadata().map_or(0, |m| m.len());
        self.unlink(name)?;
        Ok(Unlinked::Removed(bytes))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Refuses a file or directory that another user owns or can write to.
pub(crate) fn check_owner(stat: &Stat, path: &Path) -> Result<()> {
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me {
        return Err(refused(path, &format!("it belongs to user {}, expected {me}", stat.st_uid)));
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(refused(path, &format!("its mode is {mode:04o}, which lets others write; expected 0700")));
    }
    Ok(())
}

fn refused(path: &Path, found: &str) -> Error {
    let next = "set COFRAME_STORE to a directory that you own, or correct its owner and mode";
    Kind::Untrusted { path: path.to_owned(), found: found.to_owned(), next: next.to_owned() }.into()
}
