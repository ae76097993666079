//! Publishing: a table becomes the latest version of a name, atomically.

use std::collections::BTreeMap;

use super::Store;
use crate::{
    error::Result,
    frame::Frame,
    ipc::{EncoderOptions, StringLayout},
    table::Table,
};

/// Options of [`Store::publish_with`] and [`Store::writer_with`].
///
/// ```
/// use coframe::{StringLayout, PublishOptions};
///
/// let options = PublishOptions::new()
///     .layout(StringLayout::Offset)
///     .keep(2)
///     .metadata("source", "exchange");
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    pub(super) encoder: EncoderOptions,
    pub(super) keep: u32,
    pub(super) mode: PublishMode,
    pub(super) metadata: BTreeMap<String, String>,
    /// Names of sorted columns, and whether they descend.
    pub(super) sorted: Vec<(String, bool)>,
}

/// What a publish does if its name already exists.
///
/// The check and the publish are atomic. If the name has another version than expected, the publish fails with
/// [`is_conflict`](crate::Error::is_conflict) and changes nothing.
///
/// ```
/// use coframe::{PublishMode, PublishOptions, Store};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("x" => [1])?;
/// let create = PublishOptions::new().mode(PublishMode::Create);
/// let first = store.publish_with("x", &df, &create)?;
/// assert!(store.publish_with("x", &df, &create).unwrap_err().is_conflict());
/// store.publish_with("x", &df, &PublishOptions::new().mode(PublishMode::Update(first.version())))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishMode {
    /// Publishes in any case.
    #[default]
    Overwrite,
    /// Publishes only if the name does not exist.
    Create,
    /// Publishes only if this is the latest version.
    Update(u64),
}

impl PublishOptions {
    /// The layout of the table, no superseded versions kept, and [`PublishMode::Overwrite`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::{PublishMode, PublishOptions};
    /// let options = PublishOptions::new().keep(2).mode(PublishMode::Create).metadata("source", "flights.csv");
    /// assert_eq!(store.publish_with("delays", &df, &options)?.metadata()["source"], "flights.csv");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The layout of strings and binaries in the segment. Default: [`StringLayout::Keep`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::{PublishOptions, StringLayout};
    /// let options = PublishOptions::new().layout(StringLayout::Offset); // for readers without views
    /// store.publish_with("flights", &df, &options)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn layout(mut self, layout: StringLayout) -> Self {
        self.encoder.layout = layout;
        self
    }

    /// Number of superseded versions of the name to keep even when unused. Default: 0.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// store.publish_with("flights", &df, &coframe::PublishOptions::new().keep(1))?;
    /// assert_eq!(store.open_version("flights", 1)?.num_rows(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn keep(mut self, versions: u32) -> Self {
        self.keep = versions;
        self
    }

    /// Whether the publish overwrites, creates or updates a name. Default: [`PublishMode::Overwrite`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::{PublishMode, PublishOptions};
    /// let update = PublishOptions::new().mode(PublishMode::Update(frame.version()));
    /// assert_eq!(store.publish_with("flights", &df, &update)?.version(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mode(mut self, mode: PublishMode) -> Self {
        self.mode = mode;
        self
    }

    /// Rows per record batch, at least 1: smaller chunks are joined up to this number, and larger ones are cut.
    ///
    /// Default: one batch per contiguous chunk, except that chunks below 1 048 576 rows are joined up to that number or
    /// 128 MiB.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let frame = store.publish_with("flights", &df, &coframe::PublishOptions::new().batch_rows(2))?;
    /// assert_eq!(frame.batches().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.encoder.batch_rows = Some(rows);
        self
    }

    /// The bytes up to which small chunks are joined, even if they have fewer rows than a batch. Default: 128 MiB.
    ///
    /// This limits the memory of a [`FrameWriter`](crate::FrameWriter) to about twice this size, while it joins a
    /// batch. A single chunk that is larger is written unchanged.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use coframe::{PublishOptions, Store, arrow::array::{Int64Array, RecordBatch}};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1; 100])) as _)])?;
    /// let mut writer = store.writer_with("x", batch.schema(), &PublishOptions::new().batch_bytes(1600))?;
    /// for _ in 0..4 {
    ///     writer.write(&batch)?;
    /// }
    /// let rows: Vec<usize> = writer.publish()?.batches().iter().map(RecordBatch::num_rows).collect();
    /// assert_eq!(rows, [200, 200]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.encoder.batch_bytes = Some(bytes);
        self
    }

    /// Whether to record statistics for engines that skip batches: the rows, nulls and bounds of each column in each
    /// record batch. Default: no.
    ///
    /// Reads every value again, while it is in the cache. [`Frame::statistics`] returns them.
    ///
    /// ```
    /// use coframe::{PublishOptions, Store};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let df = polars::df!("delay" => [3, -2, 9])?;
    /// let frame = store.publish_with("x", &df, &PublishOptions::new().statistics(true))?;
    /// assert!(frame.statistics()?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn statistics(mut self, statistics: bool) -> Self {
        self.encoder.statistics = statistics;
        self
    }

    /// Declares that the values of a column ascend, or descend, so that engines need not sort them. Default: the columns
    /// that Polars flags as sorted.
    ///
    /// Each value is compared with the one before it. A value out of order, a null, and a column without an order that
    /// could be checked (nested, categories, 128-bit integers) are [`is_invalid_argument`](crate::Error::is_invalid_argument).
    /// [`Frame::sorted_columns`] returns the columns.
    ///
    /// ```
    /// use coframe::{PublishOptions, Store};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let options = PublishOptions::new().sorted("day", false);
    /// assert_eq!(store.publish_with("x", &polars::df!("day" => [1, 2, 2])?, &options)?.sorted_columns().len(), 1);
    /// let error = store.publish_with("x", &polars::df!("day" => [2, 1])?, &options).unwrap_err();
    /// assert!(error.to_string().contains("row 1 is not in ascending order"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sorted(mut self, column: impl Into<String>, descending: bool) -> Self {
        self.sorted.push((column.into(), descending));
        self
    }

    /// Attaches a string to the version, under a key; see [`Frame::metadata`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let options = coframe::PublishOptions::new().metadata("source", "flights.csv");
    /// assert_eq!(store.publish_with("flights", &df, &options)?.metadata()["source"], "flights.csv");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

