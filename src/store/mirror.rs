//! Mirrors: the bytes of another store's segment, as a frame of this store.

use std::{io, ops::Range};

use super::{
    MirrorTurn, Store, origin,
    parts::{Parts, bytes as wide},
    publish::PublishMode,
    writer::Sink,
};
use crate::{
    error::{Error, Result},
    frame::{Frame, UNPUBLISHED},
    name::Name,
};

/// Options of [`Store::mirror_with`].
///
/// ```
/// use coframe::MirrorOptions;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let frame = store.publish("x", &polars::df!("x" => [1])?)?;
/// let id = frame.segment_id().ok_or("coframe did not write it")?;
/// let options = MirrorOptions::new().length(frame.segment_bytes().len() as u64).segment_id(id);
/// let mut mirror = store.mirror_with("y", &options)?;
/// mirror.write(b"ARROW1")?;
/// assert!(mirror.publish().unwrap_err().to_string().contains("cut short"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MirrorOptions {
    length: Option<u64>,
    segment_id: Option<u128>,
    mode: PublishMode,
    origin: Option<String>,
}

impl MirrorOptions {
    /// Any length and any segment id, and [`PublishMode::Overwrite`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Length of the segment in bytes. More bytes are refused when they are written, fewer when the mirror is published.
    /// Default: any.
    #[must_use]
    pub fn length(mut self, bytes: u64) -> Self {
        self.length = Some(bytes);
        self
    }

    /// The [`segment_id`](Frame::segment_id) that the mirror must have. Default: any.
    #[must_use]
    pub fn segment_id(mut self, id: u128) -> Self {
        self.segment_id = Some(id);
        self
    }

    /// Where the bytes come from, such as a URL of at most 1 KiB, for [`Store::mirror_origin`]. Default: not recorded.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Whether the mirror overwrites, creates or updates the name in this store. Default: [`PublishMode::Overwrite`].
    #[must_use]
    pub fn mode(mut self, mode: PublishMode) -> Self {
        self.mode = mode;
        self
    }
}

impl MirrorOptions {
    fn check(&self) -> Result<()> {
        self.origin.as_deref().map_or(Ok(()), origin::check)
    }

    /// With the id of the segment that the turn is for.
    fn of_turn(mut self, id: u128) -> Result<Self> {
        if let Some(other) = self.segment_id.filter(|other| *other != id) {
            let detail = format_args!("it is {other:032x}, and the turn is for {id:032x}");
            return Err(Error::invalid("the segment id of the options", detail));
        }
        self.segment_id = Some(id);
        Ok(self)
    }

    fn is_shorter_than(&self, bytes: u64) -> bool {
        self.length.is_some_and(|length| length < bytes)
    }
}

/// A writer of the bytes of another store's segment; returned by [`Store::mirror`] and [`MirrorTurn::resume`].
///
/// Nothing is visible before [`publish`](Self::publish). If the writer is dropped before that, or its process is
/// killed, nothing is left behind, or what the next turn resumes. It keeps no bytes in memory except those in the store.
#[must_use = "nothing is visible until `publish` is called"]
pub struct MirrorWriter {
    name: Name,
    options: MirrorOptions,
    sink: Sink,
    /// What was written, if not in order. The file then ends with a record of it.
    parts: Option<Parts>,
    /// Whether a write failed: bytes are missing.
    is_broken: bool,
    /// Ends after the file has its name, or is closed.
    turn: Option<MirrorTurn>,
}

impl Store {
    /// Starts a frame whose segment is a copy of one from elsewhere, such as another machine's store or a backup.
    ///
    /// The bytes are those of [`Frame::segment_bytes`] there, in order. The mirror has the same
    /// [`segment_id`](Frame::segment_id), and a version of this store.
    ///
    /// ```
    /// use coframe::Store;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let here = Store::open_at(dir.path().join("here"))?;
    /// let there = Store::open_at(dir.path().join("there"))?;
    /// let frame = there.publish("flights", &polars::df!("delay" => [3, 5])?)?;
    ///
    /// let mut mirror = here.mirror("flights")?;
    /// for piece in frame.segment_bytes().chunks(1000) {
    ///     mirror.write(piece)?;
    /// }
    /// let copy = mirror.publish()?;
    /// assert_eq!(copy.batches(), frame.batches());
    /// assert_eq!(copy.segment_id(), frame.segment_id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mirror(&self, name: impl AsRef<str>) -> Result<MirrorWriter> {
        self.mirror_with(name, &MirrorOptions::new())
    }

    /// Starts a mirror with options. See [`Store::mirror`].
    pub fn mirror_with(&self, name: impl AsRef<str>, options: &MirrorOptions) -> Result<MirrorWriter> {
        let name = Name::new(name)?;
        options.check()?;
        Ok(MirrorWriter::new(name, options.clone(), Sink::create(self)?, None, None))
    }
}

