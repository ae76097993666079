//! Services whose requests need no token.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tonic::{body::Body, server::NamedService};

use super::{gate::peer, reflection::Service};

/// A service of health checks. Its requests keep a connection open as others do.
#[derive(Clone)]
pub(super) struct Noted<S>(pub(super) S);

impl<S: NamedService> NamedService for Noted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service> tower_service::Service<http::Request<Body>> for Noted<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        if let Some(peer) = peer(&request) {
            peer.connection.note_request();
        }
        self.0.call(request)
    }
}
