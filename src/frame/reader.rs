//! A frame as a stream of batches.

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::SchemaRef,
    error::ArrowError,
};

use super::Frame;

/// The batches of a frame, one after the other; made by [`Frame::reader`](crate::Frame::reader).
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
