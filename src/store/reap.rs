//! Removes the sessions of killed processes, for a process that watches them.

use std::path::Path;

use super::{Store, SweepReport, control::Control};
use crate::{error::Result, segment::Trust};

impl Store {
    /// Removes the sessions of dead processes from the store at `path`, and returns how many.
    ///
    /// For a process that waits for the end of another one to free its memory, as the reaper of the Python package
    /// does. [`sweep`](Self::sweep) also removes superseded versions. A path without a store is not changed.
    ///
    /// Costs one attempt to lock a file for each session. Blocks for up to ten seconds while another process changes
    /// names.
    ///
    /// # Errors
    ///
    /// Those of [`open_at`](Self::open_at), and [`is_busy`](crate::Error::is_busy) when the store stayed locked. A session that
    /// cannot be removed is skipped; [`sweep`](Self::sweep) describes why.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let path = dir.path().join("store");
    /// assert_eq!(coframe::Store::end_dead_sessions(&path)?, 0);
    /// assert!(!path.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_dead_sessions(path: impl AsRef<Path>) -> Result<usize> {
        let store = match Self::open_root(path.as_ref(), Trust::Checked, false) {
            Err(error) if error.is_missing_path() => return Ok(0),
            store => store?,
        };
        let control = Control::lock(&store.shared.root)?;
        let mut swept = SweepReport::default();
        store.sweep_sessions(&control, &mut swept);
        Ok(swept.sessions)
    }
}
