//! Scratch stores that leave nothing behind, and this binary as a child process.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

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

    /// Names of the files in the store, the control file aside.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "store")
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
    let store = Store::at(directory.path().join("store")).unwrap();
    Scratch { store, directory }
}

/// Starts one test of this binary in a process of its own; the test sees `role` in `COFRAME_TEST_ROLE`.
pub(crate) fn child(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("COFRAME_TEST_ROLE", role);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What this process was started for; `None` in the test itself.
pub(crate) fn role() -> Option<String> {
    std::env::var("COFRAME_TEST_ROLE").ok()
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Kills the child and waits for it when the test ends, however it ends.
pub(crate) struct Reaper(pub(crate) Child);

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