impl Store {
    /// Publishes a table as the latest version of a name, with the default options.
    ///
    /// Copies the table's bytes once, from its own buffers into the segment, and blocks for that long (1 GB: about a
    /// quarter of a second). Readers see the previous version or the complete new one. Returns the frame, mapped.
    ///
    /// # Errors
    ///
    /// [`is_no_space`](crate::Error::is_no_space) when the store is full;
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) for a bad name;
    /// [`is_unsupported`](crate::Error::is_unsupported) for a column that cannot be shared, with its name. The store is
    /// then unchanged.
    ///
    /// ```
    /// use coframe::Store;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let df = polars::df!("x" => [1, 2, 3])?;
    /// let first = store.publish("x", &df)?;
    /// let second = store.publish("x", &df)?;
    /// assert!(second.version() > first.version());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish<Via>(&self, name: impl AsRef<str>, table: impl Table<Via>) -> Result<Frame> {
        self.publish_with(name, table, &PublishOptions::new())
    }

    /// Publishes a table as the latest version of a name. See [`Store::publish`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::{PublishMode, PublishOptions};
    /// let options = PublishOptions::new().mode(PublishMode::Update(1));
    /// store.publish_with("flights", &df, &options)?;
    /// assert!(store.publish_with("flights", &df, &options).unwrap_err().is_conflict()); // it is 2 now
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_with<Via>(
        &self,
        name: impl AsRef<str>,
        table: impl Table<Via>,
        options: &PublishOptions,
    ) -> Result<Frame> {
        let source = table.into_table_stream()?;
        let mut writer = self.writer_with(name, source.schema.clone(), options)?;
        writer.write_all(source)?;
        writer.publish()
    }
}
