//! Files of dicts: `name.dict`, a link to `name@id.dict`, with LMDB's lock file `name@id.dict-lock` and the gate
//! `name@id.dict-gate` next to it (FORMAT.md, section 10).

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, FileType, Stat, fallocate};

use super::{Store, control::Control, random_id, sweep::SweepReport};
use crate::{
    error::{Error, Kind, Result},
    name::Name,
    segment::{Directory, Medium, Trust, check_owner},
};

const SUFFIX: &str = ".dict";
const LOCK_SUFFIX: &str = ".dict-lock";
const GATE_SUFFIX: &str = ".dict-gate";

/// The three files of one dict. Their names contain its id, so they are never used for another one.
#[derive(Clone, Debug)]
pub(crate) struct MapFiles {
    pub(crate) name: Name,
    pub(crate) id: u128,
}

impl MapFiles {
    fn link(name: &Name) -> String {
        format!("{name}{SUFFIX}")
    }

    fn data(&self) -> String {
        format!("{}@{:032x}{SUFFIX}", self.name, self.id)
    }

    fn lock(&self) -> String {
        format!("{}-lock", self.data())
    }

    fn gate(&self) -> String {
        format!("{}-gate", self.data())
    }

    /// Parses `name@id.dict`, which is the only form that a link's target may have, or the name of a file next to it.
    fn parse(file: &str) -> Option<Self> {
        let rest = [SUFFIX, LOCK_SUFFIX, GATE_SUFFIX].iter().find_map(|suffix| file.strip_suffix(suffix))?;
        let (name, id) = rest.split_once('@')?;
        let canonical = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let id = canonical.then(|| u128::from_str_radix(id, 16).ok()).flatten()?;
        Some(Self { name: name.parse().ok()?, id })
    }

    fn remove(&self, frames: &Directory) -> Result<()> {
        frames.unlink(&self.data())?;
        frames.unlink(&self.lock())?;
        frames.unlink(&self.gate())
    }
}

/// Refuses what is not a regular file with one name: LMDB follows links, and writes to a lock file before it checks it.
fn check_single(stat: &Stat, path: &Path) -> Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let found = match stat.st_nlink {
        _ if kind != FileType::RegularFile => format!("it is a {kind:?}, expected a regular file"),
        0 | 1 => return Ok(()),
        names => format!("it has {names} names (hard links), expected one"),
    };
    Err(Error::corrupt(format_args!("a dict's file `{}`", path.display()), "B1-file", found))
}

impl Store {
    /// Creates a dict's files, lets the caller fill them, and names them. `None` if the name exists.
    ///
    /// `lock_bytes` is the length of the lock file: all its pages are allocated before a process maps it, so a full
    /// store is an error here and not a SIGBUS at the first access.
    pub(crate) fn make_map(
        &self,
        name: &Name,
        lock_bytes: u64,
        fill: impl Fn(&MapFiles) -> Result<()>,
    ) -> Result<Option<MapFiles>> {
        let frames = self.frames();
        // Held until the files have their name, because a sweep removes files without a name.
        let mut control = Control::lock(&self.shared.root)?;
        self.check_not_ended()?;
        if let Some(files) = self.linked_dict(name)?
            && frames.stat(&files.data())?.is_some()
        {
            return Ok(None);
        }
        let files = MapFiles { name: name.clone(), id: random_id()? };
        let make = || {
            let lock = frames.named(&files.lock())?;
            fallocate(&lock, FallocateFlags::empty(), 0, lock_bytes)
                .map_err(|e| frames.write_error("make a dict in", e))?;
            // Before LMDB locks it: closing it later would drop the locks that this process has on it.
            drop(lock);
            fill(&files)?;
            frames.sync()?;
            crate::failpoint::reach("dict-made").map_err(|e| frames.write_error("make a dict in", e))?;
            frames.switch_link(&MapFiles::link(name), &files.data())
        };
        // Returns the first error. The next sweep finds files that remain without a name.
        self.with_room_locked(&mut control, || make().inspect_err(|_| drop(files.remove(frames))))?;
        frames.sync()?;
        Ok(Some(files))
    }

    /// Opens an existing dict, and checks who can write to its files. Under the store lock: if another process removed
    /// the dict meanwhile, LMDB would create its files again.
    ///
    /// `open` also gets the device and the inode of its data, which distinguish it from a copy.
    pub(crate) fn with_dict<R>(&self, name: &Name, open: impl FnOnce(MapFiles, (u64, u64)) -> Result<R>) -> Result<R> {
        self.require_home(format_args!("dict `{name}`"))?;
        let frames = self.frames();
        let _control = Control::lock(&self.shared.root)?;
        let missing = || Kind::NotFound { what: format!("dict `{name}`"), store: frames.path().to_owned() };
        let files = self.linked_dict(name)?.ok_or_else(missing)?;
        let data = frames.stat(&files.data())?.ok_or_else(missing)?;
        let lock = frames.stat(&files.lock())?;
        for (stat, file) in [(Some(data), files.data()), (lock, files.lock())] {
            let Some(stat) = stat else { continue };
            let path = frames.path().join(file);
            if frames.trust() == Trust::Checked {
                check_owner(&stat, &path)?;
            }
            check_single(&stat, &path)?;
        }
        open(files, (data.st_dev, data.st_ino))
    }

