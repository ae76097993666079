//! A bridge to named shared memory: imports tables that other programs wrote there, and exports frames to programs that
//! read nothing else.
//!
//! POSIX shared memory (`shm_open(3)`, Python's `multiprocessing.shared_memory`) has names and bytes, but no versions,
//! locks or sweep, and every process of this user can write to it. An import therefore *copies* a table and validates
//! the copy, and an export *copies* a frame. A store needs neither: its frames are Arrow IPC files that any program can
//! map by path.

#[cfg(feature = "shared_memory")]
mod shmem;

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, getpid},
    shm,
};

use crate::{
    error::{Error, Kind, Result, excerpt},
    frame::Frame,
    ipc::{Encoder, EncoderOptions, Metadata, StringLayout, read_messages},
    segment::{Directory, Draft, Trust},
    store::{PublishOptions, Store},
};

/// The directory of named shared memory on Linux: `shm_open(3)`.
const SHARED_MEMORY: &str = "/dev/shm";
/// The first and the last bytes of an Arrow IPC file.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";

impl Store {
    /// Publishes the Arrow IPC file or stream that another program wrote into a named segment of shared memory.
    ///
    /// Each batch is copied into this process, validated in full and written to the store, so the other program may
    /// continue to write. This method does not remove the segment. Zeros after the table are ignored. Costs two copies
    /// of the bytes and reads every value.
    ///
    /// `os_id` is the name that `shm_open` and Python's `SharedMemory` take, with or without a leading slash.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if the segment does not exist; otherwise those of [`Store::import`]. The
    /// store is unchanged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let os_id = format!("coframe-test-{}-doc", std::process::id());
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// let exported = frame.export_shared_memory(&os_id)?;
    /// let copy = store.import_shared_memory("y", exported.os_id())?;
    /// assert!(copy.to_polars()?.equals(&frame.to_polars()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import_shared_memory(&self, name: impl AsRef<str>, os_id: &str) -> Result<Frame> {
        self.import_shared_memory_with(name, os_id, &PublishOptions::new())
    }

    /// Publishes a table from a named segment of shared memory, with options. See [`Store::import_shared_memory`].
    pub fn import_shared_memory_with(
        &self,
        name: impl AsRef<str>,
        os_id: &str,
        options: &PublishOptions,
    ) -> Result<Frame> {
        let os_id = checked(os_id)?;
        let path = path_of(os_id);
        // The flags of `shm_open(3)` in the C library: it follows no link and does not block on a FIFO.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) => {
                let what = format!("shared memory `{os_id}`");
                return Err(Kind::NotFound { what, store: SHARED_MEMORY.into() }.into());
            }
            Err(e) => return Err(Error::os("open the shared memory", path, e)),
        };
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            let what = format!("`{}`", path.display());
            return Err(Error::invalid(what, "it is a directory, a pipe or a device; expected shared memory"));
        }
        let content = Content::new(file).map_err(|e| Error::os("read the shared memory", &path, e))?;
        if content.len == 0 {
            let what = format!("the shared memory `{os_id}`");
            return Err(Error::invalid(what, "it contains only zeros; expected an Arrow IPC file or stream"));
        }
        let (schema, batches) = read_messages(BufReader::new(content), &format!("the shared memory `{os_id}`"))?;
        let mut writer = self.writer_with(name, schema, options)?;
        // Shared memory consists of whole pages, so zeros may follow.
        for batch in batches.with_tail() {
            writer.write(&batch?)?;
        }
        writer.publish()
    }
}

impl Frame {
    /// Copies this frame, or part of one, into a named segment of shared memory, as an Arrow IPC file.
    ///
    /// For programs that read only shared memory; other programs can map the frame's own file without a copy. The
    /// segment is as long as the file and complete before it gets its name. This user alone can read and write it
    /// (Python attaches for writing). Dropping the returned guard removes the segment, unless it is
    /// [kept](SharedMemory::keep). If this process is killed, the segment remains: no sweep removes it.
    ///
    /// At its end, Python before 3.13 removes every segment that it attached to, with a warning. Call
    /// `multiprocessing.resource_tracker.unregister(segment._name, "shared_memory")` there to prevent that; from 3.13
    /// on, open it with `SharedMemory(name, track=False)`. The guard tolerates a segment that was removed.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the name exists or is not valid; [`is_no_space`](Error::is_no_space).
    pub fn export_shared_memory(&self, os_id: &str) -> Result<SharedMemory> {
        self.export_shared_memory_with(os_id, StringLayout::Keep)
    }

