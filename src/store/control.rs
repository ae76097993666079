//! The control file: the lock under which names change, and the counter of versions (FORMAT.md, section 6).
//!
//! The order of locks, so that no two processes wait for each other:
//!
//! ```text
//! store lock (this file) -> registry of open dicts (one process) -> a dict's gate -> LMDB's own
//! ```
//!
//! The library never waits for a lock while it holds one to the right of it. A segment's shared lock is taken without
//! waiting. A cell's lock and a dict's transaction belong to the caller, whose code may publish while it holds them.
//! Therefore the library never waits for them under the store lock.

use std::{os::unix::fs::FileExt, sync::Arc, time::Duration};

use rustix::fs::FileType;

use super::random_id;
use crate::{
    error::{Error, Kind, Result},
    failpoint,
    segment::{Directory, Draft, Flock, Medium},
};

/// The name of the control file.
pub(super) const FILE: &str = "store";
/// Prefix of a control file's temporary name, on file systems that need one.
pub(super) const YOUNG_CONTROL: &str = ".store-";
/// Longer than any commit takes, and short enough to report a holder that was stopped.
const DEADLINE: Duration = Duration::from_secs(10);
const RULE: &str = "C1-control";

/// `coframe store 1`, the store's random id, and the next version in twenty digits, so that it is rewritten in place.
fn content(id: u128, next: u64) -> String {
    format!("coframe store 1\nid {id:032x}\nnext {next:020}\n")
}

/// Creates the control file of a new store, or reports that the store does not exist. An existing one is checked;
/// a directory of other things is refused. `record` notes where a new store is, before its control file has a name.
pub(super) fn ensure(
    root: &Arc<Directory>,
    make: bool,
    record: impl FnOnce(&Arc<Directory>) -> Result<()>,
) -> Result<()> {
    if let Some(file) = root.open_file(FILE)? {
        return read_next(root, &file).map(drop);
    }
    if !make {
        return Err(Kind::NoStore { path: root.path().to_owned() }.into());
    }
    let foreign = root.entries()?.into_iter().find(|(name, kind)| {
        let ours = name.starts_with('.') || name == FILE || (name == super::SESSIONS && *kind == FileType::Directory);
        !ours
    });
    if let Some((name, _)) = foreign {
        let what = format!("the directory `{}`, which holds `{name}`", root.path().display());
        return Err(Error::invalid(what, "expected a coframe store or an empty directory; name another path"));
    }
    let bytes = content(random_id()?, 1);
    // No sweep can run yet: it needs the lock of the file that is made here.
    let mut draft = Draft::create(root, || Ok((format!("{YOUNG_CONTROL}{:032x}", random_id()?), ())))?;
    draft.write(&[bytes.as_bytes()])?;
    record(root)?;
    // If another process creates the same store first, its file is used.
    draft.link(FILE)?;
    root.sync()
}

fn read_next(root: &Directory, file: &std::fs::File) -> Result<u64> {
    let mut bytes = [0; 96];
    let path = root.path().join(FILE);
    let len = file.read_at(&mut bytes, 0).map_err(|e| Error::os("read", &path, e))?;
    let text = bytes.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    let parse = || {
        let rest = text.strip_prefix("coframe store 1\nid ")?;
        let (id, next) = rest.strip_suffix('\n')?.split_once("\nnext ")?;
        u128::from_str_radix(id, 16).ok()?;
        next.parse().ok()
    };
    let version = text.strip_prefix("coframe store ").and_then(|rest| rest.lines().next());
    if let Some(version) = version.filter(|version| *version != "1") {
        let path = root.path().display();
        return Err(Error::unsupported(
            format_args!("the store `{path}`, which has format {version} where this build reads 1,"),
            "upgrade coframe, or use another directory",
        ));
    }
    parse().ok_or_else(|| {
        let detail = "it is not `coframe store 1`, an id and the next version";
        Error::corrupt(format_args!("the control file `{}`", path.display()), RULE, detail)
    })
}

fn open(root: &Directory) -> Result<std::fs::File> {
    let missing = || Kind::NoStore { path: root.path().to_owned() };
    Ok(root.open_file_rw(FILE)?.ok_or_else(missing)?)
}

/// The store lock, held: its holder may change names.
pub(super) struct Control<'a> {
    root: &'a Directory,
    lock: Flock,
}

impl<'a> Control<'a> {
    /// Takes the store lock; blocks for up to ten seconds, then the error names its holder.
    pub(super) fn lock(root: &'a Directory) -> Result<Self> {
        Self::lock_within(root, DEADLINE)
    }

    /// Takes the store lock if it is free. Otherwise it does not search for the holder, because reading /proc/locks
    /// stops all flock calls of the machine for milliseconds.
    pub(super) fn try_lock(root: &'a Directory) -> Result<Option<Self>> {
        let lock = Flock::try_exclusive(open(root)?, &root.path().join(FILE))?;
        Ok(lock.map(|lock| Self { root, lock }))
    }

    pub(super) fn lock_within(root: &'a Directory, limit: Duration) -> Result<Self> {
        let lock = Flock::exclusive(open(root)?, &root.path().join(FILE), limit)?;
        Ok(Self { root, lock })
    }

    /// Takes a version number above `latest`, which is never used again.
    ///
    /// The counter alone would suffice, unless the machine crashed before the counter reached the disk, or the file was
    /// restored from a copy.
    pub(super) fn take_version(&mut self, latest: Option<u64>) -> Result<u64> {
        let next = read_next(self.root, self.lock.file())?;
        let version = latest.map_or(next, |latest| next.max(latest.saturating_add(1)));
        let after = version.checked_add(1).ok_or_else(|| {
            let what = format!("the control file `{}`", self.root.path().join(FILE).display());
            let next = "publish into another store, whose numbers start at 1 (set COFRAME_STORE or use another path)";
            Error::invalid(what, format_args!("no number is left after version {version}; {next}"))
        })?;
        self.write_next(after)?;
        failpoint::reach("numbered").map_err(|e| self.root.write_error("write the next version in", e))?;
        Ok(version)
    }

    /// Moves the counter above `highest`, a version that a name points to.
    pub(super) fn raise_next(&mut self, highest: u64) -> Result<()> {
        let next = highest.saturating_add(1);
        if read_next(self.root, self.lock.file())? < next { self.write_next(next) } else { Ok(()) }
    }

    /// On a disk, the number survives a crash of the machine.
    fn write_next(&mut self, next: u64) -> Result<()> {
        let error = |e| self.root.write_error("write the next version in", e);
        let next = format!("{next:020}");
        let place = u64::try_from(content(0, 0).len() - next.len() - 1).unwrap_or(u64::MAX);
        let file = self.lock.file();
        file.write_all_at(next.as_bytes(), place).map_err(error)?;
        match self.root.medium() {
            Medium::Disk => file.sync_data().map_err(error),
            Medium::Memory => Ok(()),
        }
    }
}
