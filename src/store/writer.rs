//! Writes a table to a segment, batch by batch.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::{
    array::{RecordBatch, RecordBatchWriter},
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
};

use super::{PublishOptions, Store, control::Control, random_id};
use crate::{
    error::{Error, Result},
    frame::{Frame, OpenOptions, UNPUBLISHED},
    ipc::{DeclaredOrder, Encoder, JoinedHints, Metadata, PolarsHints, has_same_names},
    name::Name,
    segment::Draft,
    table::{Table, TableStream},
};

/// Prefix of a draft's temporary name, on file systems that need one.
pub(super) const DRAFT: &str = ".draft-";
/// Suffix of a draft that the next process resumes if its writer is killed.
pub(super) const PARTIAL: &str = ".partial";

/// A frame being written, batch by batch; returned by [`Store::writer`].
///
/// Needs memory for one batch: rows are kept until they fill a record batch (see [`PublishOptions::batch_rows`]), and
/// then written. If the writer is dropped before [`publish`](FrameWriter::publish), or its process is killed, nothing
/// is left behind.
///
/// Publishing consumes the writer, so nothing is ever written to a published frame:
///
/// ```compile_fail,E0382
/// # let store = coframe::Store::open_at("/dev/shm/example").unwrap();
/// # let schema = std::sync::Arc::new(coframe::arrow::datatypes::Schema::empty());
/// let writer = store.writer("x", schema).unwrap();
/// writer.publish().unwrap();
/// writer.publish().unwrap(); // error: use of moved value
/// ```
#[must_use = "nothing is visible until `publish` is called"]
pub struct FrameWriter {
    name: Name,
    options: PublishOptions,
    hints: JoinedHints,
    order: DeclaredOrder,
    schema: SchemaRef,
    sink: Sink,
    encoder: Encoder,
    /// Whether a write failed or panicked: rows are missing, and the records of the encoder are ahead of the file.
    is_broken: bool,
}

/// The destination of a frame's bytes.
pub(super) struct Sink {
    pub(super) store: Store,
    pub(super) draft: Draft,
}

impl Sink {
    /// A file without a name in this store. If the store is full, sweeps it first.
    pub(super) fn create(store: &Store) -> Result<Self> {
        let draft = store.with_room(|| store.draft(|| Control::lock(&store.shared.root)))?;
        Ok(Self { store: store.clone(), draft })
    }

    /// The file of a transfer of this segment, with the bytes that have arrived.
    pub(super) fn resume(store: &Store, segment_id: u128) -> Result<Self> {
        let name = partial(segment_id);
        let draft = store.with_room(|| Draft::resume(store.frames(), &name))?;
        store.check_not_ended()?;
        Ok(Self { store: store.clone(), draft })
    }

    /// Appends bytes. If the store is full, sweeps it first.
    pub(super) fn write(&mut self, slices: &[&[u8]]) -> Result<()> {
        self.draft.write_making_room(slices, &mut || self.store.make_room())
    }

    /// Writes bytes at an offset. If the store is full, sweeps it first.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.draft.write_at(bytes, offset, &mut || self.store.make_room())
    }
}

/// The hidden name of the file that a segment is transferred to.
pub(super) fn partial(segment_id: u128) -> String {
    format!("{DRAFT}{segment_id:032x}{PARTIAL}")
}

impl Store {
    /// Starts a frame that is written batch by batch.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use coframe::{Store, arrow::array::{Int64Array, RecordBatch}};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// let mut writer = store.writer("big", batch.schema())?;
    /// for _ in 0..3 {
    ///     writer.write(&batch)?;
    /// }
    /// assert_eq!(writer.publish()?.num_rows(), 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer(&self, name: impl AsRef<str>, schema: SchemaRef) -> Result<FrameWriter> {
        self.writer_with(name, schema, &PublishOptions::new())
    }

    /// Starts a frame that is written batch by batch, with options.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::PublishOptions;
    /// let options = PublishOptions::new().batch_rows(1_000_000);
    /// let mut writer = store.writer_with("copy", frame.schema().clone(), &options)?;
    /// for batch in frame.reader() {
    ///     writer.write(&batch?)?;
    /// }
    /// assert_eq!(writer.publish()?.num_rows(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer_with(
        &self,
        name: impl AsRef<str>,
        schema: SchemaRef,
        options: &PublishOptions,
    ) -> Result<FrameWriter> {
        let name = Name::new(name)?;
        let order = DeclaredOrder::new(&options.sorted, &schema)?;
        let mut sink = Sink::create(self)?;
        let encoder = Encoder::begin(&schema, &options.encoder, &mut |slices| sink.write(slices))?;
        Ok(FrameWriter {
            name,
            options: options.clone(),
            hints: JoinedHints::default(),
            order,
            schema,
            sink,
            encoder,
            is_broken: false,
        })
    }

    /// A file without a name in the directory of the frames. `locked` keeps sweeps out if the file system needs a name
    /// for it.
    pub(super) fn draft<G>(&self, locked: impl Fn() -> Result<G>) -> Result<Draft> {
        let hidden = || Ok((format!("{DRAFT}{:032x}", random_id()?), locked()?));
        let draft = Draft::create(self.frames(), hidden);
        // On tmpfs, files without a name can be created in a directory that was removed.
        self.check_not_ended()?;
        draft
    }
}

