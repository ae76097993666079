//! Stores: directories of frames, and all operations on names in them.
//!
//! Uses frames and segments. Polars tables arrive as a sealed `Table`, so nothing here depends on Polars.
//!
//! Kept true here:
//! * names are linked, switched and unlinked only under the store lock;
//! * a version number is never used twice in a store;
//! * a file that a process has locked is unlinked only by `remove`, never by a sweep.

#[cfg(feature = "sync")]
mod cells;

#[cfg(any(feature = "sync", feature = "map"))]
mod address;
mod commit;
mod control;
mod home;
mod import;
mod list;
#[cfg(feature = "map")]
mod maps;
mod mirror;
mod open;
mod origin;
mod partial;
mod parts;
mod private;
mod publish;
mod reap;
mod remove;
mod rename;
mod room;
mod session;
mod sweep;
mod turn;
mod users;
mod verify;
mod versions;
mod wait;
mod writer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

#[cfg(any(feature = "sync", feature = "map"))]
pub(crate) use address::{Address, address_handle};

pub use list::{FrameInfo, StoreUsage};
#[cfg(feature = "map")]
pub(crate) use maps::MapFiles;
pub use mirror::{MirrorOptions, MirrorWriter};
pub use partial::PartialMirror;
pub use private::PrivateBytes;
pub use publish::{PublishMode, PublishOptions};
pub use session::Session;
pub use sweep::SweepReport;
pub use turn::MirrorTurn;
pub use users::FrameUser;
pub use writer::FrameWriter;

use rustix::fs::FileType;

use crate::{
    error::{Error, Kind, Result},
    frame::SESSIONS,
    name::Name,
    segment::{Directory, Trust},
};

/// A directory on a memory file system (or a disk) that holds frames under names.
///
/// Cheap to clone, `Send + Sync`. Processes that open the same path share the store, without a daemon. Dropping
/// a `Store` changes nothing on disk. After fork(2) it keeps working in both processes.
///
/// ```
/// use coframe::Store;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// store.publish("prices", &polars::df!("price" => [1.5, 2.5])?)?;
/// assert_eq!(store.open("prices")?.num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    /// The directory of the control file and the sessions.
    root: Arc<Directory>,
    /// The directory of the frames: the root, or the directory of a session.
    frames: Arc<Directory>,
    session: Option<String>,
    /// Whether the store is known to be where it was created; see [`Store::is_home`].
    home: Arc<AtomicBool>,
}

impl Store {
    /// The path of the default store: `$COFRAME_STORE`, else `/dev/shm/coframe-<uid>` with the effective user id.
    ///
    /// ```
    /// assert!(coframe::Store::default_path().is_absolute() || std::env::var_os("COFRAME_STORE").is_some());
    /// ```
    #[must_use]
    pub fn default_path() -> PathBuf {
        match std::env::var_os("COFRAME_STORE").filter(|path| !path.is_empty()) {
            Some(path) => path.into(),
            None => format!("/dev/shm/coframe-{}", rustix::process::geteuid().as_raw()).into(),
        }
    }

    /// Opens the store at [`Store::default_path`] and creates it if it does not exist.
    ///
    /// ```no_run
    /// let store = coframe::Store::open_default()?; // $COFRAME_STORE, else /dev/shm/coframe-<uid>
    /// store.session()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Store::open_at`]. A directory of another user at the default path is refused.
    pub fn open_default() -> Result<Self> {
        Self::open_at(Self::default_path())
    }

