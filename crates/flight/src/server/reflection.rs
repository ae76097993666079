//! gRPC reflection, under the tokens and limits of the other calls.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body, server::NamedService};
use tonic_reflection::{pb, server::Builder};

use super::{
    Shared,
    body::Hold,
    descriptors,
    gate::{REQUEST_LIMIT, hold, permit},
    handler::{Handled, Handler},
};
use crate::{
    error::{Error, Result, chain},
    wire::MAX_REQUEST,
};

/// Streams of reflection at a time.
pub(super) const MAX_REFLECTIONS: usize = 16;

/// A version of the reflection service.
pub(super) trait Service:
    tower_service::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
    + NamedService
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Service for S where
    S: tower_service::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static
{
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .include_reflection_service(false)
        .register_file_descriptor_set(descriptors::files())
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(pb::v1alpha::FILE_DESCRIPTOR_SET)
}

fn failed(error: tonic_reflection::server::Error) -> Error {
    Error::invalid("the descriptors for gRPC reflection", chain(&error))
}

/// Version 1, and the draft of it that some clients use, grpcio's among them.
pub(super) fn services(shared: &Arc<Shared>) -> Result<(impl Service, impl Service)> {
    let v1 = builder().build_v1().map_err(failed)?.max_decoding_message_size(MAX_REQUEST);
    let draft = builder().build_v1alpha().map_err(failed)?.max_decoding_message_size(MAX_REQUEST);
    let draft = Handled(Reflection { shared: shared.clone(), service: draft });
    Ok((Handled(Reflection { shared: shared.clone(), service: v1 }), draft))
}

/// A reflection service behind the tokens and limits of the server.
#[derive(Clone)]
pub(super) struct Reflection<S> {
    shared: Arc<Shared>,
    service: S,
}

impl<S: Service> Handler for Reflection<S> {
    async fn answer(mut self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let (_, peer) = self.shared.admit(&request, "ServerReflectionInfo")?;
        let permit = permit(&self.shared.reflections)?;
        let hold = hold(&self.shared, permit, peer);
        let Ok(response) = self.service.call(request.map(|body| Body::new(Timely::new(body)))).await;
        Ok(response.map(|body| Body::new(Held { body, hold })))
    }
}

impl<S: NamedService> NamedService for Reflection<S> {
    const NAME: &'static str = S::NAME;
}

/// The requests of a stream, which ends if the client sends none for some time.
struct Timely {
    body: Body,
    limit: Pin<Box<Sleep>>,
}

impl Timely {
    fn new(body: Body) -> Self {
        Self { body, limit: Box::pin(tokio::time::sleep(REQUEST_LIMIT)) }
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.limit.as_mut().reset(Instant::now() + REQUEST_LIMIT);
            return Poll::Ready(frame);
        }
        ready!(self.limit.as_mut().poll(context));
        Poll::Ready(Some(Err(Status::deadline_exceeded("the client asked nothing for too long"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answers, which keep the place of their stream, and record when the client last read.
struct Held {
    body: Body,
    hold: Hold,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.hold.connections.note(&self.hold.progress);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
