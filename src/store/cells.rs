//! Files of cells: `name.cell`, beside the frames of a store or session.

use std::fs::File;

use rustix::fs::{FallocateFlags, fallocate};

use super::{Store, control::Control, random_id, writer::DRAFT};
use crate::{
    error::{Error, Kind, Result},
    name::Name,
    segment::{Draft, Trust, check_owner},
};

fn file(name: &Name) -> String {
    format!("{name}.cell")
}

impl Store {
    /// Makes a cell's file of so many bytes and names it once `prepare` has filled it. False when the name is taken.
    pub(crate) fn make_cell(
        &self,
        name: &Name,
        bytes: usize,
        prepare: impl FnOnce(&File) -> Result<()>,
    ) -> Result<bool> {
        self.make_mapped(&file(name), bytes, || Control::lock(&self.shared.root), prepare)
    }

    /// A cell's file and its length.
    pub(crate) fn open_cell(&self, name: &Name) -> Result<(File, usize)> {
        self.require_home(format_args!("cell `{name}`"))?;
        self.open_mapped(&file(name))?.ok_or_else(|| {
            let store = self.frames().path().to_owned();
            Kind::NotFound { what: format!("cell `{name}`"), store }.into()
        })
    }

    /// Makes a file that processes map and write to, as `make_cell` does. `locked` keeps sweeps out meanwhile.
    pub(super) fn make_mapped<G>(
        &self,
        file: &str,
        bytes: usize,
        locked: impl FnOnce() -> Result<G>,
        prepare: impl FnOnce(&File) -> Result<()>,
    ) -> Result<bool> {
        let frames = self.frames();
        let hidden = || Ok((format!("{DRAFT}{:032x}", random_id()?), locked()?));
        let draft = Draft::create(frames, hidden)?;
        let len = u64::try_from(bytes).unwrap_or(u64::MAX);
        // All pages now: a full store is an error here, and never a SIGBUS at the first touch.
        fallocate(draft.file(), FallocateFlags::empty(), 0, len)
            .map_err(|e| frames.write_error("make a cell in", e))?;
        prepare(draft.file())?;
        draft.link(file)
    }

    /// Such a file and its length; `None` when it is not there.
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

    /// Takes a cell's name away. False when there was none. Whoever has it open keeps its memory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::at(dir.path().join("store"))?;
    /// let total: coframe::cell::Counter = coframe::cell::Counter::create(&store, "total")?;
    /// assert!(store.remove_cell("total")?);
    /// assert_eq!(total.add(1), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_cell(&self, name: &str) -> Result<bool> {
        let name = name.parse::<Name>()?;
        let _control = Control::lock(&self.shared.root)?;
        let existed = self.frames().open_file(&file(&name))?.is_some();
        self.frames().unlink(&file(&name))?;
        Ok(existed)
    }

    /// Names of the cells that are there, in order.
    pub fn cells(&self) -> Result<Vec<Name>> {
        let entries = self.frames().entries()?;
        let mut names: Vec<Name> =
            entries.iter().filter_map(|(entry, _)| entry.strip_suffix(".cell")?.parse().ok()).collect();
        names.sort();
        Ok(names)
    }
}
