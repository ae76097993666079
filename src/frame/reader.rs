//! A frame as a stream of batches.

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::SchemaRef,
    error::ArrowError,
    ffi_stream::FFI_ArrowArrayStream,
};

use super::Frame;

impl Frame {
    /// The batches as an Arrow C stream, on the mapped bytes, for other versions of arrow and other libraries. Does not copy.
    ///
    /// The stream and each array of it keep the bytes alive. If the frame has only some rows of a batch, its arrays are
    /// slices.
    ///
    /// ```
    /// use coframe::arrow::ffi_stream::ArrowArrayStreamReader;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// let batch = ArrowArrayStreamReader::try_new(frame.to_c_stream())?.next().unwrap()?;
    /// assert_eq!(batch, frame.batches()[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_c_stream(&self) -> FFI_ArrowArrayStream {
        FFI_ArrowArrayStream::new(Box::new(self.reader()))
    }
}

/// The batches of a frame, one after the other; returned by [`Frame::reader`](crate::Frame::reader).
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// for batch in frame.reader() {
///     assert_eq!(batch?.num_columns(), 2);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FrameReader {
    frame: Frame,
    next: usize,
}

impl FrameReader {
    pub(super) fn new(frame: Frame) -> Self {
        Self { frame, next: 0 }
    }
}

impl Iterator for FrameReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.frame.batches().get(self.next)?.clone();
        self.next += 1;
        Some(Ok(batch))
    }
}

impl RecordBatchReader for FrameReader {
    fn schema(&self) -> SchemaRef {
        self.frame.schema().clone()
    }
}
