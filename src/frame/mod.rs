//! Frames: a decoded segment, parts of it, and handles to them.
//!
//! Uses segments and IPC, and does not know where files come from or which process opens them (that is `store`).

mod handle;
mod messages;
mod mirror;
mod open;
mod options;
mod parts;
mod prefault;
mod reader;
mod sent;
mod source;
mod statistics;

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

pub use handle::Handle;
pub use messages::Message;
pub use options::{CategoryPolicy, CopyPolicy, OpenOptions};
pub(crate) use prefault::collect_buffers;
pub use reader::FrameReader;
#[cfg(feature = "pool")]
pub(crate) use sent::{Sent, collect_sent, note, note_opening_error, take_opening_error};
pub use statistics::{ColumnStatistics, SortedColumn, Statistics};

#[cfg(feature = "polars")]
use crate::ipc::ArrayParts;
use crate::{
    error::Result,
    ipc::{Copied, DecodedFile, FileMap, Footer},
    name::Name,
    segment::Mapping,
};

/// An immutable table in shared memory, or a part of one.
///
/// Cheap to clone (one reference count), `Send + Sync`. The bytes stay readable for as long as the frame or anything
/// made from it (a batch, an array, a Polars column) lives, even after the [`Store`](crate::Store), the name and the
/// publishing process are gone.
///
/// ```
/// use coframe::Store;
/// use polars::prelude::*;
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let frame = store.publish("squares", &df!("x" => [1, 2, 3], "square" => [1, 4, 9])?)?;
/// assert_eq!((frame.num_rows(), frame.num_columns()), (3, 2));
///
/// let part = frame.select(["square"])?.slice(1..)?;
/// assert_eq!(part.to_polars()?, df!("square" => [4, 9])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Frame {
    shared: Arc<Shared>,
    schema: SchemaRef,
    /// Positions in the segment's schema; `None` for all of them.
    columns: Option<Arc<[usize]>>,
    /// Rows of the segment.
    rows: Range<usize>,
    /// The batches with these columns and rows, created at the first request.
    batches: Arc<OnceLock<Box<[RecordBatch]>>>,
}

/// The data that all parts of a frame share.
struct Shared {
    origin: Origin,
    mapping: Arc<Mapping>,
    footer: Footer,
    contents: DecodedFile,
    #[cfg(feature = "polars")]
    options: OpenOptions,
    rows: usize,
}

/// The rows of a frame that are in one batch.
pub(crate) struct BatchSlice {
    batch: usize,
    /// Rows of the batch.
    pub(crate) rows: Range<usize>,
    /// Number of rows of the whole batch.
    of: usize,
}

impl BatchSlice {
    pub(crate) fn is_whole(&self) -> bool {
        self.rows.len() == self.of
    }
}

/// The version of a frame that was not published yet; versions start at 1.
pub(crate) const UNPUBLISHED: u64 = 0;

/// Where a frame was opened.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) store: PathBuf,
    pub(crate) session: Option<String>,
    pub(crate) name: Name,
    pub(crate) version: u64,
}

/// The sub-directory of a store that holds its sessions.
pub(crate) const SESSIONS: &str = "sessions";

impl Origin {
    /// Names the frame in errors: "`flights@7`".
    fn label(&self) -> String {
        format!("`{}@{}`", self.name, self.version)
    }

    fn file(&self) -> PathBuf {
        let directory = self.session.iter().fold(self.store.clone(), |store, id| store.join(SESSIONS).join(id));
        directory.join(self.name.file(self.version))
    }
}

