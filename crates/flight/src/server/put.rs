//! `DoPut`: messages that arrive become a frame.

use std::{
    io::{self, Read},
    sync::Arc,
};

use arrow_flight::{FlightData, flight_descriptor::DescriptorType};
use bytes::{Buf, Bytes};
use coframe::{IpcReader, PublishOptions};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Shared, gate::blocking, stats::count};
use crate::{
    error, messages,
    wire::{self, PutAnswer, PutMetadata},
};

/// Reads all messages, publishes the frame after a clean end, and drops it otherwise.
pub(super) async fn receive(shared: Arc<Shared>, mut stream: Streaming<FlightData>) -> Result<PutAnswer, Status> {
    let permit = shared.puts.clone().try_acquire_owned();
    let _permit = permit.map_err(|_| Status::resource_exhausted("the server takes no more frames at a time"))?;
    let Some(first) = next(&shared, &mut stream).await? else {
        return Err(Status::invalid_argument("the stream has no message, expected a schema"));
    };
    let name = match &first.flight_descriptor {
        Some(descriptor) if descriptor.r#type() == DescriptorType::Path => match descriptor.path.as_slice() {
            [name] => wire::name(name)?,
            path => {
                let found = path.len();
                return Err(Status::invalid_argument(format!("expected the path [name], found {found} parts")));
            }
        },
        _ => return Err(Status::invalid_argument("the first message has no descriptor, expected the path [name]")),
    };

    let attached: PutMetadata = match &*first.app_metadata {
        [] => PutMetadata::default(),
        json => wire::parse("metadata of the first message", json)?,
    };
    let (sender, receiver) = mpsc::channel(1);
    let publishing = {
        let (shared, name) = (shared.clone(), name.clone());
        blocking(move || {
            let what = format!("the stream for `{name}`");
            let of_store = |e: coframe::Error| error::status(&e);
            let mut batches = IpcReader::stream(Received { receiver, header: Bytes::new(), body: Bytes::new() }, &what)
                .map_err(of_store)?;
            let schema = batches.schema().clone();
            let options = PublishOptions::new();
            let options =
                attached.metadata.into_iter().fold(options, |options, (key, value)| options.metadata(key, value));
            let mut writer = shared.store.writer_with(&name, schema, &options).map_err(of_store)?;
            for batch in &mut batches {
                writer.write(&batch.map_err(of_store)?).map_err(of_store)?;
            }
            writer.publish().map_err(of_store)
        })
    };
    let publishing = tokio::spawn(publishing);
    // Sending fails when the reader has failed; its error is the answer.
    let mut message = Some(first);
    while let Some(data) = message.take() {
        if sender.send(Ok(data)).await.is_err() {
            break;
        }
        match next(&shared, &mut stream).await {
            Ok(found) => message = found,
            Err(status) => {
                let text = error::text(status.message());
                let _ = sender.send(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))).await;
                // The frame is dropped before the answer.
                drop(sender);
                let _ = publishing.await;
                return Err(status);
            }
        }
    }
    drop(sender);
    let frame = publishing.await.map_err(|_| Status::internal("internal error in the server"))??;
    count(&shared.counters.puts);
    tracing::info!(%name, version = frame.version(), "put");
    Ok(PutAnswer { name: name.to_string(), version: frame.version(), id: frame.segment_id() })
}

async fn next(shared: &Shared, stream: &mut Streaming<FlightData>) -> Result<Option<FlightData>, Status> {
    let message = tokio::time::timeout(shared.idle, stream.message()).await;
    message.map_err(|_| Status::deadline_exceeded("the client sent nothing for too long"))?
}

/// The messages as the bytes of an IPC stream.
struct Received {
    receiver: mpsc::Receiver<io::Result<FlightData>>,
    header: Bytes,
    body: Bytes,
}

impl Received {
    /// The bytes that come next, none at the end.
    fn current(&mut self) -> io::Result<&mut Bytes> {
        while self.header.is_empty() && self.body.is_empty() {
            let Some(data) = self.receiver.blocking_recv().transpose()? else { break };
            // A message may carry application metadata alone.
            if !data.data_header.is_empty() {
                (self.header, self.body) = (messages::encapsulated(&data.data_header), data.data_body);
            }
        }
        Ok(if self.header.is_empty() { &mut self.body } else { &mut self.header })
    }
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let current = self.current()?;
        let length = current.len().min(buffer.len());
        current.copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}
