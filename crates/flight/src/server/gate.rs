//! The entry of every call: tokens, limits, and the calls whose answers are bytes of the map.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_flight::{Action, Ticket as FlightTicket, flight_service_server::FlightServiceServer};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use coframe::{Frame, OpenOptions};
use http_body_util::{BodyExt, Limited};
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinError,
};
use tonic::{Status, body::Body, server::NamedService, transport::server::TlsConnectInfo};

use super::{
    Shared,
    body::{Answer, Hold, Messages, action_result, flight_data},
    calls::Calls,
    connection::Peer,
    handler::Handler,
    segment,
    sources::MAX_URL,
    stats::count,
    whole::Whole,
};
use crate::{
    error, messages,
    tokens::Access,
    wire::{
        self, MAX_REQUEST, RemoveAnswer, RemoveRequest, SourceAnswer, SourceRequest, Stat, StatRequest, Ticket,
        WaitAnswer, WaitRequest,
    },
};

/// Every call goes through it.
#[derive(Clone)]
pub(super) struct Gate {
    shared: Arc<Shared>,
    calls: FlightServiceServer<Calls>,
}

/// How long a request may take to arrive.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// Longest time for which one call waits; the caller asks again.
const WAIT_LIMIT: Duration = Duration::from_mins(1);
/// How long a thread waits before it checks whether the caller is still connected.
const WAIT_SLICE: Duration = Duration::from_millis(500);

/// The token that a handshake confirmed, for the answer.
#[derive(Clone)]
pub(super) struct Confirmed(pub(super) String);

/// What a caller may do, and the token that a handshake confirmed.
pub(super) type Allowed = (Access, Option<Confirmed>);

impl Gate {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let calls = FlightServiceServer::new(Calls::new(shared.clone()))
            .max_decoding_message_size(shared.max_message)
            .max_encoding_message_size(usize::MAX);
        Self { shared, calls }
    }

    async fn get(self, request: http::Request<Body>, peer: Option<Peer>) -> Result<http::Response<Body>, Status> {
        let ticket: FlightTicket = unary(request).await?;
        let ticket: Ticket = wire::parse("ticket", &ticket.ticket)?;
        let permit = permit(&self.shared.streams)?;
        let span = tracing::info_span!("get", name = %error::text(&ticket.name), version = ticket.version);
        let shared = self.shared.clone();
        let stream = blocking(move || {
            let _entered = span.entered();
            let frame = shared.open(&ticket.name, ticket.version, ticket.id)?;
            messages::of_ticket(&frame, &ticket)
        });
        let stream = stream.await?;
        count(&self.shared.counters.gets);
        Ok(Answer::respond(
            Messages::now(stream.map(|data| data.and_then(flight_data))),
            hold(&self.shared, permit, peer),
        ))
    }

    async fn act(
        self,
        request: http::Request<Body>,
        access: Access,
        peer: Option<Peer>,
    ) -> Result<http::Response<Body>, Status> {
        let action: Action = unary(request).await?;
        let is_waiting = action.r#type == wire::WAIT;
        let permit = permit(if is_waiting { &self.shared.waits } else { &self.shared.streams })?;
        if action.r#type == wire::SEGMENT {
            let messages = segment::answer(&self.shared, wire::parse("request", &action.body)?).await?;
            return Ok(Answer::respond(messages, hold(&self.shared, permit, peer)));
        }
        let body = match action.r#type.as_str() {
            wire::STAT => self.stat(wire::parse("request", &action.body)?).await?,
            wire::SOURCE => self.source(wire::parse("request", &action.body)?).await?,
            wire::WAIT => self.wait(wire::parse("request", &action.body)?).await?,
            wire::REMOVE => {
                self.shared.check_write(access)?;
                self.remove(wire::parse("request", &action.body)?).await?
            }
            other => {
                let found = coframe::excerpt(other);
                return Err(Status::unimplemented(format!(
                    "the action `{found}`: expected segment, source, stat, wait or remove (docs/WIRE.md)"
                )));
            }
        };
        Ok(Answer::respond(Messages::once(action_result(body)?), hold(&self.shared, permit, peer)))
    }

    async fn stat(&self, request: StatRequest) -> Result<Bytes, Status> {
        let shared = self.shared.clone();
        let stat = blocking(move || Ok(Stat::of(&shared.open(&request.name, request.version, None)?)));
        wire::json(&stat.await?)
    }

    /// Where the caller fetches a segment.
    async fn source(&self, request: SourceRequest) -> Result<Bytes, Status> {
        if let Some(url) = request.url.as_ref().filter(|url| url.len() > MAX_URL) {
            let text = format!("the URL has {} bytes, expected {MAX_URL} at most", url.len());
            return Err(Status::invalid_argument(text));
        }
        let (shared, name, version) = (self.shared.clone(), request.name, request.version);
        // Only segments of this store have pullers.
        let frame = blocking(move || shared.open(&name, Some(version), request.id)).await?;
        let url = frame.segment_id().and_then(|id| self.shared.sources.next(id, request.url));
        if url.is_some() {
            count(&self.shared.counters.referrals);
        }
        wire::json(&SourceAnswer { url })
    }

    async fn wait(&self, request: WaitRequest) -> Result<Bytes, Status> {
        let name = wire::name(&request.name)?;
        let limit = Duration::from_millis(request.timeout_ms).min(WAIT_LIMIT);
        let start = Instant::now();
        loop {
            let (store, name) = (self.shared.store.clone(), name.clone());
            let slice = limit.saturating_sub(start.elapsed()).min(WAIT_SLICE);
            let waited = blocking(move || store.wait(&name, request.after, slice).map_err(|e| error::status(&e)));
            let version = waited.await?;
            if version.is_some() || start.elapsed() >= limit {
                return wire::json(&WaitAnswer { version });
            }
        }
    }

    async fn remove(&self, request: RemoveRequest) -> Result<Bytes, Status> {
        let (store, name) = (self.shared.store.clone(), wire::name(&request.name)?);
        let removed = blocking(move || store.remove(&name).map_err(|e| error::status(&e))).await?;
        tracing::info!(name = request.name, removed, "remove");
        wire::json(&RemoveAnswer { removed })
    }
}

