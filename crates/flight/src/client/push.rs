//! A push: a frame of this machine is published in the remote store.

use arrow_flight::{FlightData, FlightDescriptor, flight_descriptor::DescriptorType};
use bytes::Bytes;
use coframe::{Frame, Name};
use tokio::sync::oneshot;
use tonic::Status;

use super::{Remote, answer};
use crate::{
    error::{Error, Result},
    messages::{self, Data},
    wire::{self, PutAnswer, PutMetadata},
};

/// Largest body of a message that is sent; a larger batch is cut.
const MAX_BODY: usize = 64 << 20;

impl Remote {
    /// Publishes a frame, or a part of one, under a name in the remote store, and returns its version there. It is a new
    /// segment with another id. It keeps the metadata that the publisher attached.
    ///
    /// # Errors
    ///
    /// [`is_denied`](Error::is_denied) if the server or the token allows reading only; [`is_full`](Error::is_full).
    pub fn push(&self, frame: &Frame, name: impl AsRef<str>) -> Result<u64> {
        let name: Name = name.as_ref().parse()?;
        let what = format!("cannot push `{name}` to {}", self.url);
        let of_status = |status: &Status| Error::remote(&what, status);
        let messages = messages::of_frame(frame, MAX_BODY).map_err(|status| of_status(&status))?;
        let descriptor = FlightDescriptor {
            r#type: DescriptorType::Path.into(),
            path: vec![name.to_string()],
            ..Default::default()
        };
        let metadata = PutMetadata { metadata: frame.metadata().clone() };
        let first = Some((descriptor, wire::json(&metadata).map_err(|status| of_status(&status))?));
        let (fails, failed) = oneshot::channel();
        let data = futures::stream::unfold((messages, first, fails), |(mut messages, first, fails)| async move {
            match messages.next()? {
                Ok(data) => Some((flight_data(data, first), (messages, None, fails))),
                // The end of the stream would publish what was sent so far: it stays open until the call is dropped.
                Err(status) => {
                    let _ = fails.send(status);
                    std::future::pending().await
                }
            }
        });
        let mut client = self.client.clone();
        self.block_on(what.clone(), async {
            let put = async {
                let mut stream = client.do_put(self.request(data)).await?.into_inner();
                let result = stream.message().await?.ok_or_else(|| Status::internal("the answer is empty"))?;
                answer::<PutAnswer>(&result.app_metadata).map(|answer| answer.version)
            };
            tokio::select! {
                version = put => version,
                Ok(status) = failed => Err(status),
            }
        })
    }
}

fn flight_data(Data { header, body }: Data, first: Option<(FlightDescriptor, Bytes)>) -> FlightData {
    let (flight_descriptor, app_metadata) = first.unzip();
    let data_body = match body.as_slice() {
        [body] => body.clone(),
        pieces => pieces.concat().into(),
    };
    FlightData { flight_descriptor, data_header: header, app_metadata: app_metadata.unwrap_or_default(), data_body }
}
