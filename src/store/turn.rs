//! One writer of a mirror at a time, so that processes of one machine do not fetch the same bytes twice.

use std::time::{Duration, Instant};

use rustix::process::{Pid, getpid};

use super::{Store, writer::DRAFT};
use crate::{error::Result, segment::Flock};

/// The turn of this process to mirror a segment; made by [`Store::mirror_turn`].
///
/// Ends when it is dropped, or when the process dies. In a forked child, dropping the copy does nothing.
#[must_use = "the turn ends when it is dropped"]
pub struct MirrorTurn {
    store: Store,
    segment_id: u128,
    file: String,
    lock: Flock,
    process: Pid,
}

impl Store {
    /// Waits for this process's turn to mirror the segment with this id into the store. One process has the turn at a
    /// time.
    ///
    /// For programs that fetch segments from elsewhere: take the turn, check whether the mirror exists by now, and
    /// fetch the segment only if it does not. [`Store::mirror`] works without it. The turn is a lock on a hidden file,
    /// which is removed with it; after a killed process the next turn or sweep removes the file.
    ///
    /// # Errors
    ///
    /// [`is_busy`](crate::Error::is_busy), which names the other process, after the timeout;
    /// [`is_interrupted`](crate::Error::is_interrupted).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let turn = store.mirror_turn(0xfeed, Duration::from_secs(60))?;
    /// assert!(store.mirror_turn(0xfeed, Duration::ZERO).unwrap_err().is_busy());
    /// drop(turn);
    /// assert!(store.mirror_turn(0xfeed, Duration::ZERO).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mirror_turn(&self, segment_id: u128, timeout: Duration) -> Result<MirrorTurn> {
        let file = format!("{DRAFT}{segment_id:032x}");
        let path = self.path().join(&file);
        // A timeout beyond what the clock can count means no timeout.
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            let lock = Flock::exclusive(self.frames().open_or_make_file(&file)?, &path, left)?;
            // If its turn has ended, or a sweep found it unlocked, the file no longer has a name.
            if self.frames().is_same(&file, lock.file())? {
                return Ok(MirrorTurn { store: self.clone(), segment_id, file, lock, process: getpid() });
            }
        }
    }
}

impl MirrorTurn {
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn segment_id(&self) -> u128 {
        self.segment_id
    }
}

impl Drop for MirrorTurn {
    fn drop(&mut self) {
        // Under the lock, so that the name is still that of this file. The next sweep removes a file that remains.
        if getpid() == self.process && self.store.frames().is_same(&self.file, self.lock.file()).unwrap_or(false) {
            let _ = self.store.frames().unlink(&self.file);
        }
    }
}

impl std::fmt::Debug for MirrorTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirrorTurn").field("file", &self.file).finish_non_exhaustive()
    }
}
