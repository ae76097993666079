//! Removes leftovers of dead processes, and superseded versions that no process uses.

use std::{collections::BTreeMap, time::Duration};

use rustix::fs::FileType;

use super::{
    Store,
    control::{Control, YOUNG_CONTROL},
    versions::parse_record,
    writer::{DRAFT, PARTIAL},
};
use crate::{
    error::{Error, Result},
    ipc::{Footer, Intact},
    name::Name,
    segment::{Directory, Mapping, Opened, Unlinked},
};

/// Prefix of the names of trial stores, which `coframe doctor` creates inside of a store.
const TRIAL: &str = ".doctor-";
/// No trial takes this long.
const TRIAL_LIMIT: Duration = Duration::from_mins(1);
/// How long the file of an interrupted transfer stays, for the next process to resume it.
const PARTIAL_LIMIT: Duration = Duration::from_mins(10);
/// The maximum number of problems that a sweep describes.
const MAX_PROBLEMS: usize = 32;

/// What a sweep removed.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// let report = store.sweep()?;
/// println!("{report:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// Superseded versions beyond those that are kept, and files of publishers that died.
    pub segments: usize,
    /// Sessions whose owner died.
    pub sessions: usize,
    /// Bytes of all files that were removed, including those of sessions.
    pub bytes: u64,
    /// Entries that could not be swept, and why: a message for each of the first 32. The sweep skipped these entries.
    pub problems: Vec<String>,
}

/// The versions of one name whose files exist, ascending.
type Versions = BTreeMap<Name, Vec<u64>>;