impl MirrorTurn {
    /// Starts the mirror of the segment, or goes on with one that a process left incomplete: check
    /// [`MirrorWriter::written`].
    ///
    /// The bytes go to a hidden file, which stays if the writer is dropped or its process is killed. The next turn resumes
    /// it, and a sweep removes it after ten minutes without a change. [`MirrorWriter::discard`]
    /// and [`MirrorWriter::restart`] remove it at once.
    ///
    /// Compare a hash of the bytes that were there ([`MirrorWriter::read_at`]) with the origin: a process that is killed can
    /// leave anything after a crash of the machine.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) for options with another segment id;
    /// [`is_no_space`](Error::is_no_space).
    ///
    /// ```
    /// use std::time::Duration;
    /// use coframe::MirrorOptions;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let start = || store.mirror_turn(0xfeed, Duration::ZERO)?.resume("flights", &MirrorOptions::new());
    /// let mut mirror = start()?;
    /// mirror.write(b"ARROW1")?;
    /// drop(mirror); // the connection broke
    /// let mirror = start()?;
    /// assert_eq!(mirror.written(), 6);
    /// mirror.discard();
    /// assert_eq!(start()?.written(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(self, name: impl AsRef<str>, options: &MirrorOptions) -> Result<MirrorWriter> {
        let name = Name::new(name)?;
        options.check()?;
        let options = options.clone().of_turn(self.segment_id())?;
        let mut sink = Sink::resume(self.store(), self.segment_id())?;
        let mut parts = Parts::read(&sink.draft)?;
        let fits = match &parts {
            Some(parts) => options.length == Some(parts.length()),
            None => !options.is_shorter_than(sink.draft.len()),
        };
        if !fits {
            sink.draft.restart()?;
            parts = None;
        }
        Ok(MirrorWriter::new(name, options, sink, parts, Some(self)))
    }
}

impl MirrorWriter {
    fn new(name: Name, options: MirrorOptions, sink: Sink, parts: Option<Parts>, turn: Option<MirrorTurn>) -> Self {
        Self { name, options, sink, parts, is_broken: false, turn }
    }

