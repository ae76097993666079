//! Sessions: frames that die with the process that owns them.

use std::{fmt, ops::Deref};

use rustix::process::{Pid, getpid};

use super::{SESSIONS, Store, control::Control, random_id};
use crate::{
    error::Result,
    frame::is_session,
    segment::{Directory, DirectoryLock, Flock, owner_lock},
};

const OWNER: &str = "owner.lock";
/// How the name of a session begins until it is locked.
const YOUNG: &str = ".new-";

/// A sub-directory of a store whose frames die with the process that owns it.
///
/// Works as a [`Store`] of its own: publish, open, handles. Dropped, it takes its names away; killed, its owner
/// leaves them to the next sweep. Whoever has a frame open keeps it. In a forked child, dropping the copy does
/// nothing, and a living child does not keep a dead owner's session alive.
///
/// ```
/// use coframe::Store;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::at(dir.path().join("store"))?;
/// let session = store.session()?;
/// let frame = session.publish("part", &polars::df!("x" => [1])?)?;
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
    /// Begins a session, owned by this process. Sweeps first.
    pub fn session(&self) -> Result<Session> {
        self.sweep_after_publish();
        let root = &self.shared.root;
        let id = format!("{:032x}", random_id()?);
        // Made and locked under a hidden name, and under the store lock: no sweep sees it unlocked.
        let _control = Control::lock(root)?;
        root.make_sub(SESSIONS)?;
        let sessions = root.sub(SESSIONS)?;
        let young = format!("{YOUNG}{id}");
        sessions.make_sub(&young)?;
        let lock = owner_lock(&sessions.sub(&young)?, OWNER)
            .and_then(|lock| sessions.rename(&young, &id).map(|()| lock))
            .inspect_err(|_| drop(empty(&sessions, &young)))?;
        Ok(Session { store: self.in_session(&id)?, id, process: getpid(), lock: Some(lock) })
    }

    /// The stores of all sessions, of living and dead owners.
    pub(super) fn sessions(&self) -> Result<Vec<Self>> {
        let ids = self.session_directories()?.into_iter().filter(|id| is_session(id));
        // One that ends between the two calls is no session any more.
        Ok(ids.filter_map(|id| self.in_session(&id).ok()).collect())
    }

    fn session_directories(&self) -> Result<Vec<String>> {
        match self.shared.root.sub(SESSIONS) {
            Ok(sessions) => Ok(sessions.entries()?.into_iter().map(|(name, _)| name).collect()),
            Err(e) if e.is_missing_path() => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Removes the sessions of dead owners, and what was left half-made; returns how many. Under the store lock.
    pub(super) fn sweep_sessions(&self) -> Result<usize> {
        let mut removed = 0;
        for name in self.session_directories()? {
            let sessions = self.shared.root.sub(SESSIONS)?;
            let directory = match sessions.sub(&name) {
                Ok(directory) => directory,
                Err(e) if e.is_missing_path() => continue,
                Err(e) => return Err(e),
            };
            let owner = directory.open_file(OWNER)?;
            let half_made = owner.is_none() && name.starts_with(YOUNG);
            let lock = owner.map(|file| Flock::try_exclusive(file, directory.path())).transpose()?.flatten();
            if half_made || lock.is_some() {
                empty(&sessions, &name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Removes a session's directory with all its files.
fn empty(sessions: &Directory, name: &str) -> Result<()> {
    let directory = sessions.sub(name)?;
    for (file, _) in directory.entries()? {
        directory.unlink(&file)?;
    }
    sessions.remove_sub(name)
}

impl Session {
    /// The name of its directory.
    #[cfg(feature = "pool")]
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The session as a store, to hand on. It does not keep the session alive.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Deref for Session {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if getpid() != self.process {
            // A forked child: the lock's map was not copied into it, so there is nothing here to unmap either.
            std::mem::forget(self.lock.take());
            return;
        }
        // Best effort: whatever stays, the next sweep finds unlocked.
        if let Ok(sessions) = self.store.shared.root.sub(SESSIONS) {
            let _ = empty(&sessions, &self.id);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("store", &self.store.path()).finish_non_exhaustive()
    }
}