impl Handler for Gate {
    async fn answer(mut self, mut request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let ((access, confirmed), peer) = self.shared.admit(&request, &method)?;
        match method.as_str() {
            "DoGet" => self.get(request, peer).await,
            "DoAction" => self.act(request, access, peer).await,
            _ => {
                request.extensions_mut().insert(access);
                if let Some(confirmed) = confirmed {
                    request.extensions_mut().insert(confirmed);
                }
                if method == "DoPut" {
                    request = request.map(|body| Body::new(Whole(body)));
                }
                let called = tower_service::Service::call(&mut self.calls, request).await;
                called.map_err(|never: Infallible| match never {})
            }
        }
    }
}

impl NamedService for Gate {
    const NAME: &'static str = "arrow.flight.protocol.FlightService";
}

/// A place among the streams of the server, or among its waiting calls.
pub(super) fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    of.clone()
        .try_acquire_owned()
        .map_err(|_| Status::resource_exhausted("the server has as many streams as it allows; try again later"))
}

/// Values that live as long as the answer: its permit, and a record of when its client last read.
pub(super) fn hold(shared: &Shared, permit: OwnedSemaphorePermit, peer: Option<Peer>) -> Hold {
    let connections = shared.connections.clone();
    let progress = connections.watch(peer.map(|peer| peer.connection));
    Hold { connections, progress, counters: shared.counters.clone(), _permit: permit }
}

/// Where the request came from.
pub(super) fn peer(request: &http::Request<Body>) -> Option<Peer> {
    let extensions = request.extensions();
    let plain = extensions.get::<Peer>().cloned();
    plain.or_else(|| extensions.get::<TlsConnectInfo<Peer>>().map(|info| info.get_ref().clone()))
}

/// The only message of a request.
async fn unary<T: Message + Default>(request: http::Request<Body>) -> Result<T, Status> {
    let body = Limited::new(request.into_body(), MAX_REQUEST + 1024).collect();
    let body = tokio::time::timeout(REQUEST_LIMIT, body).await;
    let body = body.map_err(|_| Status::deadline_exceeded("the request did not arrive in time"))?;
    let body = body
        .map_err(|e| {
            Status::invalid_argument(error::text(format_args!("a request of {MAX_REQUEST} bytes at most: {e}")))
        })?
        .to_bytes();
    let message = match body.first() {
        Some(0) => body.get(5..).unwrap_or_default(),
        Some(_) => return Err(Status::unimplemented("compressed requests are not supported")),
        None => return Err(Status::invalid_argument("the request has no message")),
    };
    T::decode(message).map_err(|e| Status::invalid_argument(error::text(e)))
}