    /// Opens the store at `path`, and creates it (mode 0700) if it does not exist. The parent directory must exist.
    ///
    /// The path may be in memory (tmpfs) or on a disk (ext4, xfs, btrfs, overlayfs): a store on a disk is larger than
    /// memory and survives a reboot, and a publish waits for the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let store = coframe::Store::open_at(dir.path().join("frames"))?; // created if it does not exist
    /// assert!(store.list()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_untrusted`](Error::is_untrusted) when another user owns the directory or can write to it, or it is a
    /// symbolic link of another user; [`is_unsupported`](Error::is_unsupported) on another file system, NFS among them;
    /// [`is_invalid_argument`](Error::is_invalid_argument) when the directory has other content.
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_root(path.as_ref(), Trust::Checked, true)
    }

    /// Opens the store at `path`, which must exist: creates neither a directory nor a file.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) when the path has no store, and those of [`Store::open_at`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let error = coframe::Store::open_existing(dir.path().join("store")).unwrap_err();
    /// assert!(error.is_not_found());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::open_root(path, Trust::Checked, false).map_err(|error| {
            if error.is_missing_path() { Kind::NoStore { path: path.to_owned() }.into() } else { error }
        })
    }

    /// Opens a store without checking who can write to it.
    ///
    /// # Safety
    ///
    /// For as long as any frame, batch or column from this store lives, no process may change or cut a file in it. A
    /// changed byte under a `&[u8]`, an invalid UTF-8 string or an offset out of range is undefined behaviour.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let path = dir.path().join("store");
    /// // SAFETY: only this program writes to the directory, and it never changes a file.
    /// let store = unsafe { coframe::Store::open_at_trusting_writers(&path) }?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(unsafe_code, reason = "the promise that the type system cannot see is made here, once")]
    pub unsafe fn open_at_trusting_writers(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_root(path.as_ref(), Trust::Promised, true)
    }

    fn open_root(path: &Path, trust: Trust, make: bool) -> Result<Self> {
        let path = found(path)?;
        let root = if make { Directory::open_or_make(&path, trust) } else { Directory::open(&path, trust) }?;
        let root = Arc::new(root);
        control::ensure(&root, make, home::record_new)?;
        Ok(Self { shared: Arc::new(Shared { frames: root.clone(), root, session: None, home: Arc::default() }) })
    }

    /// An existing session of this store.
    fn in_session(&self, id: &str) -> Result<Self> {
        let frames = Arc::new(self.shared.root.sub(SESSIONS)?.sub(id)?);
        let (root, home) = (self.shared.root.clone(), self.shared.home.clone());
        let shared = Shared { root, frames, session: Some(id.to_owned()), home };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The store that a session belongs to; a store returns itself.
    fn root(&self) -> Self {
        let (root, home) = (self.shared.root.clone(), self.shared.home.clone());
        Self { shared: Arc::new(Shared { frames: root.clone(), root, session: None, home }) }
    }

    /// The directory of the store.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// assert!(store.path().ends_with("store"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        self.shared.root.path()
    }

    fn frames(&self) -> &Arc<Directory> {
        &self.shared.frames
    }

    /// The version that a name's symlink points to.
    fn latest(&self, name: &Name) -> Result<Option<u64>> {
        let target = self.frames().read_link(&name.link())?;
        // This crate did not create any other link, and does not follow it.
        let parsed = target.as_deref().and_then(Name::parse_file).filter(|(target, _)| target == name);
        Ok(parsed.map(|(_, version)| version))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path()).field("session", &self.shared.session).finish()
    }
}

/// The canonical path of a directory. If it does not exist, its parent must.
///
/// A symbolic link is followed only if this user or root owns it, so that another user's link cannot choose the store.
fn found(path: &Path) -> Result<PathBuf> {
    let error = |e: io::Error| Error::os("find", path, e);
    if let Ok(link) = rustix::fs::lstat(path)
        && FileType::from_raw_mode(link.st_mode) == FileType::Symlink
        && link.st_uid != 0
        && link.st_uid != rustix::process::geteuid().as_raw()
    {
        let (found, next) = ("it is a symbolic link of another user", "set COFRAME_STORE to a directory of this user");
        return Err(Kind::Untrusted { path: path.to_owned(), found: found.into(), next: next.into() }.into());
    }
    match std::fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(error),
    }
    let path = std::path::absolute(path).map_err(error)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    match std::fs::canonicalize(parent) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(path),
        parent => Ok(parent.map_err(error)?.join(name)),
    }
}

/// 128 random bits that identify a segment, session or store.
pub(crate) fn random_id() -> Result<u128> {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::os("read random bytes from", "/dev/urandom", e))?;
    debug_assert_eq!(filled, bytes.len(), "getrandom(2) fills up to 256 bytes at once");
    Ok(u128::from_le_bytes(bytes))
}