    /// Copies this frame into a named segment of shared memory, in a layout that its reader supports. See
    /// [`Frame::export_shared_memory`].
    pub fn export_shared_memory_with(&self, os_id: &str, layout: StringLayout) -> Result<SharedMemory> {
        let os_id = checked(os_id)?;
        // Every user can create files in this directory; coframe never trusts the bytes that it exports.
        let directory = Arc::new(Directory::open(Path::new(SHARED_MEMORY), Trust::Promised)?);
        let hidden = || Ok((format!(".coframe-{:032x}", crate::store::random_id()?), ()));
        let mut draft = Draft::create(&directory, hidden)?;
        encode(self, layout, &mut |slices| draft.write(slices))?;
        let (bytes, file) = (draft.len(), draft.file().try_clone());
        let stat = file.and_then(|file| file.metadata()).map_err(|e| Error::os("look up", path_of(os_id), e))?;
        if !draft.link(os_id)? {
            let what = format!("the name `{os_id}` for shared memory");
            return Err(Error::invalid(what, "it exists already; use another name, or remove the existing segment"));
        }
        let inode = (stat.dev(), stat.ino());
        Ok(SharedMemory { os_id: os_id.to_owned(), bytes, inode, process: getpid(), is_kept: false })
    }
}

/// A named segment of shared memory that contains a frame. [`Frame::export_shared_memory`] creates it.
///
/// Dropping it removes the name; processes that have attached keep the bytes. In a forked child, dropping the copy does
/// nothing.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// let name = format!("coframe-example-{}", std::process::id());
/// let memory = frame.export_shared_memory(&name)?; // unlinked on drop, unless kept
/// assert!(memory.size_bytes() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the shared memory is removed when this is dropped"]
pub struct SharedMemory {
    os_id: String,
    bytes: u64,
    inode: (u64, u64),
    process: Pid,
    is_kept: bool,
}

impl SharedMemory {
    /// Returns the name that `shm_open` and Python's `SharedMemory` take.
    #[must_use]
    pub fn os_id(&self) -> &str {
        &self.os_id
    }

    /// Returns the size of the segment in bytes: that of the Arrow IPC file.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps the segment after this guard is gone. Any process of this user can remove it by its name.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if self.is_kept || self.process != getpid() {
            return;
        }
        // Another process may have removed the segment, and a third may have reused the name.
        let is_ours = |found: std::fs::Metadata| (found.dev(), found.ino()) == self.inode;
        if std::fs::symlink_metadata(path_of(&self.os_id)).is_ok_and(is_ours) {
            let _ = shm::unlink(format!("/{}", self.os_id));
        }
    }
}

/// Encodes the frame as the bytes of an Arrow IPC file.
fn encode(frame: &Frame, layout: StringLayout, sink: &mut dyn FnMut(&[&[u8]]) -> Result<()>) -> Result<()> {
    let options = EncoderOptions { layout, ..EncoderOptions::default() };
    let mut encoder = Encoder::begin(frame.schema(), &options, sink)?;
    for batch in frame.batches() {
        encoder.write(batch, sink)?;
    }
    encoder.finish(Metadata::default(), sink)
}

fn path_of(os_id: &str) -> PathBuf {
    Path::new(SHARED_MEMORY).join(os_id)
}

/// Returns the name without the leading slash that `shm_open(3)` takes.
fn checked(os_id: &str) -> Result<&str> {
    let name = os_id.strip_prefix('/').unwrap_or(os_id);
    if name.is_empty() || name.len() > 255 || name == "." || name == ".." || name.contains(['/', '\0']) {
        let what = format!("`{}` is not a name of shared memory", excerpt(os_id));
        return Err(Error::invalid(what, "expected 1 to 255 bytes without a slash, as Python's `SharedMemory.name`"));
    }
    Ok(name)
}

/// The content of a segment, which may be shorter than the segment: a file ends at its last byte that is not zero (its
/// magic), and a stream contains its end.
struct Content {
    file: File,
    len: u64,
    position: u64,
}

impl Content {
    fn new(file: File) -> io::Result<Self> {
        let mut len = file.metadata()?.len();
        let mut magic = [0; FILE_MAGIC.len()];
        let is_file = file.read_exact_at(&mut magic, 0).is_ok() && magic == *FILE_MAGIC;
        if !is_file && magic != [0; FILE_MAGIC.len()] {
            return Ok(Self { file, len, position: 0 });
        }
        let mut block = vec![0; 64 * 1024];
        while len > 0 {
            let size = usize::try_from(len).unwrap_or(usize::MAX).min(block.len());
            let start = len - u64::try_from(size).unwrap_or(len);
            let block = block.get_mut(..size).unwrap_or_default();
            file.read_exact_at(block, start)?;
            if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
                len = start + u64::try_from(last).unwrap_or(0) + 1;
                break;
            }
            len = start;
        }
        Ok(Self { file, len, position: 0 })
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.len.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let window = buffer.get_mut(..rest.min(buffer.len())).unwrap_or_default();
        let read = self.file.read_at(window, self.position)?;
        self.position += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