impl SweepReport {
    /// Returns the value of a success, and records an error, so that the sweep continues with the next entry.
    pub(super) fn noting<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.note(&error)).ok()
    }

    fn note(&mut self, error: &Error) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{error:?}"));
        }
    }

    fn removed(&mut self, bytes: u64) {
        self.segments += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The counts of a sweep of the whole store.
#[derive(Default)]
struct Seen {
    entries: u64,
    /// The highest version that a name's symlink points to.
    highest: u64,
}

impl Store {
    /// Removes superseded versions beyond those that are kept, leftovers of killed publishers, and the sessions of dead
    /// owners. A version that any process has mapped is kept.
    ///
    /// An entry that cannot be swept is skipped and described in [`SweepReport::problems`]. Costs about 3 us for each entry
    /// of the store and its sessions. Blocks for up to ten seconds while another process publishes or sweeps.
    ///
    /// Sweeps also run automatically: at the start of a session, when the store is full, and at a publish if, since the
    /// last sweep, a millisecond has passed for each entry of the store. Every publish removes superseded versions of
    /// the name that it publishes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let df = polars::df!("x" => [1])?;
    /// let first = store.publish("x", &df)?;
    /// store.publish("x", &df)?; // `first` is superseded, and in use
    /// drop(first);
    /// assert_eq!(store.sweep()?.segments, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sweep(&self) -> Result<SweepReport> {
        let mut control = Control::lock(&self.shared.root)?;
        self.sweep_locked(&mut control)
    }

    /// A best-effort sweep: skipped if the store lock is taken; errors are ignored.
    pub(super) fn sweep_if_free(&self) {
        if let Ok(Some(mut control)) = Control::try_lock(&self.shared.root) {
            // The next sweep finds what this one leaves.
            let _ = self.sweep_locked(&mut control);
        }
    }

    pub(super) fn sweep_locked(&self, control: &mut Control<'_>) -> Result<SweepReport> {
        let (mut swept, mut seen) = (SweepReport::default(), Seen::default());
        self.sweep_sessions(control, &mut swept);
        self.root().sweep_frames(&mut swept, &mut seen)?;
        let sessions = self.sessions();
        for session in swept.noting(sessions).unwrap_or_default() {
            let result = session.sweep_frames(&mut swept, &mut seen);
            swept.noting(result);
        }
        let raised = control.raise_next(seen.highest);
        swept.noting(raised);
        let recorded = self.record_sweep(seen.entries);
        swept.noting(recorded);
        Ok(swept)
    }

    fn sweep_frames(&self, swept: &mut SweepReport, seen: &mut Seen) -> Result<()> {
        let frames = self.frames();
        let entries = frames.entries()?;
        seen.entries = seen.entries.saturating_add(u64::try_from(entries.len()).unwrap_or(u64::MAX));
        // Includes names without files that have a record of earlier files.
        let mut versions: Versions =
            entries.iter().filter_map(|(entry, _)| Some((parse_record(entry)?, Vec::new()))).collect();
        let recorded: Vec<Name> = versions.keys().cloned().collect();
        for (name, version) in entries.iter().filter_map(|(entry, _)| Name::parse_file(entry)) {
            versions.entry(name).or_default().push(version);
        }
        for (name, mut versions) in versions {
            versions.sort_unstable();
            let has_record = recorded.binary_search(&name).is_ok();
            let result = self.sweep_versions(&name, &versions, has_record, swept, seen);
            swept.noting(result);
        }
        #[cfg(feature = "map")]
        self.sweep_maps(&entries, swept);
        for (entry, _) in &entries {
            let result = self.sweep_hidden(entry, swept);
            swept.noting(result);
        }
        Ok(())
    }

    /// Removes a hidden entry of a writer, if the writer died.
    fn sweep_hidden(&self, entry: &str, swept: &mut SweepReport) -> Result<()> {
        let frames = self.frames();
        if parse_record(entry).is_some() {
            // This includes links of names that start with the prefix of hidden files.
        } else if self.sweep_note(entry)? {
            // With or without its file.
        } else if Directory::is_unswitched(entry) {
            frames.unlink(entry)?;
        } else if self.can_be_resumed(entry)? {
            // The next transfer of the segment takes it over.
        } else if entry.starts_with(DRAFT) || entry.starts_with(YOUNG_CONTROL) {
            if let Unlinked::Removed(bytes) = frames.unlink_unused(entry)? {
                swept.removed(bytes);
            }
        } else if entry.starts_with(TRIAL) && frames.is_older(entry, TRIAL_LIMIT)? {
            self.sweep_trial(entry, swept)?;
        }
        Ok(())
    }

    /// Whether an entry is the file of a transfer that was interrupted a short time ago.
    fn can_be_resumed(&self, entry: &str) -> Result<bool> {
        if !entry.starts_with(DRAFT) || !entry.ends_with(PARTIAL) || self.frames().is_older(entry, PARTIAL_LIMIT)? {
            return Ok(false);
        }
        // With a second name it was published.
        Ok(self.frames().stat(entry)?.is_some_and(|stat| stat.st_nlink == 1))
    }

    /// Removes a trial store whose process was ended.
    fn sweep_trial(&self, entry: &str, swept: &mut SweepReport) -> Result<()> {
        let trial = self.frames().sub(entry)?;
        let entries = trial.entries()?;
        for (file, _) in entries.iter().filter(|(_, kind)| *kind == FileType::RegularFile) {
            match trial.unlink_unused(file)? {
                Unlinked::Removed(bytes) => swept.bytes = swept.bytes.saturating_add(bytes),
                Unlinked::InUse => return Ok(()),
                Unlinked::Gone => {}
            }
        }
        for (link, _) in entries.iter().filter(|(_, kind)| *kind == FileType::Symlink) {
            trial.unlink(link)?;
        }
        self.frames().remove_sub(entry)
    }

    /// Removes the unused versions of one name, and corrects its record.
    fn sweep_versions(
        &self,
        name: &Name,
        versions: &[u64],
        has_record: bool,
        swept: &mut SweepReport,
        seen: &mut Seen,
    ) -> Result<()> {
        let latest = self.latest(name)?;
        seen.highest = seen.highest.max(latest.unwrap_or(0));
        let doomed = self.doomed(name, versions, latest, swept);
        let mut others = Vec::new();
        for &version in versions.iter().filter(|version| Some(**version) != latest) {
            if doomed.binary_search(&version).is_err() {
                others.push(version);
                continue;
            }
            let result = self.frames().unlink_unused(&name.file(version));
            match swept.noting(result) {
                Some(Unlinked::Removed(bytes)) => swept.removed(bytes),
                Some(Unlinked::Gone) => {}
                Some(Unlinked::InUse) | None => others.push(version),
            }
        }
        if has_record || !others.is_empty() { self.correct_record(name, &others) } else { Ok(()) }
    }

    /// The versions of a name that a sweep may remove if no process uses them; ascending, as are `versions`.
    fn doomed(&self, name: &Name, versions: &[u64], latest: Option<u64>, swept: &mut SweepReport) -> Vec<u64> {
        let Some(latest) = latest else { return versions.to_vec() };
        let (superseded, above): (Vec<u64>, Vec<u64>) =
            versions.iter().filter(|version| **version != latest).partition(|version| **version < latest);
        let mut doomed = Vec::new();
        if !superseded.is_empty() {
            let keep = self.keep(name, latest);
            // If the latest version cannot be read, all versions must be kept.
            let keep = swept.noting(keep).flatten().unwrap_or(superseded.len());
            let over = superseded.len().saturating_sub(keep);
            doomed.extend(superseded.into_iter().take(over));
        }
        doomed.extend(above);
        doomed
    }

    /// The number of superseded versions to keep, from the latest version; `None` if coframe did not write it.
    fn keep(&self, name: &Name, latest: u64) -> Result<Option<usize>> {
        let Opened::Mapped(mapping) = Mapping::open(self.frames(), &name.file(latest))? else { return Ok(None) };
        // In a mirror, this number is that of another store.
        if mapping.is_mirror() {
            return Ok(Some(0));
        }
        let bytes = mapping.bytes();
        let intact = if mapping.is_sealed() { Intact::from_sealed(bytes) } else { None };
        let footer = Footer::read(&bytes, &format!("the frame `{name}@{latest}`"), intact.as_ref())?;
        let keep = footer.metadata.map(|metadata| metadata.keep);
        Ok(keep.and_then(|keep| usize::try_from(keep).ok()))
    }
}
