//! Removing a name.

use super::{Store, control::Control};
use crate::{error::Result, failpoint, name::Name};

impl Store {
    /// Removes a name with all its versions. Returns false if it does not exist.
    ///
    /// A process that has the frame open keeps it; its memory is freed with the last map. The cost does not depend on
    /// what else the store holds.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// assert!(store.remove("x")?);
    /// assert!(!store.remove("x")?);
    /// assert_eq!(frame.to_polars()?.height(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, name: impl AsRef<str>) -> Result<bool> {
        let name = Name::new(name)?;
        let _control = Control::lock(&self.shared.root)?;
        self.remove_locked(&name)
    }

    /// Removes a name. The caller has the store lock.
    pub(super) fn remove_locked(&self, name: &Name) -> Result<bool> {
        let frames = self.frames();
        let latest = self.latest(name)?;
        let mut versions = self.other_versions(name, latest)?;
        versions.extend(latest);
        if latest.is_some() {
            // Recorded before the link is removed: if this process dies here, the remaining files never look like
            // versions again.
            self.record_others(name, &versions)?;
        }
        failpoint::reach("remove-recorded").map_err(|e| frames.write_error("remove a frame in", e))?;
        // The link first: readers see the whole name or no name.
        frames.unlink(&name.link())?;
        failpoint::reach("remove-unlinked").map_err(|e| frames.write_error("remove a frame in", e))?;
        for version in versions {
            frames.unlink(&name.file(version))?;
        }
        self.record_others(name, &[])?;
        frames.sync()?;
        Ok(latest.is_some())
    }
}