impl FrameWriter {
    /// Adds the rows of a table: a batch, a slice of them, a `&DataFrame`, a `&Frame` or a reader. Its columns must have
    /// the names and types of the schema, in order.
    ///
    /// If all tables come from Polars and have the field metadata of the schema, the frame opens as if it had been
    /// published as one `DataFrame`. A column stays marked as sorted if it is sorted in each table and the tables
    /// follow each other in order; of several tables, none may have a null in it.
    ///
    /// After a failed write, for example in a full store, some rows are lost. Every later call on this writer then
    /// returns [`is_invalid_argument`](Error::is_invalid_argument), and the frame must be written again from its first
    /// batch. A table that does not fit the schema is refused before anything is written; the writer can still be used.
    ///
    /// ```
    /// use coframe::{Store, TableReader, arrow::array::RecordBatchReader, polars::prelude::*};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let days = [df!("delay" => [3, 5])?, df!("delay" => [1])?];
    /// let schema = TableReader::new(&days[0])?.schema();
    /// let mut writer = store.writer("delays", schema)?;
    /// for day in &days {
    ///     writer.write(day)?;
    /// }
    /// assert_eq!(writer.publish()?.to_polars()?, df!("delay" => [3, 5, 1])?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write<Via>(&mut self, table: impl Table<Via>) -> Result<()> {
        self.check_usable()?;
        self.write_source(table.into_table_stream()?)
    }

    /// Writes the only table of a frame, whose keys Polars has checked.
    pub(super) fn write_all(&mut self, source: TableStream<'_>) -> Result<()> {
        if source.hints.polars {
            self.encoder.trust_keys();
        }
        self.write_source(source)
    }

    fn write_source(&mut self, source: TableStream<'_>) -> Result<()> {
        self.check(&source.schema)?;
        // The metadata of fields contains the dtypes of Polars.
        let has_dtypes = source.schema.fields() == self.schema.fields();
        self.hints.start_table(if has_dtypes { source.hints } else { PolarsHints::default() });
        for batch in source.rows {
            // Earlier batches of the table may have been written.
            self.is_broken = true;
            let batch = batch?;
            self.check(batch.schema_ref())?;
            self.order.check(&batch)?;
            self.hints.add(&batch);
            self.encoder.write(&batch, &mut |slices| self.sink.write(slices))?;
            self.is_broken = false;
        }
        Ok(())
    }

    fn check_usable(&self) -> Result<()> {
        if self.is_broken {
            let detail = "an earlier write failed, so rows are missing; start again with a new writer";
            return Err(Error::invalid(format_args!("the writer of `{}`", self.name), detail));
        }
        Ok(())
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        let (found, expected) = (schema.fields(), self.schema.fields());
        let what = || format!("a batch for `{}`", self.name);
        if found.len() != expected.len() {
            return Err(Error::invalid(
                what(),
                format_args!("expected {} columns, found {}", expected.len(), found.len()),
            ));
        }
        for (found, expected) in found.iter().zip(expected) {
            let (found_type, expected_type) = (found.data_type(), expected.data_type());
            let is_same = found_type.equals_datatype(expected_type) && has_same_names(found_type, expected_type);
            if found.name() != expected.name() || !is_same {
                let expected = format!("expected column `{}` of type {}", expected.name(), expected.data_type());
                let found = format!("found `{}` of type {}", found.name(), found.data_type());
                return Err(Error::invalid(what(), format_args!("{expected}, {found}")));
            }
        }
        Ok(())
    }

    /// Writes what is pending and makes the frame the latest version of its name.
    ///
    /// # Errors
    ///
    /// As [`Store::publish`]. The store is then unchanged, with one exception: if a store on a disk cannot synchronise
    /// its directory after the switch, the new version is visible and the previous one still exists.
    pub fn publish(mut self) -> Result<Frame> {
        self.check_usable()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let metadata = Metadata {
            segment: random_id()?,
            writer: concat!("coframe ", env!("CARGO_PKG_VERSION")).to_owned(),
            created: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            keep: self.options.keep,
            rows: 0,
            keys: Vec::new(),
            hints: self.hints.finish().with_sorted(self.order.columns()),
            stats: None,
            user: self.options.metadata,
        };
        self.encoder.finish(metadata, &mut |slices| self.sink.write(slices))?;
        let (Sink { store, draft }, name) = (self.sink, self.name);
        let sealed = draft.seal()?;
        // Mapped before it has a name, so that no sweep finds it unused, and decoded, so that no file gets a name if
        // readers cannot open it.
        let mapping = sealed.map()?;
        let frame = Frame::from_mapping(mapping, store.origin(name, UNPUBLISHED), &OpenOptions::new())?;
        store.make_latest(frame, sealed, self.options.mode, self.options.keep)
    }
}

/// For code that writes to any `RecordBatchWriter`. [`close`](RecordBatchWriter::close) publishes the frame.
///
/// ```
/// use std::sync::Arc;
/// use coframe::{Store, arrow::array::{Int64Array, RecordBatch, RecordBatchWriter}};
///
/// fn fill(mut writer: impl RecordBatchWriter, batch: &RecordBatch) -> Result<(), coframe::arrow::error::ArrowError> {
///     writer.write(batch)?;
///     writer.close()
/// }
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = Store::open_at(dir.path().join("store"))?;
/// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// fill(store.writer("x", batch.schema())?, &batch)?;
/// assert_eq!(store.open("x")?.num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl RecordBatchWriter for FrameWriter {
    fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), ArrowError> {
        Ok(Self::write(self, batch)?)
    }

    fn close(self) -> std::result::Result<(), ArrowError> {
        self.publish()?;
        Ok(())
    }
}

impl std::fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameWriter")
            .field("name", &self.name)
            .field("bytes", &self.sink.draft.len())
            .finish_non_exhaustive()
    }
}
