//! Sessions: frames that are removed when the process that owns them dies.

use std::{fmt, path::Path, time::Duration};

use rustix::process::{Pid, getpid};

use super::{SESSIONS, Store, control::Control, random_id, sweep::SweepReport};
use crate::{
    error::{Error, Kind, Result, excerpt},
    failpoint,
    handle_text::is_session,
    interrupt::uninterrupted,
    segment::{Directory, DirectoryLock, Flock, owner_lock},
};

/// The file that the owner of a session has locked.
pub(super) const OWNER: &str = "owner.lock";
/// Prefix of the name of a session until it is locked.
const YOUNG: &str = ".new-";
/// How long the end of a session waits for the store lock.
const PATIENCE: Duration = Duration::from_secs(2);

/// A sub-directory of a store whose frames are removed when the process that owns it dies.
///
/// Works like a [`Store`]: publish, open, handles. When it is dropped its names are removed; when its owner is killed,
/// the next sweep removes them. A process that has a frame open keeps it. In a forked child, dropping the copy does
/// nothing, and a living child does not keep a dead owner's session alive.
///
/// Dropping it waits for the store lock for up to two seconds. If another process holds the lock for longer, the
/// frames, cells and dicts are removed without it, and the next sweep removes their directory.
///
/// ```
/// use coframe::Store;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let session = store.session()?;
/// let frame = session.store().publish("part", &polars::df!("x" => [1])?)?;
/// let handle = frame.handle();
/// assert!(handle.open().is_ok());
/// assert!(store.open("part").is_err()); // it is in the session, not in the store
///
/// drop((session, frame));
/// assert!(handle.open().unwrap_err().is_not_found());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a session ends when it is dropped"]
pub struct Session {
    store: Store,
    id: String,
    process: Pid,
    /// Held for as long as the owner lives; the kernel drops it at death.
    lock: Option<DirectoryLock>,
}

impl Store {
    /// Starts a session, owned by this process. Sweeps first.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let session = store.session()?;
    /// session.store().publish("scratch", &df)?; // removed when this process dies, or drops the session
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn session(&self) -> Result<Session> {
        self.sweep_if_free();
        let root = &self.shared.root;
        let id = format!("{:032x}", random_id()?);
        // Created and locked under a hidden name and under the store lock, so that no sweep sees it unlocked.
        let mut control = Control::lock(root)?;
        let lock = match start(root, &id) {
            Err(error) if error.is_no_space() && self.make_room_locked(&mut control) => start(root, &id)?,
            result => result?,
        };
        Ok(Session { store: self.in_session(&id)?, id, process: getpid(), lock: Some(lock) })
    }

    /// Opens a session that another process owns, by the [`Session::id`] that it sent, to publish into it. Frames that
    /// this process publishes there are removed with the session, and not when this process ends.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let session = store.session()?;
    /// let worker = coframe::Store::open_session(store.path(), session.id())?; // in another process
    /// worker.publish("part", &polars::df!("x" => [1])?)?;
    /// assert!(session.store().open("part").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) for text that is not the id of a session,
    /// [`is_not_found`](Error::is_not_found) when the session has ended, and the errors of [`Store::open_existing`].
    pub fn open_session(path: impl AsRef<Path>, id: &str) -> Result<Self> {
        if !is_session(id) {
            return Err(Error::invalid(format!("the session `{}`", excerpt(id)), "expected 32 hexadecimal digits"));
        }
        let store = Self::open_existing(path)?;
        store.in_session(id).map_err(|error| {
            let ended = Kind::Ended { session: id.to_owned(), store: store.path().to_owned() };
            if error.is_missing_path() { ended.into() } else { error }
        })
    }

