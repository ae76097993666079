//! Tables that can be published: the sealed trait and its implementations for Arrow. Those for Polars are in
//! src/polars.

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::SchemaRef,
    error::ArrowError,
};

use crate::{
    error::{Error, Result},
    ipc::PolarsHints,
};

/// Markers that distinguish the implementations of [`Table`]. Callers do not use them.
#[doc(hidden)]
pub mod via {
    /// One or several record batches.
    #[derive(Debug)]
    pub struct Batches;
    /// A reader of record batches.
    #[derive(Debug)]
    pub struct Reader;
    /// A frame of a store.
    #[derive(Debug)]
    pub struct Frame;
    /// A Polars frame.
    #[derive(Debug)]
    pub struct Polars;
}

/// Anything that [`Store::publish`](crate::Store::publish) takes: a `&polars::DataFrame`, a `&RecordBatch`, a
/// `&[RecordBatch]` (at least one), a `&Frame`, or any [`RecordBatchReader`] by value that can be
/// sent to another thread.
///
/// `Via` is inferred. The trait is sealed.
///
/// ```
/// use std::sync::Arc;
/// use coframe::{Store, arrow::array::{Int64Array, RecordBatch, RecordBatchIterator}};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// store.publish("one", &batch)?;
/// store.publish("many", &[batch.clone(), batch.clone()][..])?;
/// let reader = RecordBatchIterator::new([Ok(batch.clone())], batch.schema());
/// store.publish("read", reader)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Table<Via>: sealed::IntoTableStream<Via> {}

impl<Via, T: sealed::IntoTableStream<Via>> Table<Via> for T {}

/// Any table as a stream of record batches, which share its buffers if possible. For functions that take a
/// [`RecordBatchReader`], such as the writers of arrow-rs.
///
/// ```
/// use coframe::{TableReader, polars::prelude::*};
///
/// let df = df!("x" => [1, 2, 3])?;
/// let rows: usize = TableReader::new(&df)?.map(|batch| batch.map_or(0, |batch| batch.num_rows())).sum();
/// assert_eq!(rows, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TableReader<'a> {
    source: TableStream<'a>,
}

impl<'a> TableReader<'a> {
    /// Starts at the first row.
    ///
    /// # Errors
    ///
    /// [`is_unsupported`](Error::is_unsupported) for a column that Arrow cannot hold, with its name.
    pub fn new<Via>(table: impl Table<Via> + 'a) -> Result<Self> {
        Ok(Self { source: table.into_table_stream()? })
    }
}

impl Iterator for TableReader<'_> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.source.rows.next()?.map_err(|e| ArrowError::ExternalError(Box::new(e))))
    }
}

impl RecordBatchReader for TableReader<'_> {
    fn schema(&self) -> SchemaRef {
        self.source.schema.clone()
    }
}

impl std::fmt::Debug for TableReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableReader").field("schema", &self.source.schema).finish_non_exhaustive()
    }
}

pub(crate) mod sealed {
    use arrow::{array::RecordBatch, datatypes::SchemaRef};

    use crate::{error::Result, ipc::PolarsHints};

    /// A table that is being published.
    pub struct TableStream<'a> {
        pub(crate) schema: SchemaRef,
        pub(crate) rows: Box<dyn Iterator<Item = Result<RecordBatch>> + Send + 'a>,
        pub(crate) hints: PolarsHints,
    }

    pub trait IntoTableStream<Via> {
        fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
        where
            Self: 'a;
    }
}

pub(crate) use sealed::{IntoTableStream, TableStream};

impl IntoTableStream<via::Batches> for &RecordBatch {
    fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
    where
        Self: 'a,
    {
        std::slice::from_ref(self).into_table_stream()
    }
}

impl IntoTableStream<via::Batches> for &[RecordBatch] {
    fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
    where
        Self: 'a,
    {
        let schema = self.first().map(RecordBatch::schema).ok_or_else(|| {
            Error::invalid("an empty slice of record batches", "it has no schema; publish an empty RecordBatch instead")
        })?;
        let rows = Box::new(self.iter().cloned().map(Ok));
        Ok(TableStream { schema, rows, hints: PolarsHints::default() })
    }
}

impl IntoTableStream<via::Batches> for &Vec<RecordBatch> {
    fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
    where
        Self: 'a,
    {
        self.as_slice().into_table_stream()
    }
}

impl IntoTableStream<via::Batches> for Vec<RecordBatch> {
    fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
    where
        Self: 'a,
    {
        let TableStream { schema, hints, .. } = self.as_slice().into_table_stream()?;
        Ok(TableStream { schema, rows: Box::new(self.into_iter().map(Ok)), hints })
    }
}

impl<R: RecordBatchReader + Send> IntoTableStream<via::Reader> for R {
    fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
    where
        Self: 'a,
    {
        let schema = self.schema();
        let rows = Box::new(self.map(|batch| batch.map_err(|e| Error::arrow("read the next batch of the table", e))));
        Ok(TableStream { schema, rows, hints: PolarsHints::default() })
    }
}
