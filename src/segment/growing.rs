//! A file that another process appends to, for reading.

use std::{fs::File, sync::Arc};

use super::{directory::Directory, draft};
use crate::error::{Error, Result};

/// A draft under a hidden name, read while its writer may append to it. Holds no lock, so it keeps no sweep from the file.
#[derive(Debug)]
pub(crate) struct Growing {
    file: File,
    directory: Arc<Directory>,
}

impl Growing {
    /// `None` if the file does not exist.
    pub(crate) fn open(directory: &Arc<Directory>, name: &str) -> Result<Option<Self>> {
        let file = directory.open_file(name)?;
        Ok(file.map(|file| Self { file, directory: Arc::clone(directory) }))
    }

    /// Bytes at this moment, and whether the file has a name, hidden or not.
    pub(crate) fn state(&self) -> Result<(u64, bool)> {
        let stat =
            rustix::fs::fstat(&self.file).map_err(|e| Error::os("look up a file in", self.directory.path(), e))?;
        Ok((u64::try_from(stat.st_size).unwrap_or(0), stat.st_nlink > 0))
    }

    /// Reads bytes that are there; returns how many.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        draft::read_at(&self.file, &self.directory, buffer, offset)
    }
}
