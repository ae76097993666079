//! Removing what dead processes left, and superseded versions that nobody uses.

use super::{
    Store,
    control::{Control, YOUNG_CONTROL},
    writer::DRAFT,
};
use crate::{
    error::Result,
    ipc::{Footer, Intact},
    name::Name,
    segment::{Directory, Mapping, Opened},
};

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Superseded versions beyond those that are kept, and files of publishers that died.
    pub segments: usize,
    /// Sessions whose owner died.
    pub sessions: usize,
    /// Bytes of the removed segments.
    pub bytes: u64,
}

impl Store {
    /// Removes superseded versions beyond those that are kept, leftovers of killed publishers, and the sessions of
    /// dead owners. What anybody has mapped stays.
    ///
    /// Runs by itself at every publish and at the start of a session; call it to get memory back earlier. Blocks for
    /// up to ten seconds while another process publishes or sweeps.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::at(dir.path().join("store"))?;
    /// let df = polars::df!("x" => [1])?;
    /// let first = store.publish("x", &df)?;
    /// store.publish("x", &df)?; // `first` is superseded, and in use
    /// drop(first);
    /// assert_eq!(store.sweep()?.segments, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sweep(&self) -> Result<Swept> {
        let control = Control::lock(&self.shared.root)?;
        self.sweep_locked(&control)
    }

    /// A sweep that must not fail or hold up what it comes after: passed over when it cannot be done at once.
    pub(super) fn sweep_after_publish(&self) {
        // The next sweep finds whatever this one leaves, so an error here is not the publisher's.
        if let Ok(Some(control)) = Control::try_lock(&self.shared.root) {
            let _ = self.sweep_locked(&control);
        }
    }

    fn sweep_locked(&self, _control: &Control<'_>) -> Result<Swept> {
        let mut swept = Swept { sessions: self.sweep_sessions()?, ..Swept::default() };
        for store in std::iter::once(self.root()).chain(self.sessions()?) {
            store.sweep_frames(&mut swept)?;
        }
        Ok(swept)
    }

    fn sweep_frames(&self, swept: &mut Swept) -> Result<()> {
        let mut doomed = Vec::new();
        let entries = self.frames().entries()?;
        let mut files: Vec<(Name, u64)> = entries.iter().filter_map(|(entry, _)| Name::parse_file(entry)).collect();
        files.sort();
        for versions in files.chunk_by(|(a, _), (b, _)| a == b) {
            doomed.extend(self.doomed(versions)?);
        }
        #[cfg(feature = "dict")]
        self.sweep_dicts(&entries)?;
        for (entry, _) in entries {
            if Directory::is_unswitched(&entry) {
                self.frames().unlink(&entry)?;
            } else if entry.starts_with(DRAFT) || entry.starts_with(YOUNG_CONTROL) {
                doomed.push(entry);
            }
        }
        for file in doomed {
            if let Some(bytes) = self.frames().unlink_unused(&file)? {
                swept.segments += 1;
                swept.bytes += bytes;
            }
        }
        Ok(())
    }

    /// Of one name's versions, ascending, the files that a sweep may remove if nobody uses them.
    fn doomed(&self, versions: &[(Name, u64)]) -> Result<Vec<String>> {
        let Some((name, _)) = versions.first() else { return Ok(Vec::new()) };
        let latest = self.latest(name)?;
        let file = |(name, version): &(Name, u64)| name.file(*version);
        let orphan = |(_, version): &&(Name, u64)| latest.is_none_or(|latest| *version > latest);
        let mut doomed: Vec<String> = versions.iter().filter(orphan).map(file).collect();
        let superseded = |(_, version): &&(Name, u64)| latest.is_some_and(|latest| *version < latest);
        let superseded: Vec<_> = versions.iter().filter(superseded).collect();
        if let (Some(latest), false) = (latest, superseded.is_empty()) {
            let keep = self.keep(name, latest)?.unwrap_or(superseded.len());
            let over = superseded.len().saturating_sub(keep);
            doomed.extend(superseded.into_iter().take(over).map(file));
        }
        Ok(doomed)
    }

    /// How many superseded versions the latest one wants kept; `None` when it cannot be read, and all must stay.
    fn keep(&self, name: &Name, latest: u64) -> Result<Option<usize>> {
        let Opened::Mapped(mapping) = Mapping::open(self.frames(), &name.file(latest))? else { return Ok(None) };
        let bytes = mapping.bytes();
        let intact = if mapping.is_sealed() { Intact::of_sealed(bytes) } else { None };
        let footer = Footer::read(&bytes, name.as_str(), intact.as_ref()).ok();
        let keep = footer.and_then(|footer| footer.metadata).map(|metadata| metadata.keep);
        Ok(keep.and_then(|keep| usize::try_from(keep).ok()))
    }
}
