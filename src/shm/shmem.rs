//! Frames from and into segments of the crate `shared_memory`, which the caller holds (feature `shared_memory`).
//!
//! That crate creates a named segment that every process of this user can write to at any time. It lacks versions,
//! locks, seals and a way to see which processes use a segment, and it removes a segment when its owner drops it. A
//! table in a [`Shmem`] is therefore never used in place: it is copied into private memory, validated there in full,
//! and published. Use a [`Store`] if both sides can.

use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt},
};

use shared_memory::{Shmem, ShmemConf};

use super::{SHARED_MEMORY, encode, path_of};
use crate::{
    error::{Error, Kind, Result},
    frame::Frame,
    ipc::StringLayout,
    store::{PublishOptions, Store},
};

impl Store {
    /// Publishes the Arrow IPC file or stream in a segment of the crate `shared_memory`.
    ///
    /// As [`Store::import_shared_memory`], this copies each batch into this process, validates it in full there and
    /// writes it to the store, so other processes may continue to write to the segment. The segment can be longer than
    /// its content if it ends with zeros, as a segment that was created by size does.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if the segment was removed since it was opened; otherwise as
    /// [`Store::import`]. The store is unchanged.
    ///
    /// ```
    /// use shared_memory::ShmemConf;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// let segment = frame.to_shmem(ShmemConf::new())?;
    /// let copy = store.import_shmem("y", &segment)?;
    /// assert_eq!(copy.batches(), frame.batches());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import_shmem(&self, name: impl AsRef<str>, segment: &Shmem) -> Result<Frame> {
        self.import_shmem_with(name, segment, &PublishOptions::new())
    }

    /// Publishes a table from a segment of the crate `shared_memory`, with options. See [`Store::import_shmem`].
    ///
    /// # Errors
    ///
    /// As [`Store::import_shmem`].
    pub fn import_shmem_with(&self, name: impl AsRef<str>, segment: &Shmem, options: &PublishOptions) -> Result<Frame> {
        self.import_shared_memory_with(name, segment.get_os_id(), options)
    }
}

impl Frame {
    /// Copies this frame, or part of one, into a new segment of the crate `shared_memory`, as an Arrow IPC file.
    ///
    /// The size in `segment` is replaced by that of the file; its name and its link are used as they are. The caller owns
    /// the segment, which is removed when the returned value is dropped. Costs one copy, and encodes the frame twice, the
    /// first time for its size.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the segment cannot be created, with the reason of `shared_memory`;
    /// [`is_no_space`](Error::is_no_space).
    pub fn to_shmem(&self, segment: ShmemConf) -> Result<Shmem> {
        let segment = segment.size(self.size_in_shmem()?).create();
        let segment = segment.map_err(|e| Error::invalid("the segment of shared memory cannot be created", e))?;
        self.write_shmem(&segment)?;
        Ok(segment)
    }

    /// Copies this frame, or part of one, into an existing segment of the crate `shared_memory`, as an Arrow IPC file.
    /// Returns the length of the file in bytes. The rest of the segment becomes zeros.
    ///
    /// A process that reads the segment meanwhile sees a part of the file, because the crate does not lock.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the segment is too small, with the size that is needed; nothing was written then.
    /// [`is_not_found`](Error::is_not_found) if the segment was removed.
    ///
    /// ```
    /// use shared_memory::ShmemConf;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// let segment = ShmemConf::new().size(1 << 20).create()?;
    /// assert!(frame.write_shmem(&segment)? < 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_shmem(&self, segment: &Shmem) -> Result<usize> {
        let (needed, os_id) = (self.size_in_shmem()?, segment.get_os_id());
        let path = path_of(os_id.trim_start_matches('/'));
        let file = OpenOptions::new().write(true).open(&path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                let what = format!("shared memory `{os_id}`");
                Kind::NotFound { what, store: SHARED_MEMORY.into() }.into()
            }
            _ => Error::os("open", &path, e),
        })?;
        let size = file.metadata().map_err(|e| Error::os("read the size of", &path, e))?.size();
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(segment.len());
        if size < needed {
            let what = format!("the shared memory `{os_id}`");
            return Err(Error::invalid(what, format_args!("it has {size} bytes, and the frame needs {needed}")));
        }
        let mut end = 0;
        let mut write = |bytes: &[u8]| write_at(&file, bytes, &mut end).map_err(|e| Error::os("write to", &path, e));
        encode(self, StringLayout::Keep, &mut |slices| slices.iter().try_for_each(|slice| write(slice)))?;
        let zeros = [0; 4096];
        for start in (needed..size).step_by(zeros.len()) {
            write(zeros.get(..zeros.len().min(size - start)).unwrap_or_default())?;
        }
        Ok(needed)
    }

    fn size_in_shmem(&self) -> Result<usize> {
        let mut size = 0;
        encode(self, StringLayout::Keep, &mut |slices| {
            size += slices.iter().map(|slice| slice.len()).sum::<usize>();
            Ok(())
        })?;
        Ok(size)
    }
}

/// Writes at `end`, and moves it.
fn write_at(file: &File, bytes: &[u8], end: &mut u64) -> std::io::Result<()> {
    file.write_all_at(bytes, *end)?;
    *end += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok(())
}
