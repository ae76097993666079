//! The bridge to plain named shared memory: tables that other programs put there, and frames for programs that know
//! nothing else.
//!
//! POSIX shared memory (`shm_open(3)`, Python's `multiprocessing.shared_memory`) has names and bytes, and no more: no
//! versions, no locks, no sweep, and anybody of this user may write. So a table is *copied* in, and validated as a
//! copy; a frame is *copied* out. A store needs neither: its frames are plain Arrow IPC files, which any program can
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
    error::{Error, Kind, Result},
    frame::Frame,
    ipc::{Encoder, EncoderOptions, Layout, Metadata, read_messages},
    segment::{Directory, Draft, Trust},
    store::{PublishOptions, Store},
};

/// Where Linux keeps named shared memory: `shm_open(3)`.
const SHARED_MEMORY: &str = "/dev/shm";
/// How an Arrow IPC file begins and ends.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";

impl Store {
    /// Publishes the Arrow IPC file or stream that another program put into a named segment of shared memory.
    ///
    /// Each batch is copied into this process, validated in full there and written to the store, so the other program
    /// may go on writing, and remove its segment afterwards; that is its affair, and never done here. A segment may be
    /// longer than what is in it, by zeros. Costs two copies of the bytes and a look at every value.
    ///
    /// `os_id` is the name as `shm_open` and Python's `SharedMemory` have it, with or without a slash before it.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) when there is no such segment; otherwise those of [`Store::import`]. The
    /// store is as it was.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::at(dir.path().join("store"))?;
    /// # let os_id = format!("coframe-test-{}-doc", std::process::id());
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// let exported = frame.export_shared_memory(&os_id)?;
    /// let copy = store.import_shared_memory(exported.os_id(), "y")?;
    /// assert!(copy.to_polars()?.equals(&frame.to_polars()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import_shared_memory(&self, os_id: &str, name: &str) -> Result<Frame> {
        self.import_shared_memory_with(os_id, name, PublishOptions::new())
    }

    /// Publishes a table from a named segment of shared memory, with options. See [`Store::import_shared_memory`].
    pub fn import_shared_memory_with(&self, os_id: &str, name: &str, options: PublishOptions) -> Result<Frame> {
        let os_id = checked(os_id)?;
        let path = path_of(os_id);
        // As `shm_open(3)` of the C library does: a link is not followed, and a pipe of that name not waited for.
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
        let content = Content::of(file).map_err(|e| Error::os("read the shared memory", &path, e))?;
        if content.len == 0 {
            let what = format!("the shared memory `{os_id}`");
            return Err(Error::invalid(what, "it holds nothing but zeros; expected an Arrow IPC file or stream"));
        }
        let (schema, batches) = read_messages(BufReader::new(content), &format!("the shared memory `{os_id}`"))?;
        let mut writer = self.writer_with(name, schema, options)?;
        // Shared memory has whole pages.
        for batch in batches.with_tail() {
            writer.write(&batch?)?;
        }
        writer.publish()
    }
}

impl Frame {
    /// Copies this frame, or part of one, into a named segment of shared memory, as an Arrow IPC file.
    ///
    /// For programs that know shared memory and nothing else; others can map the frame's own file, without a copy. The
    /// segment is as long as the file, complete before it has its name, readable and writable by this user alone
    /// (Python attaches for writing), and removed when the returned guard is dropped, unless it is
    /// [kept](SharedMemory::keep). A killed process leaves it behind: nobody else knows that it is not wanted any more.
    ///
    /// Python before 3.13 removes every segment that it has attached to when it ends, with a warning, unless
    /// `multiprocessing.resource_tracker.unregister(segment._name, "shared_memory")` is called; from 3.13 on
    /// `SharedMemory(name, track=False)` says so. The guard takes no harm from it.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) when the name is taken or cannot be one; [`is_no_space`](Error::is_no_space).
    pub fn export_shared_memory(&self, os_id: &str) -> Result<SharedMemory> {
        self.export_shared_memory_with(os_id, Layout::Source)
    }

    /// Copies this frame into a named segment of shared memory, in a layout that its reader knows. See
    /// [`Frame::export_shared_memory`].
    pub fn export_shared_memory_with(&self, os_id: &str, layout: Layout) -> Result<SharedMemory> {
        let os_id = checked(os_id)?;
        // Everybody may make files there; these bytes are copied in, and never trusted again.
        let directory = Arc::new(Directory::open(Path::new(SHARED_MEMORY), Trust::Promised)?);
        let hidden = || Ok((format!(".coframe-{:032x}", crate::store::random_id()?), ()));
        let mut draft = Draft::create(&directory, hidden)?;
        encode(self, layout, &mut |slices| draft.write(slices))?;
        let (bytes, file) = (draft.len(), draft.file().try_clone());
        let stat = file.and_then(|file| file.metadata()).map_err(|e| Error::os("look up", path_of(os_id), e))?;
        if !draft.link(os_id)? {
            let what = format!("the name `{os_id}` for shared memory");
            return Err(Error::invalid(what, "it is taken; use another one, or remove what is there"));
        }
        let inode = (stat.dev(), stat.ino());
        Ok(SharedMemory { os_id: os_id.to_owned(), bytes, inode, process: getpid(), is_kept: false })
    }
}

/// A named segment of shared memory with a frame in it; made by [`Frame::export_shared_memory`].
///
/// Dropped, it takes the name away; whoever has attached keeps the bytes. In a forked child, dropping the copy does
/// nothing.
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
    /// The name, as `shm_open` and Python's `SharedMemory` take it.
    #[must_use]
    pub fn os_id(&self) -> &str {
        &self.os_id
    }

    /// Bytes of the Arrow IPC file, which is all that is in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Leaves the segment where it is; whoever knows its name may remove it.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if self.is_kept || self.process != getpid() {
            return;
        }
        // Somebody may have removed it, and somebody else have taken the name.
        let is_ours = |found: std::fs::Metadata| (found.dev(), found.ino()) == self.inode;
        if std::fs::symlink_metadata(path_of(&self.os_id)).is_ok_and(is_ours) {
            let _ = shm::unlink(format!("/{}", self.os_id));
        }
    }
}

/// The frame as the bytes of an Arrow IPC file.
fn encode(frame: &Frame, layout: Layout, sink: &mut dyn FnMut(&[&[u8]]) -> Result<()>) -> Result<()> {
    let options = EncoderOptions { layout, batch_rows: None, batch_bytes: None };
    let mut encoder = Encoder::begin(frame.schema(), &options, sink)?;
    for batch in frame.batches() {
        encoder.write(batch, sink)?;
    }
    encoder.finish(Metadata::default(), sink)
}

fn path_of(os_id: &str) -> PathBuf {
    Path::new(SHARED_MEMORY).join(os_id)
}

/// The name without the slash that `shm_open(3)` wants before it.
fn checked(os_id: &str) -> Result<&str> {
    let name = os_id.strip_prefix('/').unwrap_or(os_id);
    if name.is_empty() || name.len() > 255 || name == "." || name == ".." || name.contains(['/', '\0']) {
        let what = format!("`{}` is no name of shared memory", os_id.escape_debug());
        return Err(Error::invalid(what, "expected 1 to 255 bytes without a slash, as Python's `SharedMemory.name`"));
    }
    Ok(name)
}

/// What is in a segment, which may be longer: a file ends at its last byte that is not zero (its magic), and a stream
/// says itself where it ends.
struct Content {
    file: File,
    len: u64,
    position: u64,
}

impl Content {
    fn of(file: File) -> io::Result<Self> {
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
