//! Services whose calls are one function of the request.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{Status, body::Body, server::NamedService};

/// Answers the calls of a service.
pub(super) trait Handler: Clone + Send + 'static {
    fn answer(self, request: http::Request<Body>) -> impl Future<Output = Result<http::Response<Body>, Status>> + Send;
}

/// A handler as the service that tonic's router calls. A call that fails is answered with its status.
#[derive(Clone)]
pub(super) struct Handled<H>(pub(super) H);

impl<H: NamedService> NamedService for Handled<H> {
    const NAME: &'static str = H::NAME;
}

impl<H: Handler> tower_service::Service<http::Request<Body>> for Handled<H> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = self.0.clone();
        Box::pin(async move { Ok(handler.answer(request).await.unwrap_or_else(Status::into_http)) })
    }
}
