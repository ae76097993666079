//! A second, private map of a segment, which only this process can write to.
#![expect(unsafe_code, reason = "mapping memory is what this module is for")]

use memmap2::{MmapOptions, MmapRaw};

use super::{Directory, Mapping};
use crate::error::{Error, Result};

/// The bytes of a segment, mapped privately: the kernel copies a page when it is first written to, and the file, other maps
/// and other processes never see what is written.
///
/// Nothing in this crate makes a reference to these bytes; they are handed out as pointers.
#[derive(Debug)]
pub(crate) struct PrivateMapping {
    map: MmapRaw,
}

impl PrivateMapping {
    /// Maps the file `name` again; `None` if the name was removed, or another file has it now.
    ///
    /// Takes no lock: the caller keeps `shared`, whose lock keeps a sweep from removing the file.
    pub(crate) fn new(shared: &Mapping, directory: &Directory, name: &str) -> Result<Option<Self>> {
        let Some(file) = directory.open_file(name)? else { return Ok(None) };
        let path = directory.path().join(name);
        let stat = rustix::fs::fstat(&file).map_err(|e| Error::os("read the size of", &path, e))?;
        if (stat.st_dev, stat.st_ino) != shared.file() {
            return Ok(None);
        }
        // SAFETY: the file is the one that is mapped in `shared`, so its owner and mode were checked and no process writes to
        // it or cuts it (see `Mapping::map`); its length is that of `shared`. The pages are private, and no reference is
        // made to them: `at` gives pointers alone.
        let map = unsafe { MmapOptions::new().len(shared.bytes().len()).map_copy(&file) };
        Ok(Some(Self { map: map.map_err(|e| Error::os("map", &path, e))?.into() }))
    }

    /// The address in this map of `len` bytes that start at `offset`; `None` outside of the map.
    pub(crate) fn at(&self, offset: usize, len: usize) -> Option<*mut u8> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.map.len());
        inside.then(|| self.map.as_mut_ptr().wrapping_add(offset))
    }
}
