//! A store in /dev/shm for the targets of this thread.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use coframe::{Error, Store};

/// A store, removed when its thread ends.
pub struct Scratch {
    /// The store itself.
    pub store: Store,
    directory: tempfile::TempDir,
}

thread_local! {
    static SCRATCH: Scratch = Scratch::new();
}

/// Runs a target in the store of this thread.
pub fn with<R>(run: impl FnOnce(&Scratch) -> R) -> R {
    SCRATCH.with(run)
}

impl Scratch {
    /// Creates a store. `COFRAME_FUZZ_DIR` is where, so that the caller can remove what a crash leaves.
    #[must_use]
    pub fn new() -> Self {
        let place = std::env::var_os("COFRAME_FUZZ_DIR").map_or_else(|| "/dev/shm".into(), PathBuf::from);
        let directory = tempfile::Builder::new().prefix("coframe-fuzz-").tempdir_in(place).unwrap();
        let store = Store::open_at(directory.path().join("store")).unwrap();
        Self { store, directory }
    }

    /// A path next to the store.
    #[must_use]
    pub fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path in the store.
    #[must_use]
    pub fn inside(&self, name: &str) -> PathBuf {
        self.store.path().join(name)
    }

    /// Gives the store a file that coframe did not write, as version 1 of `name`.
    #[must_use]
    pub fn plant(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.inside(&format!("{name}@1.arrow"));
        fs::write(&path, bytes).unwrap();
        link(&format!("{name}@1.arrow"), &self.inside(&format!("{name}.arrow")));
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Points a symlink to `target`, in the place of the one that is there.
pub fn link(target: &str, path: &Path) {
    if fs::read_link(path).is_ok_and(|found| found == Path::new(target)) {
        return;
    }
    let _ = fs::remove_file(path);
    symlink(target, path).unwrap();
}

/// An error with its causes fits on a screen and has no control character, whatever the input was.
pub fn check_error(error: &Error) {
    check_text(&format!("{error:?}"));
}

/// A message fits on a screen and has no control character.
pub fn check_text(text: &str) {
    assert!(text.len() < 4_096, "a message of {} bytes: {:.200}", text.len(), text);
    assert!(!text.chars().any(char::is_control), "a message with a control character: {text:?}");
}
