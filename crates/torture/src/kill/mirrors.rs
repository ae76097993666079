//! What must hold for the store that pullers share, and damage to what interrupted pulls leave in it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use coframe::Store;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::frames::Frames;
use crate::{
    Result,
    content::{LARGE, MIRROR, REMOVED},
    ensure,
    random::Random,
    roles,
};

/// Names that pullers remove from their store.
const GOING: [&str; 4] = [REMOVED[0], REMOVED[1], MIRROR, LARGE];

pub(super) struct Mirrors {
    pub(super) store: Store,
    pub(super) frames: Frames,
    /// Files of interrupted pulls that were changed.
    pub(super) damaged: u64,
}

impl Mirrors {
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let store = roles::mirrors(directory)?;
        // Creates what a store has once it was used.
        drop(store.session()?);
        let frames = Frames::new(&store, &[], &GOING)?;
        Ok(Self { store, frames, damaged: 0 })
    }

    pub(super) fn check(&mut self, random: &mut Random) -> Result<()> {
        let store = self.store.clone();
        self.frames.check(&store, |others| {
            let dead: Vec<String> = others.into_iter().filter(|entry| !may_stay(&store, entry)).collect();
            ensure!(dead.is_empty(), "one sweep left files of dead pullers: {dead:?}");
            Ok(())
        })?;
        self.damage(random)
    }

    /// Changes some of what interrupted pulls left, as a crash of the machine can. The next pull must not use it.
    fn damage(&mut self, random: &mut Random) -> Result<()> {
        for path in self.partial()? {
            let status = fs::metadata(&path)?;
            // A file that is read-only is complete: its writer died while it published it.
            if status.mode() & 0o200 == 0 || status.len() == 0 || random.one_in(2) {
                continue;
            }
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let at = if random.one_in(4) { status.len() } else { random.below(status.len()) };
            let mut byte = [0];
            file.read_at(&mut byte, at)?;
            file.write_all_at(&[!byte[0]], at)?;
            self.damaged += 1;
        }
        Ok(())
    }

    /// The files of interrupted pulls.
    fn partial(&self) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(self.store.path())? {
            paths.push(entry?.path());
        }
        paths.retain(|path| path.to_str().is_some_and(is_partial));
        paths.sort();
        Ok(paths)
    }

    /// Removes all mirrors, and what interrupted pulls left, which a sweep removes after ten minutes.
    pub(super) fn clear(&self) -> Result<()> {
        let then = fs::metadata(self.store.path())?.mtime() - 11 * 60;
        let time = Timespec { tv_sec: then, tv_nsec: 0 };
        for path in self.partial()? {
            utimensat(CWD, &path, &Timestamps { last_access: time, last_modification: time }, AtFlags::empty())?;
        }
        self.frames.clear(&self.store)
    }
}

fn is_partial(entry: &str) -> bool {
    entry.ends_with(".partial")
}

/// The note of a mirror, and the file of an interrupted pull as long as it has no other name.
fn may_stay(store: &Store, entry: &str) -> bool {
    if let Some(file) = entry.strip_prefix(".from-") {
        return store.path().join(file).exists();
    }
    is_partial(entry) && fs::metadata(store.path().join(entry)).is_ok_and(|status| status.nlink() == 1)
}