    /// Appends the next bytes of the segment, all of them: after the first [`written`](Self::written) ones.
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](Error::is_corrupt) for more bytes than were announced; [`is_no_space`](Error::is_no_space). After
    /// an error every later call fails with [`is_invalid_argument`](Error::is_invalid_argument): start again with a new writer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_at(bytes, self.written())
    }

    /// Writes bytes of the segment at this offset, so that several parts of it can be written at the same time. None of the
    /// bytes may have been written before.
    ///
    /// If the process is killed, the next turn resumes all parts: check [`missing`](Self::missing). A part can be filled from
    /// its start with any number of calls. A segment has up to 253 parts with gaps between them.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); [`is_invalid_argument`](Error::is_invalid_argument) if some of the bytes were written before,
    /// or if [`MirrorOptions::length`] was not given.
    ///
    /// ```
    /// use std::time::Duration;
    /// use coframe::MirrorOptions;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let here = coframe::Store::open_at(dir.path().join("here"))?;
    /// # let there = coframe::Store::open_at(dir.path().join("there"))?;
    /// let frame = there.publish("flights", &polars::df!("delay" => [3, 5])?)?;
    /// let (bytes, id) = (frame.segment_bytes(), frame.segment_id().ok_or("coframe did not write it")?);
    /// let options = MirrorOptions::new().length(bytes.len() as u64);
    /// let start = || here.mirror_turn(id, Duration::ZERO)?.resume("flights", &options);
    /// let mut mirror = start()?;
    /// mirror.write_at(&bytes[100..200], 100)?;
    /// drop(mirror); // the connection broke
    ///
    /// let mut mirror = start()?;
    /// assert_eq!(mirror.missing(), [0..100, 200..bytes.len() as u64]);
    /// mirror.write_at(&bytes[200..], 200)?;
    /// mirror.write_at(&bytes[..100], 0)?;
    /// assert_eq!(mirror.publish()?.batches(), frame.batches());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.check_usable()?;
        self.is_broken = true;
        let end = offset.saturating_add(wide(bytes.len()));
        if let Some(most) = self.options.length.filter(|most| end > *most) {
            let detail = format_args!("it has {end} bytes or more, expected {most}");
            return Err(Error::corrupt(self.what(), "I2-mirror", detail));
        }
        if self.parts.is_none() && offset == self.written() {
            self.sink.write(&[bytes])?;
        } else if !bytes.is_empty() {
            self.write_part(bytes, offset..end)?;
        }
        self.is_broken = false;
        Ok(())
    }

    fn write_part(&mut self, bytes: &[u8], part: Range<u64>) -> Result<()> {
        let mut parts = match &self.parts {
            Some(parts) => parts.clone(),
            None => self.start_parts()?,
        };
        let offset = part.start;
        parts.add(part)?;
        self.sink.write_at(bytes, offset)?;
        // After the bytes, so that it lists no part that was not written.
        self.sink.write_at(&parts.encode(), parts.record_offset())?;
        self.parts = Some(parts);
        Ok(())
    }

    /// Starts the record, before any byte after a gap: without a record all bytes of the file count as written.
    fn start_parts(&mut self) -> Result<Parts> {
        let Some(length) = self.options.length else {
            let detail = "its length is not known; pass `MirrorOptions::length` to write it out of order";
            return Err(Error::invalid(self.what(), detail));
        };
        let parts = Parts::new(length, self.written());
        self.sink.write_at(&parts.encode(), parts.record_offset())?;
        self.parts = Some(parts.clone());
        Ok(parts)
    }

    /// Number of bytes written so far from the start without a gap, including those that were there at the start
    /// ([`MirrorTurn::resume`]).
    #[must_use]
    pub fn written(&self) -> u64 {
        self.parts.as_ref().map_or_else(|| self.sink.draft.len(), Parts::prefix)
    }

    /// The bytes that were not written, in order: ranges up to the end of the segment, or up to [`u64::MAX`] if
    /// [`MirrorOptions::length`] was not given.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u64>> {
        let known = || Parts::new(self.options.length.unwrap_or(u64::MAX), self.written()).missing();
        self.parts.as_ref().map_or_else(known, Parts::missing)
    }

    /// Reads bytes that were written, from this offset; returns how many, 0 at their end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.sink.draft.read_at(buffer, offset)
    }

    /// Removes all bytes that were written. The next ones are the first of the segment.
    pub fn restart(&mut self) -> Result<()> {
        self.is_broken = true;
        if self.turn.is_some() {
            self.sink.draft.restart()?;
        } else {
            self.sink = Sink::create(&self.sink.store.clone())?;
        }
        self.parts = None;
        self.is_broken = false;
        Ok(())
    }

    /// Ends the transfer and removes its bytes, which the next turn would resume otherwise.
    pub fn discard(self) {
        let Self { sink, turn, .. } = self;
        sink.draft.discard();
        drop(turn);
    }

    /// Validates the segment in full and makes it the latest version of its name.
    ///
    /// Reads every value, as [`Store::verify`] does, and compares what the footer records with the values. It does not
    /// find a value that was changed to another valid one: compare a hash of the bytes if a transport may change them.
    ///
    /// The frame [is not sealed](Frame::is_sealed): the metadata that its publisher attached is not trusted, so Python
    /// unpickles nothing from it. Columns stay marked as sorted if their order can be checked, and `keep` of the origin
    /// is ignored.
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](Error::is_corrupt) with the rule of docs/FORMAT.md that the bytes violate;
    /// [`is_unsupported`](Error::is_unsupported) for a version of the format that this build does not read. The store is
    /// unchanged, and the bytes are removed, unless some are missing.
    pub fn publish(mut self) -> Result<Frame> {
        self.check_usable()?;
        let (written, what) = (self.written(), self.what());
        if let Some(expected) = self.options.length.filter(|expected| written < *expected) {
            let detail = format_args!("it was cut short: it has {written} bytes, expected {expected}");
            return Err(Error::corrupt(what, "I2-mirror", detail));
        }
        if let Some(parts) = &self.parts {
            // The record. A file that is as long as its segment is complete.
            self.sink.draft.cut(parts.length())?;
        }
        // Declared first, and so dropped last.
        let _turn = self.turn;
        let (Sink { store, draft }, MirrorOptions { segment_id, mode, origin, .. }) = (self.sink, self.options);
        let sealed = draft.seal_mirror()?;
        let frame = Frame::from_mirror(sealed.map()?, store.origin(self.name, UNPUBLISHED), segment_id)?;
        let frame = store.make_latest(frame, sealed, mode, 0)?;
        if let Some(origin) = origin {
            // The mirror is published, and usable without the note.
            let _ = store.note_origin(&frame, &origin);
        }
        Ok(frame)
    }

    fn what(&self) -> String {
        format!("the mirror `{}`", self.name)
    }

    fn check_usable(&self) -> Result<()> {
        if self.is_broken {
            let detail = "an earlier write failed, so bytes are missing; start again with a new writer";
            return Err(Error::invalid(format_args!("the writer of {}", self.what()), detail));
        }
        Ok(())
    }
}

/// For [`std::io::copy`]. Flushing does nothing; call [`publish`](MirrorWriter::publish) at the end.
impl io::Write for MirrorWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for MirrorWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MirrorWriter")
            .field("name", &self.name)
            .field("written", &self.written())
            .finish_non_exhaustive()
    }
}