impl Frame {
    /// The name that it was published under.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared.origin.name
    }

    /// The version that was opened; higher than that of every frame published before it in its store.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.origin.version
    }

    /// The Arrow schema of the columns in this frame, in order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(frame.schema().field(1).name(), "delay");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows in this frame.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!((frame.num_rows(), frame.num_columns()), (3, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns in this frame.
    #[must_use]
    pub fn num_columns(&self) -> usize {
        self.schema.fields().len()
    }

    /// Size of the segment in bytes, including metadata. It is the same for every part of a frame.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.shared.mapping.bytes().len()
    }

    /// The file of the segment, which any Arrow implementation can open. It is the same for every part of the frame.
    ///
    /// The file exists while the version is the latest of its name, is kept or is in use, as long as no process removes
    /// the name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1])?)?;
    /// assert_eq!(std::fs::metadata(frame.path())?.len(), frame.size_bytes() as u64);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.shared.origin.file()
    }

    /// When the frame was published; `None` for a file that coframe did not write.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        let metadata = self.shared.footer.metadata.as_ref()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(metadata.created))
    }

    /// The entries that the publisher attached with [`PublishOptions::metadata`](crate::PublishOptions::metadata).
    ///
    /// ```
    /// use coframe::{PublishOptions, Store};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let store = Store::open_at(dir.path().join("store"))?;
    /// let df = polars::df!("x" => [1])?;
    /// let frame = store.publish_with("x", &df, &PublishOptions::new().metadata("source", "sensor 7"))?;
    /// assert_eq!(frame.metadata()["source"], "sensor 7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.shared.footer.metadata.as_ref().map_or(&NONE, |metadata| &metadata.user)
    }

    /// Whether coframe wrote the file, as this user and on this machine, and it has been read-only since.
    ///
    /// coframe relies on what such a frame records about itself. The values of any other file were validated when it
    /// was opened, but any program may have written its [`metadata`](Self::metadata): do not unpickle or execute it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// assert!(store.publish("x", &polars::df!("x" => [1])?)?.is_sealed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.shared.mapping.is_sealed() && !self.is_mirror()
    }

    /// Whether the segment was written by [`Store::mirror`](crate::Store::mirror): its bytes came from another store,
    /// and were validated before they got their name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1])?)?;
    /// let mut mirror = store.mirror("y")?;
    /// mirror.write(&frame.segment_bytes())?;
    /// let mirror = mirror.publish()?;
    /// assert!(mirror.is_mirror() && !mirror.is_sealed() && !frame.is_mirror());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.shared.mapping.is_mirror()
    }

    /// The record batches, on the mapped bytes. Does not copy.
    ///
    /// The first call creates the arrays. For a part of the rows it also slices them, which counts their nulls again
    /// and therefore reads one bit a row.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let rows: usize = frame.batches().iter().map(|batch| batch.num_rows()).sum();
    /// assert_eq!(rows, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn batches(&self) -> &[RecordBatch] {
        self.batches.get_or_init(|| self.pieces().map(|piece| self.batch(&piece)).collect())
    }

    fn batch(&self, piece: &BatchSlice) -> RecordBatch {
        let columns = (0..self.num_columns()).filter_map(|position| self.array(piece, position)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(piece.rows.len()));
        // Types come from the schema; lengths and nulls were checked when the frame was opened. So this cannot fail.
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).unwrap_or_else(|error| {
            debug_assert!(false, "a batch does not fit its schema: {error}");
            RecordBatch::new_empty(self.schema.clone())
        })
    }

    /// One column of a batch, cut to the rows of this frame.
    pub(crate) fn array(&self, piece: &BatchSlice, position: usize) -> Option<ArrayRef> {
        let array = self.shared.contents.array(piece.batch, self.original(position), &self.map())?;
        Some(if piece.is_whole() { array.clone() } else { array.slice(piece.rows.start, piece.rows.len()) })
    }

    /// One column of a whole batch, as far as Polars needs it.
    #[cfg(feature = "polars")]
    pub(crate) fn values<'a>(
        &'a self,
        piece: &BatchSlice,
        position: usize,
        map: &'a FileMap,
    ) -> Option<ArrayParts<'a>> {
        self.shared.contents.values(piece.batch, self.original(position), map)
    }

    /// The bytes of the segment.
    pub(crate) fn map(&self) -> FileMap {
        self.shared.mapping.clone()
    }

    /// The batches that hold rows of this frame; all of them when it has all rows.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = BatchSlice> {
        let whole = self.rows.len() == self.shared.rows;
        let mut before = 0;
        self.shared.contents.rows().enumerate().filter_map(move |(batch, of)| {
            let first = before;
            before += of;
            let (start, end) = (self.rows.start.max(first), self.rows.end.min(before));
            (start < end || whole).then(|| BatchSlice { batch, rows: start - first..end - first, of })
        })
    }

    /// One column: an array for each batch, on the mapped bytes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// assert_eq!(frame.column("x")?[0].len(), 2);
    /// assert!(frame.column("y").unwrap_err().is_not_found());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn column(&self, name: &str) -> Result<Vec<ArrayRef>> {
        let position = *self.positions(&[name])?.first().unwrap_or(&0);
        Ok(self.pieces().filter_map(|piece| self.array(&piece, position)).collect())
    }

    /// A reader of the batches, for functions that take a `RecordBatchReader`. The reader keeps the bytes alive.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// let copy = store.publish("copy", frame.reader())?;
    /// assert_eq!(copy.num_rows(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reader(&self) -> FrameReader {
        FrameReader::new(self.clone())
    }

    /// A short string or serde value that opens this frame, or this part of it, in another process.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let text = frame.slice(0..1)?.handle().to_string();
    /// assert_eq!(text.parse::<coframe::Handle>()?.open()?.num_rows(), 1); // in any process
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle {
        let Origin { store, session, name, version } = self.shared.origin.clone();
        let names = || self.schema.fields().iter().map(|field| field.name().clone()).collect();
        Handle {
            store,
            session,
            name,
            version,
            segment: self.shared.footer.metadata.as_ref().map_or(0, |metadata| metadata.segment),
            columns: self.columns.as_ref().map(|_| names()),
            rows: (self.rows != (0..self.shared.rows)).then(|| self.rows.clone()),
        }
    }

    fn positions<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<usize>> {
        open::positions(&self.schema, names, &self.shared.origin)
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.shared.mapping
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.shared.origin
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.shared.footer
    }

    #[cfg(feature = "polars")]
    pub(crate) fn options(&self) -> &OpenOptions {
        &self.shared.options
    }

    /// Sets the version of a frame that was decoded before it had one. No other frame may share its data yet.
    pub(crate) fn set_version(&mut self, version: u64) {
        let shared = Arc::get_mut(&mut self.shared);
        debug_assert!(shared.is_some(), "a part of a frame without a version");
        if let Some(shared) = shared {
            shared.origin.version = version;
        }
    }

    /// Names the frame in errors: "`flights@7`".
    pub(crate) fn label(&self) -> String {
        self.shared.origin.label()
    }

    /// The position in the segment's schema of a column of this frame.
    pub(crate) fn original(&self, position: usize) -> usize {
        self.columns.as_ref().and_then(|columns| columns.get(position).copied()).unwrap_or(position)
    }

    /// Bytes and reason of what opening copied for a column of this frame.
    pub(crate) fn copied(&self, position: usize) -> Option<&Copied> {
        let (original, copied) = (self.original(position), &self.shared.contents.copied);
        copied.get(copied.binary_search_by_key(&original, |copied| copied.column).ok()?)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("name", self.name())
            .field("version", &self.version())
            .field("rows", &self.num_rows())
            .field("columns", &self.num_columns())
            .finish_non_exhaustive()
    }
}
