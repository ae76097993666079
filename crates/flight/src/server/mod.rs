//! The server, which sends a store's frames to other machines.

mod body;
mod calls;
mod connection;
mod descriptors;
mod gate;
mod handler;
#[cfg(feature = "metrics")]
mod metrics;
mod noted;
mod options;
mod put;
mod reflection;
mod segment;
mod sources;
mod stats;
mod whole;

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

use coframe::{MapCache, Store};
use tokio::{
    net::TcpListener,
    runtime::{Handle, Runtime},
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tonic::transport::Server as Transport;
use tonic_health::ServingStatus;

pub use options::ServerOptions;
pub use stats::ServerStats;

use crate::{
    error::{Error, Result, chain},
    tokens::Tokens,
};
use connection::Connections;
use gate::Gate;
use handler::Handled;
use noted::Noted;
use reflection::MAX_REFLECTIONS;
use segment::Checksums;
use sources::Sources;
use stats::Counters;

/// Size of the HTTP/2 windows. A stream takes at most one window in each round trip.
pub(crate) const WINDOW: u32 = 16 << 20;
/// Size of the frames that this side reads.
pub(crate) const MAX_FRAME: u32 = 1 << 20;
/// Streams of one connection.
const MAX_STREAMS_EACH: u32 = 64;
/// Bytes of the headers of one request.
const MAX_HEADERS: u32 = 16 << 10;
/// Frames that are received at the same time.
const MAX_PUTS: usize = 4;
/// Calls that wait for a version at the same time, each in a thread.
const MAX_WAITS: usize = 256;
/// Frames that stay mapped between calls, and how long after the last one.
const KEPT_MAPS: usize = 8;
const UNUSED_MAP: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(20);

/// What all calls have in common.
struct Shared {
    store: Store,
    is_writable: bool,
    tokens: RwLock<Option<Arc<Tokens>>>,
    connections: Arc<Connections>,
    streams: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    puts: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
    counters: Arc<Counters>,
    checksums: Checksums,
    sources: Sources,
    /// A call opens its frame, whose pages would be mapped anew each time.
    maps: MapCache,
    max_message: usize,
    idle: Duration,
}

impl Shared {
    fn stats(&self) -> ServerStats {
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        ServerStats {
            refused: of(&self.connections.refused),
            stalled: of(&self.connections.stalled),
            ..self.counters.read()
        }
    }

    fn tokens(&self) -> Option<Arc<Tokens>> {
        // The value is replaced in one assignment, which cannot panic half-way.
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Ends maps that no call has used lately, and those of removed segments. Never returns.
async fn release_maps(maps: MapCache) {
    loop {
        tokio::time::sleep(UNUSED_MAP).await;
        maps.release(UNUSED_MAP);
    }
}

/// A running server of Arrow Flight, with threads of a separate runtime. Stops when it is dropped.
///
/// Serves the frames of a store to any Flight client, and their segments to [`Remote`](crate::Remote). While it streams a
/// frame, it keeps the frame open, so no sweep removes it.
///
/// ```
/// use coframe::Store;
/// use coframe_flight::{Remote, Server, ServerOptions};
/// # use coframe::arrow::array::{Int64Array, RecordBatch};
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let batch = RecordBatch::try_from_iter([("x", std::sync::Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
///
/// let there = Store::open_at(dir.path().join("there"))?;
/// there.publish("flights", &batch)?;
/// let server = Server::start(&there, &ServerOptions::new())?; // on a free port of 127.0.0.1
///
/// let here = Store::open_at(dir.path().join("here"))?;
/// let remote = Remote::connect(server.url())?;
/// assert_eq!(remote.open(&here, "flights")?.num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    #[cfg(feature = "metrics")]
    metrics: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<Result<(), tonic::transport::Error>>>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Binds the address and starts to serve.
    ///
    /// # Errors
    ///
    /// If the address is in use, or if the certificate or key cannot be read. [`is_invalid_argument`](Error::is_invalid_argument)
    /// if the address is not a loopback address and the options have neither TLS and tokens nor
    /// [`insecure`](ServerOptions::insecure), and on a thread of an async runtime, because the call blocks.
    pub fn start(store: &Store, options: &ServerOptions) -> Result<Self> {
        options.check()?;
        if Handle::try_current().is_ok() {
            let detail =
                "it blocks, and this thread belongs to an async runtime; call it on a thread of `std::thread::spawn`";
            return Err(Error::invalid("the start of a server", detail));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8))
            .thread_name("coframe-flight")
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the threads of the server", e))?;
        let shared = Arc::new(Shared {
            store: store.clone(),
            is_writable: options.write,
            tokens: RwLock::new(options.tokens.clone().map(Arc::new)),
            connections: Connections::new(options.max_connections, options.idle),
            streams: Arc::new(Semaphore::new(options.max_streams)),
            waits: Arc::new(Semaphore::new(MAX_WAITS)),
            puts: Arc::new(Semaphore::new(MAX_PUTS)),
            reflections: Arc::new(Semaphore::new(MAX_REFLECTIONS)),
            counters: Arc::default(),
            checksums: Checksums::default(),
            sources: Sources::default(),
            maps: MapCache::new(KEPT_MAPS),
            max_message: options.max_message,
            idle: options.idle,
        });
        let bound = runtime.block_on(TcpListener::bind(options.address));
        let listener = bound.map_err(|e| Error::io(format_args!("listen on {}", options.address), e))?;
        let address = listener.local_addr().map_err(|e| Error::io("find the address of the server", e))?;
        #[cfg(feature = "metrics")]
        let metrics = start_metrics(&runtime, options, &shared)?;
        let (stop, mut stopped) = watch::channel(false);

        let mut transport = Transport::builder()
            .initial_stream_window_size(options.window)
            .initial_connection_window_size(options.window)
            .max_frame_size(MAX_FRAME)
            .max_concurrent_streams(MAX_STREAMS_EACH)
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING));
        if let Some(tls) = options.tls() {
            transport = transport
                .tls_config(tls)
                .map_err(|e| Error::invalid("the certificate or key of the server", chain(&e)))?;
        }
        let gate = Gate::new(shared.clone());
        let (reflection, reflection_draft) = reflection::services(&shared)?;
        let incoming = shared.connections.incoming(listener);
        runtime.spawn(shared.connections.clone().keep_watch());
        runtime.spawn(release_maps(shared.maps.clone()));
        let serving = runtime.spawn(async move {
            let (health, service) = tonic_health::server::health_reporter();
            let name = <Gate as tonic::server::NamedService>::NAME;
            health.set_service_status(name, ServingStatus::Serving).await;
            let router = transport.add_service(Noted(service)).add_service(Handled(gate));
            let router = router.add_service(reflection).add_service(reflection_draft);
            let stopping = async move {
                // Fails when the server is gone, which ends it as well.
                let _ = stopped.wait_for(|stop| *stop).await;
                health.set_service_status(name, ServingStatus::NotServing).await;
            };
            router.serve_with_incoming_shutdown(incoming, stopping).await
        });
        tracing::info!(%address, "serving");
        let scheme = if options.has_tls() { "https" } else { "http" };
        Ok(Self {
            #[cfg(feature = "metrics")]
            metrics,
            shared,
            address,
            scheme,
            stop,
            serving: Some(serving),
            runtime: Some(runtime),
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for [`Remote::connect`](crate::Remote::connect). Other Flight clients write `grpc` instead of `http`, and
    /// `grpc+tls` instead of `https`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The address of the metrics, if there is one.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Counts of the calls, streams and bytes since the server started.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.shared.stats()
    }

    /// Replaces the tokens for later calls. Streams that have started continue.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the server was started without tokens.
    pub fn set_tokens(&self, tokens: Tokens) -> Result<()> {
        let mut current = self.shared.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if current.is_none() {
            return Err(Error::invalid("the tokens", "the server was started without; start it again"));
        }
        *current = Some(Arc::new(tokens));
        Ok(())
    }

    /// Stops the server: accepts no more connections, waits up to `grace` for the streams to end, then closes them. Returns
    /// whether all streams had ended. On a thread of an async runtime it closes them without waiting, and returns false.
    #[must_use = "false if streams were cut"]
    pub fn stop(mut self, grace: Duration) -> bool {
        self.end(grace)
    }

    fn end(&mut self, grace: Duration) -> bool {
        let _ = self.stop.send(true);
        let (Some(runtime), Some(serving)) = (self.runtime.take(), self.serving.take()) else { return true };
        if Handle::try_current().is_ok() {
            // A thread of an async runtime must not block.
            runtime.shutdown_background();
            return false;
        }
        let ended = runtime.block_on(async { tokio::time::timeout(grace, serving).await.is_ok() });
        // Threads that wait for a version return within half a second.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }
}

/// Listens for readers of the metrics, if the options have an address for them.
#[cfg(feature = "metrics")]
fn start_metrics(runtime: &Runtime, options: &ServerOptions, shared: &Arc<Shared>) -> Result<Option<SocketAddr>> {
    let Some(address) = options.metrics else { return Ok(None) };
    let failed = |e| Error::io(format_args!("listen on {address} for the metrics"), e);
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    runtime.spawn(metrics::answer(listener, shared.clone()));
    Ok(Some(address))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url()).finish_non_exhaustive()
    }
}
