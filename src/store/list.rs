//! Listing a store.

use std::{collections::BTreeMap, time::SystemTime};

use super::Store;
use crate::{
    error::Result,
    frame::OpenOptions,
    name::Name,
    segment::{Directory, Space},
};

/// One name of a store; returned by [`Store::list`].
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// let info = &store.list()?[0];
/// assert_eq!((info.name.as_str(), info.version, info.num_rows), ("flights", 1, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FrameInfo {
    /// The name.
    pub name: Name,
    /// Its latest version.
    pub version: u64,
    /// Rows of the latest version.
    pub num_rows: usize,
    /// Columns of the latest version.
    pub num_columns: usize,
    /// Bytes of the latest version's segment.
    pub size_bytes: usize,
    /// The time when the latest version was published; `None` if coframe did not write the file.
    pub created: Option<SystemTime>,
    /// Older versions that still exist because they are kept or in use; ascending.
    pub superseded: Vec<u64>,
    /// Number of superseded versions to keep even when unused; 0 if coframe did not write the file.
    pub keep: u32,
    /// Where a mirror came from, if that was recorded ([`Store::mirror_origin`]).
    pub origin: Option<String>,
}

/// The content of a store and its size; returned by [`Store::usage`].
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// let usage = store.usage()?;
/// println!("{usage:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreUsage {
    /// Names.
    pub frames: usize,
    /// Segments: latest and superseded versions, including those of sessions.
    pub segments: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Cells, including those of sessions.
    pub cells: usize,
    /// Dicts, including those of sessions.
    pub maps: usize,
    /// Bytes that the files of cells and dicts occupy.
    pub shared_bytes: u64,
    /// Bytes that the file system has free for this user.
    pub free: u64,
    /// Size of the file system in bytes.
    pub total: u64,
}

impl StoreUsage {
    fn add(&mut self, frames: &Directory, entry: &str) -> Result<()> {
        let is_named = |name: &str| name.parse::<Name>().is_ok();
        let is_cell = entry.strip_suffix(".cell").is_some_and(is_named);
        let is_of_map = [".dict", ".dict-lock", ".dict-gate"].iter().any(|suffix| entry.ends_with(suffix));
        self.frames += usize::from(entry.strip_suffix(".arrow").is_some_and(is_named));
        self.maps += usize::from(entry.strip_suffix(".dict").is_some_and(is_named));
        self.cells += usize::from(is_cell);
        if Name::parse_file(entry).is_some() {
            if let Some(bytes) = frames.size(entry)? {
                self.segments += 1;
                self.bytes = self.bytes.saturating_add(bytes);
            }
        } else if is_cell || is_of_map {
            self.shared_bytes = self.shared_bytes.saturating_add(frames.allocated(entry)?);
        }
        Ok(())
    }
}

impl Store {
    /// All names with their latest versions, in the order of names. Opens each of them, but reads no values, even of
    /// files that other programs wrote.
    ///
    /// A frame is left out if its file is damaged or others can write to it: [`Store::names`] includes its name, and
    /// [`Store::open`] returns the reason.
    ///
    /// # Errors
    ///
    /// Those that are not of one file, such as the limit of open files.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # store.publish("b", &polars::df!("x" => [1])?)?;
    /// # store.publish("a", &polars::df!("x" => [1])?)?;
    /// let names: Vec<String> = store.list()?.iter().map(|info| info.name.to_string()).collect();
    /// assert_eq!(names, ["a", "b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(&self) -> Result<Vec<FrameInfo>> {
        let mut infos = Vec::new();
        // Without columns, a file of another writer is not validated.
        let outline = OpenOptions::new().columns([""; 0]);
        for (name, mut versions) in self.names_with_versions()? {
            let frame = match self.open_with(name.as_str(), &outline) {
                Ok(frame) => frame,
                Err(error) if error.is_of_one_file() => continue,
                Err(error) => return Err(error),
            };
            versions.retain(|version| *version < frame.version());
            infos.push(FrameInfo {
                name,
                version: frame.version(),
                num_rows: frame.num_rows(),
                num_columns: frame.footer().schema.fields().len(),
                size_bytes: frame.size_bytes(),
                created: frame.created(),
                superseded: versions,
                origin: self.mirror_origin(&frame).ok().flatten(),
                keep: frame.footer().metadata.as_ref().map_or(0, |metadata| metadata.keep),
            });
        }
        Ok(infos)
    }

    /// All names, in order. Opens nothing, so it includes names of damaged frames.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(store.names()?, ["flights".parse()?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn names(&self) -> Result<Vec<Name>> {
        Ok(self.names_with_versions()?.into_keys().collect())
    }

    /// The versions of a name that can be opened, ascending; the last one is the latest. Empty if the name does not
    /// exist.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// store.publish_with("flights", &df, &coframe::PublishOptions::new().keep(1))?;
    /// assert_eq!(store.versions("flights")?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn versions(&self, name: impl AsRef<str>) -> Result<Vec<u64>> {
        let name = Name::new(name)?;
        let latest = self.latest(&name)?;
        let mut versions = self.version_files(&name)?;
        versions.retain(|version| latest.is_some_and(|latest| *version <= latest));
        versions.sort_unstable();
        Ok(versions)
    }

    /// Whether a frame with this name exists. Does not open it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert!(store.exists("flights")? && !store.exists("prices")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exists(&self, name: impl AsRef<str>) -> Result<bool> {
        Ok(self.latest(&Name::new(name)?)?.is_some())
    }

    /// Counts the frames, cells and dicts of the store and its sessions, and reports their size and the free space.
    /// Costs one `stat` for each file and opens none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// store.publish("x", &polars::df!("x" => [1])?)?;
    /// let usage = store.usage()?;
    /// assert_eq!((usage.frames, usage.segments, usage.cells), (1, 1, 0));
    /// assert!(usage.bytes > 0 && usage.free < usage.total);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn usage(&self) -> Result<StoreUsage> {
        let Space { free, total } = self.shared.root.space()?;
        let mut usage =
            StoreUsage { frames: 0, segments: 0, bytes: 0, cells: 0, maps: 0, shared_bytes: 0, free, total };
        for store in std::iter::once(self.root()).chain(self.sessions()?) {
            for (entry, _) in store.frames().entries()? {
                usage.add(store.frames(), &entry)?;
            }
        }
        Ok(usage)
    }

    /// Names that have a latest version, with the existing files of each, in ascending order of versions.
    pub(super) fn names_with_versions(&self) -> Result<BTreeMap<Name, Vec<u64>>> {
        let entries = self.frames().entries()?;
        let link = |(entry, _): &(String, _)| entry.strip_suffix(".arrow")?.parse::<Name>().ok();
        let mut names: BTreeMap<Name, Vec<u64>> = entries.iter().filter_map(|e| Some((link(e)?, Vec::new()))).collect();
        for (name, version) in entries.iter().filter_map(|(entry, _)| Name::parse_file(entry)) {
            if let Some(versions) = names.get_mut(&name) {
                versions.push(version);
            }
        }
        for versions in names.values_mut() {
            versions.sort_unstable();
        }
        Ok(names)
    }
}
