//! Files of cells: `name.cell`, next to the frames of a store or session.

use std::fs::File;

use rustix::fs::{FallocateFlags, fallocate};

use super::{Store, control::Control};
use crate::{
    error::{Error, Kind, Result},
    name::Name,
    segment::{Draft, Trust, check_owner},
};

fn file(name: &Name) -> String {
    format!("{name}.cell")
}

impl Store {
    /// Creates a cell's file of this size, and names it after `prepare` has filled it. False if the name exists.
    pub(crate) fn make_cell(
        &self,
        name: &Name,
        bytes: usize,
        prepare: impl FnOnce(&File) -> Result<()>,
    ) -> Result<bool> {
        let draft = self.with_room(|| self.allocated(bytes, || Control::lock(&self.shared.root)))?;
        prepare(draft.file())?;
        // A session that ends is removed under the same lock.
        let _control = Control::lock(&self.shared.root)?;
        self.check_not_ended()?;
        draft.link(&file(name))
    }

    /// A cell's file and its length.
    pub(crate) fn open_cell(&self, name: &Name) -> Result<(File, usize)> {
        self.require_home(format_args!("cell `{name}`"))?;
        self.open_mapped(&file(name))?.ok_or_else(|| {
            let store = self.frames().path().to_owned();
            Kind::NotFound { what: format!("cell `{name}`"), store }.into()
        })
    }

    /// A file without a name that processes will map and write to. All its pages are allocated, so a full store is an
    /// error here and not a SIGBUS at the first access. `locked` keeps sweeps out if the file system needs a name for
    /// it.
    fn allocated<G>(&self, bytes: usize, locked: impl Fn() -> Result<G>) -> Result<Draft> {
        let draft = self.draft(locked)?;
        let len = u64::try_from(bytes).unwrap_or(u64::MAX);
        fallocate(draft.file(), FallocateFlags::empty(), 0, len)
            .map_err(|e| self.frames().write_error("make a cell in", e).with_needed(len, 0))?;
        Ok(draft)
    }

    /// Creates such a file for a caller that has the store lock. False if the name exists.
    #[cfg(feature = "map")]
    pub(super) fn make_mapped(
        &self,
        file: &str,
        bytes: usize,
        prepare: impl FnOnce(&File) -> Result<()>,
    ) -> Result<bool> {
        let draft = self.allocated(bytes, || Ok(()))?;
        prepare(draft.file())?;
        draft.link(file)
    }

    /// Such a file and its length; `None` if it does not exist.
    pub(super) fn open_mapped(&self, file: &str) -> Result<Option<(File, usize)>> {
        let frames = self.frames();
        let Some(found) = frames.open_file_rw(file)? else { return Ok(None) };
        let path = frames.path().join(file);
        let stat = rustix::fs::fstat(&found).map_err(|e| Error::os("read the size of", &path, e))?;
        if frames.trust() == Trust::Checked {
            check_owner(&stat, &path)?;
        }
        Ok(Some((found, usize::try_from(stat.st_size).unwrap_or(0))))
    }

    /// Removes a cell's name. Returns false if it does not exist. Processes that have the cell open keep its memory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let total: coframe::sync::Counter = coframe::sync::Counter::create(&store, "total")?;
    /// assert!(store.remove_cell("total")?);
    /// assert_eq!(total.add(1), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_cell(&self, name: impl AsRef<str>) -> Result<bool> {
        let name = Name::new(name)?;
        let _control = Control::lock(&self.shared.root)?;
        let existed = self.frames().open_file(&file(&name))?.is_some();
        self.frames().unlink(&file(&name))?;
        Ok(existed)
    }

    /// Names of all cells, in order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// coframe::sync::Counter::<i64>::create(&store, "total")?;
    /// assert_eq!(store.cells()?, ["total".parse()?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cells(&self) -> Result<Vec<Name>> {
        let entries = self.frames().entries()?;
        let mut names: Vec<Name> =
            entries.iter().filter_map(|(entry, _)| entry.strip_suffix(".cell")?.parse().ok()).collect();
        names.sort();
        Ok(names)
    }
}
