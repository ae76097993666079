//! What all commands share: the store, and whether they print JSON.

use std::path::PathBuf;

use coframe::Store;

use crate::failure::{Failure, Result};

pub(crate) struct Context {
    /// `--store`, else `$COFRAME_STORE`, else the default.
    pub(crate) path: PathBuf,
    pub(crate) json: bool,
}

impl Context {
    pub(crate) fn new(store: Option<PathBuf>, json: bool) -> Self {
        // Not read by the parser of arguments, whose usage lines would list it as an argument that was given.
        let store = store.filter(|path| !path.as_os_str().is_empty());
        Self { path: store.unwrap_or_else(Store::default_path), json }
    }

    /// Opens the store, which must exist: a command that only reads creates no directory.
    pub(crate) fn store(&self) -> Result<Store> {
        if self.path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            let path = self.path.display();
            return Err(Failure::missing(format_args!(
                "no store found at `{path}`; create it with `coframe publish`, or name another with --store or COFRAME_STORE"
            )));
        }
        Ok(Store::open_existing(&self.path)?)
    }

    /// Opens the store, and creates it if it is missing.
    pub(crate) fn store_or_new(&self) -> Result<Store> {
        Ok(Store::open_at(&self.path)?)
    }
}
