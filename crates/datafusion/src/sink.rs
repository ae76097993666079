//! Rows of a query as the next version of a name.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use coframe::{Frame, FrameWriter, Name, PublishOptions, Store};
use datafusion::{
    common::{Result, exec_datafusion_err, runtime::SpawnedTask},
    datasource::sink::DataSink,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{DisplayAs, DisplayFormatType},
};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::parts::external;

/// Batches that wait for the writer.
const WAITING: usize = 4;

/// Writes one frame. It becomes visible after all rows are written. If the query fails or is cancelled, no file is left.
pub(crate) struct FrameSink {
    store: Store,
    name: Name,
    schema: SchemaRef,
    options: PublishOptions,
    base: Option<Frame>,
}

impl FrameSink {
    pub(crate) fn new(store: Store, name: Name, schema: SchemaRef, options: PublishOptions) -> Self {
        Self { store, name, schema, options, base: None }
    }

    /// Writes the rows of this frame first.
    pub(crate) fn after(mut self, base: Option<Frame>) -> Self {
        self.base = base;
        self
    }

    /// Writes a stream. Returns the frame, and the rows that the stream had.
    pub(crate) async fn write(&self, mut rows: SendableRecordBatchStream) -> Result<(Frame, u64)> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (store, name, schema) = (self.store.clone(), self.name.clone(), self.schema.clone());
        let (options, base) = (self.options.clone(), self.base.clone());
        // A file is written in a thread that may block.
        let writing = SpawnedTask::spawn_blocking(move || {
            let mut writer = store.writer_with(&name, schema, &options)?;
            if let Some(base) = &base {
                writer.write(base)?;
            }
            write(writer, receiver)
        });
        let mut failed = None;
        while let Some(batch) = rows.next().await {
            match batch {
                Ok(batch) => {
                    // The writer has stopped, and returns why.
                    if sender.send(Message::Rows(batch)).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if failed.is_none() {
            let _ = sender.send(Message::End).await;
        }
        drop(sender);
        let written = writing.join().await.map_err(|error| exec_datafusion_err!("writing `{}`: {error}", self.name))?;
        match (failed, written.map_err(external)?) {
            (Some(error), _) => Err(error),
            (None, Some(written)) => Ok(written),
            (None, None) => Err(exec_datafusion_err!("the rows for `{}` ended early", self.name)),
        }
    }
}

enum Message {
    Rows(RecordBatch),
    /// All rows were sent. A query that fails or is cancelled drops the sender without it.
    End,
}

/// Publishes the rows that arrive before [`Message::End`]; without that message, drops them.
fn write(mut writer: FrameWriter, mut rows: mpsc::Receiver<Message>) -> coframe::Result<Option<(Frame, u64)>> {
    let mut count = 0;
    while let Some(message) = rows.blocking_recv() {
        match message {
            Message::Rows(batch) => {
                writer.write(&batch)?;
                count += batch.num_rows() as u64;
            }
            Message::End => return Ok(Some((writer.publish()?, count))),
        }
    }
    Ok(None)
}

#[async_trait]
impl DataSink for FrameSink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(&self, data: SendableRecordBatchStream, _: &Arc<TaskContext>) -> Result<u64> {
        Ok(self.write(data).await?.1)
    }
}

impl DisplayAs for FrameSink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameSink(name={}, store={})", self.name, self.store.path().display())
    }
}

impl fmt::Debug for FrameSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSink").field("name", &self.name).field("store", &self.store).finish_non_exhaustive()
    }
}
