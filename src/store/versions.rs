//! Records of a store that save a publish from reading the directory: the versions of each name, and the last full
//! sweep (FORMAT.md, section 6, rules R1-others and R2-swept).

use std::time::{SystemTime, UNIX_EPOCH};

use super::Store;
use crate::{error::Result, name::Name};

/// The suffix of a record, after a dot and the name of the frame.
const SUFFIX: &str = ".others";
/// The target of a symlink has at most 1023 bytes on xfs.
const MAX_BYTES: usize = 1000;
/// The record of a name with more versions than fit.
const LISTED: &str = "*";
/// The record of the last full sweep.
const SWEPT: &str = ".swept";
/// A store with at most this many entries is swept at every publish.
const FEW_ENTRIES: u64 = 16;

fn file(name: &Name) -> String {
    format!(".{name}{SUFFIX}")
}

/// The name of the frame, if this entry is a record.
pub(super) fn parse_record(entry: &str) -> Option<Name> {
    entry.strip_prefix('.')?.strip_suffix(SUFFIX)?.parse().ok()
}

fn write(versions: &[u64]) -> String {
    let text = versions.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    if text.len() > MAX_BYTES { LISTED.to_owned() } else { text }
}

fn read(text: &str) -> Option<Vec<u64>> {
    text.split(',').map(|version| version.parse().ok()).collect()
}

/// The time of the last full sweep, and the number of directory entries that it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastSweep {
    /// Milliseconds since the Unix epoch.
    at: u64,
    entries: u64,
}

impl LastSweep {
    fn now(entries: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: u64::try_from(now.as_millis()).unwrap_or(u64::MAX), entries }
    }

    fn parse(text: &str) -> Option<Self> {
        let (at, entries) = text.split_once(',')?;
        Some(Self { at: at.parse().ok()?, entries: entries.parse().ok()? })
    }

    fn text(&self) -> String {
        format!("{},{}", self.at, self.entries)
    }

    /// Whether a publish should sweep the whole store again: a millisecond for each entry has passed, which is 300 times
    /// as long as the last sweep took.
    pub(super) fn is_long_ago(&self) -> bool {
        // If the clock was set back, one sweep too many runs.
        let elapsed = Self::now(0).at.checked_sub(self.at);
        self.entries <= FEW_ENTRIES || elapsed.is_none_or(|elapsed| elapsed >= self.entries)
    }
}

impl Store {
    /// The last sweep of the whole store; `None` if none is recorded. Versions may then be missing in records, too.
    pub(super) fn last_sweep(&self) -> Result<Option<LastSweep>> {
        Ok(self.shared.root.read_link(SWEPT)?.as_deref().and_then(LastSweep::parse))
    }

    /// Records a sweep of the whole store. Under the store lock.
    pub(super) fn record_sweep(&self, entries: u64) -> Result<()> {
        let last = self.last_sweep()?;
        if entries <= FEW_ENTRIES && last.is_some_and(|last| last.entries <= FEW_ENTRIES) {
            // The time of a sweep of so few entries is not needed.
            return Ok(());
        }
        self.shared.root.write_note(SWEPT, &LastSweep::now(entries).text())
    }

    /// The versions of a name, other than the latest, whose files may exist; ascending. Under the store lock.
    ///
    /// Those above the latest were linked by publishers that died, and never became visible.
    pub(super) fn other_versions(&self, name: &Name, latest: Option<u64>) -> Result<Vec<u64>> {
        let mut versions = match self.frames().read_link(&file(name))?.as_deref().map(read) {
            None => Vec::new(),
            Some(Some(versions)) => versions,
            Some(None) => self.version_files(name)?,
        };
        versions.retain(|version| Some(*version) != latest);
        versions.sort_unstable();
        Ok(versions)
    }

    /// Records the versions of a name, other than the latest, whose files may exist. Under the store lock, and before
    /// such a file is linked or superseded.
    pub(super) fn record_others(&self, name: &Name, versions: &[u64]) -> Result<()> {
        if versions.is_empty() {
            return self.frames().unlink(&file(name));
        }
        self.frames().write_note(&file(name), &write(versions))
    }

    /// Like [`record_others`](Store::record_others), for a sweep: writes only records that differ.
    pub(super) fn correct_record(&self, name: &Name, versions: &[u64]) -> Result<()> {
        let found = self.frames().read_link(&file(name))?;
        if found.unwrap_or_default() == write(versions) { Ok(()) } else { self.record_others(name, versions) }
    }

    /// All versions of a name whose file exists, in no order, committed or not. Reads the whole directory.
    pub(super) fn version_files(&self, name: &Name) -> Result<Vec<u64>> {
        let files = self.frames().entries()?;
        let parsed = files.iter().filter_map(|(file, _)| Name::parse_file(file));
        Ok(parsed.filter(|(other, _)| other == name).map(|(_, version)| version).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{LISTED, LastSweep, file, parse_record, read, write};

    #[test]
    fn a_record_is_read_as_it_was_written_and_refers_to_the_directory_where_it_would_be_too_long() {
        for versions in [vec![1], vec![3, 17, u64::MAX]] {
            assert_eq!(read(&write(&versions)), Some(versions));
        }
        let many: Vec<u64> = (1_000..1_300).collect();
        assert_eq!((write(&many).as_str(), read(LISTED)), (LISTED, None));
        let name = "trades.q1".parse().unwrap();
        assert_eq!(parse_record(&file(&name)), Some(name));
        assert_eq!(parse_record(".others"), None);
    }

    #[test]
    fn a_sweep_is_recorded_and_is_long_ago_once_a_millisecond_for_each_entry_has_passed() {
        let now = LastSweep::now(1_000_000);
        assert_eq!(LastSweep::parse(&now.text()), Some(now));
        assert!(!now.is_long_ago());
        assert!(LastSweep { at: now.at - 1_000_000, ..now }.is_long_ago());
        assert!(LastSweep { at: now.at + 1_000_000, ..now }.is_long_ago(), "a clock that was set back");
        assert!(LastSweep { entries: 16, ..now }.is_long_ago());
        for bad in ["", "1", "1,x", "1,2,3"] {
            assert_eq!(LastSweep::parse(bad), None, "{bad:?}");
        }
    }
}
