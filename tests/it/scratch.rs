//! Scratch stores that leave nothing behind. The tests of `crates/flight` use this file too.

use std::path::PathBuf;

use coframe::Store;
use tempfile::TempDir;

/// A store in memory, removed with its directory.
pub(crate) struct Scratch {
    pub(crate) store: Store,
    directory: TempDir,
}

impl Scratch {
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Names of the files in the store, without the control file, the record of where the store was made, and that of
    /// its last sweep.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["store", ".home", ".swept"].contains(&name.as_str()))
            .collect();
        files.sort();
        files
    }
}

pub(crate) fn scratch() -> Scratch {
    scratch_in("/dev/shm")
}

pub(crate) fn scratch_in(parent: &str) -> Scratch {
    let directory = tempfile::Builder::new().prefix("coframe-test-").tempdir_in(parent).unwrap();
    let store = Store::open_at(directory.path().join("store")).unwrap();
    Scratch { store, directory }
}
