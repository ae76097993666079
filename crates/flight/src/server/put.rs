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

use super::{
    Shared,
    gate::{blocking, not_run},
    stats::count,
};
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
        let span = tracing::info_span!("put", %name);
        blocking(move || {
            let _entered = span.entered();
            let what = format!("the stream for `{name}`");
            let of_store = |e: coframe::Error| error::status(&e);
            let mut batches = IpcReader::stream(Received::new(receiver), &what).map_err(of_store)?;
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
        if sender.send(Ok(Some(data))).await.is_err() {
            break;
        }
        match next(&shared, &mut stream).await {
            Ok(Some(found)) => message = Some(found),
            Ok(None) => drop(sender.send(Ok(None)).await),
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
    let frame = publishing.await.map_err(|error| not_run(&error))??;
    count(&shared.counters.puts);
    tracing::info!(%name, version = frame.version(), "put");
    Ok(PutAnswer { name: name.to_string(), version: frame.version(), id: frame.segment_id() })
}

async fn next(shared: &Shared, stream: &mut Streaming<FlightData>) -> Result<Option<FlightData>, Status> {
    let message = tokio::time::timeout(shared.idle, stream.message()).await;
    message.map_err(|_| Status::deadline_exceeded("the client sent nothing for too long"))?
}

/// The messages as the bytes of an IPC stream.
///
/// The stream ends with `None`. A channel that closes without it is an error: when the connection of a client ends, the
/// call that sends here may be dropped at any await, before it sees an error.
struct Received {
    receiver: mpsc::Receiver<io::Result<Option<FlightData>>>,
    header: Bytes,
    body: Bytes,
    has_ended: bool,
}

impl Received {
    fn new(receiver: mpsc::Receiver<io::Result<Option<FlightData>>>) -> Self {
        Self { receiver, header: Bytes::new(), body: Bytes::new(), has_ended: false }
    }

    /// The bytes that come next, none at the end.
    fn current(&mut self) -> io::Result<&mut Bytes> {
        while !self.has_ended && self.header.is_empty() && self.body.is_empty() {
            let Some(received) = self.receiver.blocking_recv().transpose()? else {
                let why = "the connection ended before the client ended the stream";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            };
            let Some(data) = received else {
                self.has_ended = true;
                break;
            };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a message, after which the sender is dropped, with or without the end of the stream.
    fn read(has_end: bool) -> io::Result<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(2);
        let data = FlightData { data_header: vec![1; 8].into(), ..FlightData::default() };
        sender.blocking_send(Ok(Some(data))).unwrap();
        if has_end {
            sender.blocking_send(Ok(None)).unwrap();
        }
        drop(sender);
        let mut bytes = Vec::new();
        Received::new(receiver).read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn a_stream_whose_call_was_dropped_is_an_error_and_not_its_end() {
        assert!(read(true).unwrap().ends_with(&[1; 8]));
        assert_eq!(read(false).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