/// Runs what may wait for locks or read a file.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let called = tokio::task::spawn_blocking(call).await;
    called.unwrap_or_else(|error| Err(not_run(&error)))
}

/// Why a task did not end: the server stops, or the task panicked.
pub(super) fn not_run(error: &JoinError) -> Status {
    if error.is_cancelled() {
        return Status::unavailable("the server stops");
    }
    Status::internal("internal error in the server; please report it with its log")
}

impl Shared {
    /// Lets in a call with a valid token, and counts it. Returns what the caller may do, and where it is.
    pub(super) fn admit(&self, request: &http::Request<Body>, method: &str) -> Result<(Allowed, Option<Peer>), Status> {
        let peer = peer(request);
        if let Some(peer) = &peer {
            peer.connection.note_request();
        }
        let allowed = self.access(request.headers(), method == "Handshake").inspect_err(|_| {
            count(&self.counters.denied);
            let address = peer.as_ref().and_then(|peer| peer.address);
            tracing::warn!(?address, %method, "a call without a valid token");
        })?;
        count(&self.counters.calls);
        Ok((allowed, peer))
    }

    /// What a caller may do, by its header; for a handshake also by name and password, where the password is the token.
    fn access(&self, headers: &http::HeaderMap, is_handshake: bool) -> Result<Allowed, Status> {
        let Some(tokens) = self.tokens() else { return Ok((Access::Write, None)) };
        let header = headers.get(http::header::AUTHORIZATION).map_or(&b""[..], http::HeaderValue::as_bytes);
        let basic = |encoded: &[u8]| {
            let decoded = STANDARD.decode(encoded).ok()?;
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            decoded.get(colon + 1..).map(<[u8]>::to_vec)
        };
        let token = if let Some(token) = header.strip_prefix(b"Bearer ") {
            Some(token.to_vec())
        } else if let Some(encoded) = header.strip_prefix(b"Basic ").filter(|_| is_handshake) {
            basic(encoded)
        } else {
            None
        };
        let access = token.as_ref().and_then(|token| tokens.access(token)).ok_or_else(|| {
            let found = if header.is_empty() { "no token" } else { "a token that the server does not know" };
            Status::unauthenticated(format!("the call has {found}; send `authorization: Bearer TOKEN`"))
        })?;
        let confirmed = token.filter(|_| is_handshake).and_then(|token| String::from_utf8(token).ok());
        Ok((access, confirmed.map(Confirmed)))
    }

    pub(super) fn check_write(&self, access: Access) -> Result<(), Status> {
        if !self.is_writable {
            return Err(Status::permission_denied("the server is read-only; start it with write access"));
        }
        if access < Access::Write {
            return Err(Status::permission_denied("the token allows reading only"));
        }
        Ok(())
    }

    /// Opens a frame that a caller named.
    pub(super) fn open(&self, name: &str, version: Option<u64>, id: Option<u128>) -> Result<Frame, Status> {
        let name = wire::name(name)?;
        let options = OpenOptions::new().map_cache(&self.maps);
        let options = version.into_iter().fold(options, OpenOptions::version);
        let frame = self.store.open_with(&name, &options).map_err(|e| error::status(&e))?;
        if id.is_some() && frame.segment_id() != id {
            let text = format!("`{name}@{}` is another segment than the one that was asked for", frame.version());
            return Err(Status::not_found(text));
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::blocking;

    #[test]
    fn a_call_that_a_stopping_server_does_not_run_is_unavailable_and_a_panic_an_internal_error() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let handle = runtime.handle().clone();
        let call = || handle.block_on(blocking::<()>(|| panic!("seen by this test")));
        assert_eq!(call().unwrap_err().code(), Code::Internal);
        runtime.shutdown_background();
        assert_eq!(call().unwrap_err().code(), Code::Unavailable);
    }
}
