//! The directory of an executor's shuffle files. The executor removes it when it stops; if it was killed, the next one does.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

/// Start of the names of these directories.
const PREFIX: &str = "coframe-cluster-";

/// A directory that is locked while its executor lives, and removed when it is dropped.
pub(crate) struct ShuffleDirectory {
    path: PathBuf,
    _lock: File,
}

impl ShuffleDirectory {
    /// A new directory in `parent`. Removes those of executors that were killed.
    pub(crate) fn new(parent: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(parent)?;
        remove_stale(parent)?;
        loop {
            let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?.keep();
            let lock = File::open(&path)?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Another executor that started at the same time may have found it before it was locked, and removed it.
            if std::fs::metadata(&path).is_ok_and(|found| lock.metadata().is_ok_and(|own| own.ino() == found.ino())) {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ShuffleDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            log::warn!("cannot remove the shuffle files in {}: {error}", self.path.display());
        }
    }
}

/// Removes the directories in `parent` that no executor has locked.
fn remove_stale(parent: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        let is_shuffle = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
        // One of another user cannot be opened, or not removed. Anything but a directory is not of an executor.
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(directory) = is_shuffle.then(|| open(&path, flags, Mode::empty()).ok()).flatten() else { continue };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            log::warn!("cannot remove the shuffle files in {}: {error}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_dead_executor_is_removed_by_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let stale = parent.path().join("coframe-cluster-dead");
        std::fs::create_dir_all(stale.join("job/1")).unwrap();
        let other = parent.path().join("other");
        std::fs::create_dir(&other).unwrap();
        // A reader that opens a pipe waits for a writer.
        let pipe = parent.path().join("coframe-cluster-pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let living = ShuffleDirectory::new(parent.path()).unwrap();
        assert!(!stale.exists() && other.exists());
        let second = ShuffleDirectory::new(parent.path()).unwrap();
        assert!(living.path().exists(), "it is locked");
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists() && second.path().exists());
    }
}
