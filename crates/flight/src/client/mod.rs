//! The client: frames of another machine.

mod options;
mod origins;
mod pull;
mod push;
mod ranges;
mod read;

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_flight::{Action, Criteria, Result as ActionResult, flight_service_client::FlightServiceClient};
use coframe::{Name, excerpt};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

pub use options::{PullOptions, ReadOptions, RemoteOptions};
pub use origins::{Origins, RemoteHandle};

use crate::{
    error::{Error, Kind, Result, chain},
    server::{MAX_FRAME, WINDOW},
    wire::{self, RemoveAnswer, RemoveRequest, Stat, StatRequest, WaitAnswer, WaitRequest},
};

/// Largest message that is read: a chunk of a segment, or the description of a frame.
const MAX_MESSAGE: usize = 64 << 20;
/// Bytes of a URL. A store records where a mirror comes from if that has no more than these.
const MAX_URL: usize = 1024;
/// Longest time for which one call of `wait` asks the server to wait.
const WAIT: Duration = Duration::from_secs(10);

/// The store that a [`Server`](crate::Server) serves.
///
/// Cheap to clone. Calls block, so they are an error on every thread of an async runtime, those of tokio's `spawn_blocking`
/// included: call them on a thread of [`std::thread::spawn`]. A `Remote` has one thread, so it does not work in a forked
/// child: connect again there.
///
/// ```
/// use coframe::Store;
/// use coframe_flight::{Remote, Server, ServerOptions};
/// # use coframe::arrow::array::{Int64Array, RecordBatch};
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let batch = RecordBatch::try_from_iter([("x", std::sync::Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// # let there = Store::open_at(dir.path().join("there"))?;
/// # there.publish("flights", &batch)?;
/// # let server = Server::start(&there, &ServerOptions::new())?;
/// # let here = Store::open_at(dir.path().join("here"))?;
/// let remote = Remote::connect(server.url())?;
/// let stat = remote.stat("flights")?;
/// assert_eq!((stat.rows, stat.version), (2, 1));
///
/// // Copies the segment into the local store, unless the store has it.
/// let frame = remote.open(&here, "flights")?;
/// assert_eq!(frame.segment_id(), stat.id);
/// assert_eq!(here.open("flights")?.num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Remote {
    runtime: Arc<Runtime>,
    client: FlightServiceClient<Channel>,
    url: String,
    authorization: Option<MetadataValue<Ascii>>,
    options: RemoteOptions,
}

impl Remote {
    /// Connects to `http://host:port`, or with TLS to `https://host:port`; `grpc`, `grpc+tcp` and `grpc+tls`, which other
    /// Flight clients write, mean the same.
    pub fn connect(url: impl AsRef<str>) -> Result<Self> {
        Self::connect_with(url, &RemoteOptions::new())
    }

    /// Connects with options.
    ///
    /// # Errors
    ///
    /// [`is_unreachable`](Error::is_unreachable) if the server does not answer or its certificate is not valid;
    /// [`is_invalid_argument`](Error::is_invalid_argument) for another kind of URL. A wrong token fails with the first
    /// call.
    pub fn connect_with(url: impl AsRef<str>, options: &RemoteOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("coframe-remote")
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the thread of the client", e))?;
        Self::connect_on(Arc::new(runtime), url.as_ref(), options)
    }

    /// A connection to another server, to which the origin referred this client.
    fn peer(&self, url: &str) -> Result<Self> {
        Self::connect_on(self.runtime.clone(), url, &self.options)
    }

    fn connect_on(runtime: Arc<Runtime>, url: &str, options: &RemoteOptions) -> Result<Self> {
        block_on(&runtime.clone(), Self::dial(runtime, url, options))?
    }

    async fn dial(runtime: Arc<Runtime>, url: &str, options: &RemoteOptions) -> Result<Self> {
        let url = http_url(url)?;
        let authorization = options.token.as_ref().map(|token| {
            let header = MetadataValue::try_from(format!("Bearer {token}"));
            header.map_err(|_| Error::invalid("the token", "it is not printable ASCII"))
        });
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|e| Error::invalid(format_args!("the URL `{}`", excerpt(&url)), chain(&e)))?
            .connect_timeout(options.deadline)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(MAX_FRAME)
            .http2_keep_alive_interval(options.deadline)
            .keep_alive_timeout(options.deadline);
        let endpoint = if url.starts_with("https:") {
            let tls = endpoint.tls_config(options.tls());
            tls.map_err(|e| Error::invalid("the certificates of the client", chain(&e)))?
        } else {
            endpoint
        };
        let channel = endpoint.connect().await.map_err(|e| {
            let text = format!(
                "cannot connect to {}: {}; check the address, and that the server runs",
                excerpt(&url),
                chain(&e)
            );
            Error::new(Kind::Unreachable, text)
        })?;
        let client = FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        Ok(Self { runtime, client, url, authorization: authorization.transpose()?, options: options.clone() })
    }

    /// The URL that it connected to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The latest version of every frame of the remote store, in the order of names.
    pub fn list(&self) -> Result<Vec<Stat>> {
        let what = || format!("list the frames of {}", self.url);
        let mut client = self.client.clone();
        self.block_on(what(), async move {
            let mut stream = client.list_flights(self.request(Criteria::default())).await?.into_inner();
            let mut stats = Vec::new();
            while let Some(info) = self.next(&mut stream).await? {
                stats.push(answer(&info.app_metadata)?);
            }
            Ok(stats)
        })
    }

    /// The latest version of one frame of the remote store.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found); [`is_denied`](Error::is_denied).
    pub fn stat(&self, name: impl AsRef<str>) -> Result<Stat> {
        self.stat_version(name, None)
    }

    fn stat_version(&self, name: impl AsRef<str>, version: Option<u64>) -> Result<Stat> {
        let name: Name = name.as_ref().parse()?;
        self.ask(wire::STAT, &StatRequest { name: name.to_string(), version }, format_args!("look up `{name}`"))
    }

    /// Blocks until the latest version in the remote store is above `newer_than` (0: until the name exists), and returns it;
    /// `None` after the timeout.
    pub fn wait(&self, name: impl AsRef<str>, newer_than: u64, timeout: Duration) -> Result<Option<u64>> {
        let name: Name = name.as_ref().parse()?;
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let timeout_ms = u64::try_from(left.min(WAIT).min(self.options.deadline / 2).as_millis()).unwrap_or(0);
            let request = WaitRequest { name: name.to_string(), after: newer_than, timeout_ms };
            let answer: WaitAnswer = self.ask(wire::WAIT, &request, format_args!("wait for `{name}`"))?;
            if answer.version.is_some() || start.elapsed() >= timeout {
                return Ok(answer.version);
            }
        }
    }

    /// Removes a name from the remote store. Returns false if the name did not exist.
    ///
    /// # Errors
    ///
    /// [`is_denied`](Error::is_denied) if the server or the token allows reading only.
    pub fn remove(&self, name: impl AsRef<str>) -> Result<bool> {
        let name: Name = name.as_ref().parse()?;
        let request = RemoveRequest { name: name.to_string() };
        let answer: RemoveAnswer = self.ask(wire::REMOVE, &request, format_args!("remove `{name}`"))?;
        Ok(answer.removed)
    }

    /// An action with one answer.
    fn ask<T: DeserializeOwned>(&self, action: &str, request: &impl Serialize, what: impl fmt::Display) -> Result<T> {
        let what = format!("cannot {what} at {}", self.url);
        self.block_on(what, async {
            let mut stream = self.action(action, request).await?;
            let result = self.next(&mut stream).await?.ok_or_else(|| Status::internal("the answer is empty"))?;
            answer(&result.body)
        })
    }

    async fn action(&self, action: &str, request: &impl Serialize) -> Result<Streaming<ActionResult>, Status> {
        let action = Action { r#type: action.to_owned(), body: wire::json(request)? };
        let mut client = self.client.clone();
        let called = tokio::time::timeout(self.options.deadline, client.do_action(self.request(action))).await;
        Ok(called.map_err(|_| too_late())??.into_inner())
    }

    /// The next message, within the deadline.
    async fn next<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
        tokio::time::timeout(self.options.deadline, stream.message()).await.map_err(|_| too_late())?
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    fn block<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        block_on(&self.runtime, call)?
    }

    fn block_on<T>(&self, what: String, call: impl Future<Output = Result<T, Status>>) -> Result<T> {
        block_on(&self.runtime, call)?.map_err(|status| Error::remote(what, &status))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

fn block_on<T>(runtime: &Runtime, call: impl Future<Output = T>) -> Result<T> {
    if tokio::runtime::Handle::try_current().is_ok() {
        let detail =
            "it blocks, and this thread belongs to an async runtime; call it on a thread of `std::thread::spawn`";
        return Err(Error::invalid("the call of a `Remote`", detail));
    }
    Ok(runtime.block_on(call))
}

fn too_late() -> Status {
    Status::deadline_exceeded("no answer in time; the server may be gone, stopped or overloaded")
}

fn answer<T: DeserializeOwned>(json: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(json).map_err(|e| {
        Status::internal(format!("the answer is not the JSON of docs/WIRE.md ({e}); is it a coframe server?"))
    })
}

/// The URL with the scheme that gRPC's transport knows.
fn http_url(url: &str) -> Result<String> {
    let what = || format!("the URL `{}`", excerpt(url));
    if url.len() > MAX_URL {
        return Err(Error::invalid(what(), format_args!("expected {MAX_URL} bytes at most")));
    }
    // A handle, an error and the list of a store show it as part of a line.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid(what(), "expected ASCII without spaces and control characters"));
    }
    let schemes = [("http://", "http"), ("grpc://", "http"), ("grpc+tcp://", "http")];
    let secure = [("https://", "https"), ("grpc+tls://", "https")];
    for (prefix, scheme) in schemes.into_iter().chain(secure) {
        if let Some(rest) = url.strip_prefix(prefix) {
            return Ok(format!("{scheme}://{}", rest.trim_end_matches('/')));
        }
    }
    Err(Error::invalid(what(), "expected http://HOST:PORT or, with TLS, https://HOST:PORT"))
}
