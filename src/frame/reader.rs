//! A frame as a stream of batches.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::SchemaRef,
    error::ArrowError,
};

/// The batches of a frame, one after the other; made by [`Frame::reader`](crate::Frame::reader).
#[derive(Debug)]
pub struct FrameReader {
    schema: SchemaRef,
    batches: Arc<[RecordBatch]>,
    next: usize,
}

impl FrameReader {
    pub(super) fn new(schema: SchemaRef, batches: Arc<[RecordBatch]>) -> Self {
        Self { schema, batches, next: 0 }
    }
}

impl Iterator for FrameReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.get(self.next)?.clone();
        self.next += 1;
        Some(Ok(batch))
    }
}

impl RecordBatchReader for FrameReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