    /// A dict's gate and its length. If it is missing, creates it with `bytes` bytes, which `prepare` fills. Under the
    /// store lock.
    pub(crate) fn dict_gate(
        &self,
        files: &MapFiles,
        bytes: usize,
        prepare: impl FnOnce(&File) -> Result<()>,
    ) -> Result<(File, usize)> {
        let gate = files.gate();
        if let Some(found) = self.open_mapped(&gate)? {
            return Ok(found);
        }
        // No sweep can run now: the lock is held.
        self.make_mapped(&gate, bytes, prepare)?;
        let missing = || Kind::NotFound { what: format!("gate `{gate}`"), store: self.frames().path().to_owned() };
        Ok(self.open_mapped(&gate)?.ok_or_else(missing)?)
    }

    pub(crate) fn dict_path(&self, files: &MapFiles) -> PathBuf {
        self.frames().path().join(files.data())
    }

    /// Whether the store is in memory, so that nothing has to be synchronised.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.frames().medium() == Medium::Memory
    }

    /// The error of writing to a file of the store.
    pub(crate) fn write_error(&self, action: &'static str, error: std::io::Error) -> Error {
        self.frames().write_error(action, error)
    }

    fn linked_dict(&self, name: &Name) -> Result<Option<MapFiles>> {
        let target = self.frames().read_link(&MapFiles::link(name))?;
        Ok(target.and_then(|target| MapFiles::parse(&target)).filter(|files| files.name == *name))
    }

    /// Removes a dict's name, and its memory once no process has it open. Returns false if it does not exist.
    ///
    /// Blocks for up to ten seconds while another process changes names.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// coframe::SharedMap::<String, u64>::create(&store, "ages")?;
    /// assert_eq!(store.maps()?.len(), 1);
    /// assert!(store.remove_map("ages")?);
    /// assert!(!store.remove_map("ages")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_map(&self, name: impl AsRef<str>) -> Result<bool> {
        let name = Name::new(name)?;
        let _control = Control::lock(&self.shared.root)?;
        let Some(files) = self.linked_dict(&name)? else { return Ok(false) };
        // The link first: a process that dies here leaves files without a name, which a sweep removes.
        self.frames().unlink(&MapFiles::link(&name))?;
        files.remove(self.frames())?;
        self.frames().sync()?;
        Ok(true)
    }

    /// Names of all dicts, in order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// assert_eq!(store.maps()?, ["stock".parse()?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn maps(&self) -> Result<Vec<Name>> {
        let entries = self.frames().entries()?;
        let mut names: Vec<Name> =
            entries.iter().filter_map(|(entry, _)| entry.strip_suffix(SUFFIX)?.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Removes names without files, and files of dicts without a name: the process that created or removed the dict
    /// died. Under the store lock.
    pub(super) fn sweep_maps(&self, entries: &[(String, FileType)], swept: &mut SweepReport) {
        for (entry, _) in entries {
            let removed = self.sweep_dict(entry);
            swept.bytes = swept.bytes.saturating_add(swept.noting(removed).unwrap_or(0));
        }
    }

    /// Sweeps one entry; returns the number of bytes removed.
    fn sweep_dict(&self, entry: &str) -> Result<u64> {
        let frames = self.frames();
        if let Some(files) = MapFiles::parse(entry) {
            let linked = self.linked_dict(&files.name)?;
            if linked.is_none_or(|linked| linked.id != files.id) {
                let bytes = frames.size(entry)?.unwrap_or(0);
                frames.unlink(entry)?;
                return Ok(bytes);
            }
        } else if let Some(Ok(name)) = entry.strip_suffix(SUFFIX).map(str::parse::<Name>)
            && let Some(files) = self.linked_dict(&name)?
            && frames.stat(&files.data())?.is_none()
        {
            frames.unlink(entry)?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::MapFiles;

    #[test]
    fn only_the_exact_form_of_a_dicts_file_is_read() {
        let id = "0123456789abcdef0123456789abcdef";
        let files = MapFiles::parse(&format!("ages@{id}.dict")).unwrap();
        assert_eq!((files.name.as_str(), files.data()), ("ages", format!("ages@{id}.dict")));
        assert_eq!(MapFiles::parse(&files.lock()).unwrap().id, files.id);
        assert_eq!(MapFiles::parse(&files.gate()).unwrap().id, files.id);
        for bad in ["ages.dict", "ages@1.dict", "ages@0123456789ABCDEF0123456789abcdef.dict", "../x@1.dict"] {
            assert!(MapFiles::parse(bad).is_none(), "{bad:?} was accepted");
        }
    }
}