    /// The stores of all sessions, of living and dead owners. Entries that are not sessions are skipped.
    pub(super) fn sessions(&self) -> Result<Vec<Self>> {
        let mut sessions = Vec::new();
        for id in self.session_entries()?.into_iter().filter(|id| is_session(id)) {
            match self.in_session(&id) {
                Ok(session) => sessions.push(session),
                // The session ended between the two calls, or the entry is a file or belongs to another user.
                Err(e) if e.is_missing_path() || e.is_untrusted() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(sessions)
    }

    fn session_entries(&self) -> Result<Vec<String>> {
        match self.shared.root.sub(SESSIONS) {
            Ok(sessions) => Ok(sessions.entries()?.into_iter().map(|(name, _)| name).collect()),
            Err(e) if e.is_missing_path() => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Removes the sessions of dead owners, and those that were only partly created or removed.
    pub(super) fn sweep_sessions(&self, _control: &Control<'_>, swept: &mut SweepReport) {
        let entries = self.session_entries();
        let entries = swept.noting(entries).unwrap_or_default();
        if entries.is_empty() {
            return;
        }
        let sessions = self.shared.root.sub(SESSIONS);
        let Some(sessions) = swept.noting(sessions) else { return };
        for name in entries {
            let removed = sweep_session(&sessions, &name, &mut swept.bytes);
            if swept.noting(removed) == Some(true) {
                swept.sessions += 1;
            }
        }
    }

    /// Returns an error if this is a session that has ended. The result remains true under the store lock.
    pub(super) fn check_not_ended(&self) -> Result<()> {
        match &self.shared.session {
            Some(session) if self.frames().stat(OWNER)?.is_none() => {
                Err(Kind::Ended { session: session.clone(), store: self.path().to_owned() }.into())
            }
            _ => Ok(()),
        }
    }

    /// Removes a session whose owner has just died; tries for half a second.
    #[cfg(feature = "pool")]
    pub(crate) fn end_session_of_dead(path: &std::path::Path, id: &str) -> Result<()> {
        let store = Self::open_existing(path)?;
        for _ in 0..50 {
            // The lock may outlive its owner for a moment: it is released with the last reference to its memory.
            if let Some(control) = Control::try_lock(&store.shared.root)? {
                store.sweep_sessions(&control, &mut SweepReport::default());
            }
            if store.in_session(id).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Makes a session's directory, and takes its owner's lock.
fn start(root: &Directory, id: &str) -> Result<DirectoryLock> {
    root.make_sub(SESSIONS)?;
    let sessions = root.sub(SESSIONS)?;
    let young = format!("{YOUNG}{id}");
    sessions.make_sub(&young)?;
    let lock = sessions.sub(&young).and_then(|directory| owner_lock(&directory, OWNER));
    lock.and_then(|lock| sessions.rename(&young, id).map(|()| lock))
        .inspect_err(|_| drop(empty(&sessions, &young, &mut 0)))
}

/// Removes a session if its owner is dead, and returns whether it was. Adds the bytes of its files. Under the store
/// lock.
fn sweep_session(sessions: &Directory, name: &str, bytes: &mut u64) -> Result<bool> {
    if !is_session(name) && !name.starts_with(YOUNG) {
        let what = format!("`{name}` in `{}`", sessions.path().display());
        return Err(Error::invalid(what, "expected sessions only; remove it, or move it elsewhere"));
    }
    let directory = match sessions.sub(name) {
        Ok(directory) => directory,
        Err(e) if e.is_missing_path() => return Ok(false),
        Err(e) => return Err(e),
    };
    // Without the file the owner died while it made the session, or the process that removed it died at the last step.
    if let Some(owner) = directory.open_file(OWNER)? {
        let Some(_lock) = Flock::try_exclusive(owner, directory.path())? else { return Ok(false) };
        empty(sessions, name, bytes)?;
    } else {
        empty(sessions, name, bytes)?;
    }
    Ok(true)
}

/// Removes a session's directory with all its files, and adds their bytes.
fn empty(sessions: &Directory, name: &str, bytes: &mut u64) -> Result<()> {
    remove_files(sessions, name, bytes)?;
    let directory = sessions.sub(name)?;
    let step = |step| failpoint::reach(step).map_err(|e| directory.write_error("remove a session in", e));
    step("session-emptied")?;
    // Last, because for publishers and waiting processes a session without this file has ended.
    directory.unlink(OWNER)?;
    step("session-ended")?;
    sessions.remove_sub(name)
}

/// Removes a session's files, except for the lock of its owner. Continues after an error, and returns the first one.
fn remove_files(sessions: &Directory, name: &str, bytes: &mut u64) -> Result<()> {
    let directory = sessions.sub(name)?;
    let mut result = Ok(());
    for (file, _) in directory.entries()?.into_iter().filter(|(file, _)| file != OWNER) {
        match directory.size(&file).and_then(|size| directory.unlink(&file).map(|()| size)) {
            Ok(size) => *bytes = bytes.saturating_add(size.unwrap_or(0)),
            Err(error) => result = result.and(Err(error)),
        }
        failpoint::reach("session-file").map_err(|e| directory.write_error("remove a session in", e))?;
    }
    result
}

impl Session {
    /// Best effort: the next sweep finds what remains, without an owner.
    fn end(&self) {
        let root = &self.store.shared.root;
        let Ok(sessions) = root.sub(SESSIONS) else { return };
        let removed = match Control::lock_within(root, PATIENCE) {
            Ok(_control) => empty(&sessions, &self.id, &mut 0),
            // Another process holds the store lock for too long. The memory is freed now. The directory is left to the
            // next sweep, because a publish may be about to link a file there.
            Err(_) => remove_files(&sessions, &self.id, &mut 0),
        };
        drop(removed);
    }

    /// The id by which other processes publish into it: [`Store::open_session`].
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory of the session's frames. Like every store, it has a symlink `NAME.arrow` to the latest version of each
    /// name, which other Arrow readers can open.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let session = store.session()?;
    /// let frame = session.store().publish("part", &polars::df!("x" => [1])?)?;
    /// assert_eq!(session.path().join("part.arrow").canonicalize()?, frame.path());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.frames().path()
    }

    /// The session as a store, to pass on. It does not keep the session alive: calls in a session that has ended fail
    /// with [`is_not_found`](Error::is_not_found).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let session = store.session()?;
    /// assert!(session.store().path().starts_with(store.path()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if getpid() != self.process {
            // In a forked child: the lock's map was not copied into it, so nothing can be unmapped here.
            std::mem::forget(self.lock.take());
            return;
        }
        uninterrupted(|| self.end());
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("store", &self.store.path()).finish_non_exhaustive()
    }
}
