//! Connections: limits their number, and ends those that stall.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{Stream, task::AtomicWaker};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tonic::transport::server::Connected;

/// How long a connection may last without a request.
const SILENCE: Duration = Duration::from_secs(10);

/// All connections of a server.
pub(crate) struct Connections {
    most: usize,
    count: AtomicUsize,
    pub(crate) refused: AtomicU64,
    pub(crate) stalled: AtomicU64,
    idle: Duration,
    start: Instant,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    connections: Vec<Weak<Connection>>,
    streams: Vec<Weak<Progress>>,
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Connection {
    opened: Instant,
    is_used: AtomicBool,
    is_ended: AtomicBool,
    waker: AtomicWaker,
}

impl Connection {
    /// Ends it with all its streams, and what they hold.
    fn end(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(crate) fn note_request(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }
}

/// When a stream last handed bytes to its connection, which asks only as fast as its reader takes them.
pub(crate) struct Progress {
    /// Milliseconds since the start of the server.
    last: AtomicU64,
    connection: Option<Arc<Connection>>,
}

fn locked(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // Nothing under this lock can be left half-changed by a panic.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(crate) fn new(most: usize, idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            most,
            count: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            idle,
            start: Instant::now(),
            known: Mutex::default(),
        })
    }

    /// Accepts connections; those above the limit are closed at once.
    pub(crate) fn incoming(self: &Arc<Self>, listener: TcpListener) -> impl Stream<Item = io::Result<Socket>> + use<> {
        futures::stream::unfold((self.clone(), listener), |(connections, listener)| async move {
            loop {
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    // No more descriptors: those that are open end in time.
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                if connections.count.fetch_add(1, Ordering::SeqCst) >= connections.most {
                    connections.count.fetch_sub(1, Ordering::SeqCst);
                    connections.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let slot = Slot(connections.clone());
                // Without it each small message of an answer waits for an acknowledgement.
                let _ = stream.set_nodelay(true);
                let connection = Arc::new(Connection {
                    opened: Instant::now(),
                    is_used: AtomicBool::new(false),
                    is_ended: AtomicBool::new(false),
                    waker: AtomicWaker::new(),
                });
                locked(&connections.known).connections.push(Arc::downgrade(&connection));
                let socket = Socket { stream, connection, _slot: slot };
                return Some((Ok(socket), (connections, listener)));
            }
        })
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn open(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn watch(&self, connection: Option<Arc<Connection>>) -> Arc<Progress> {
        let progress = Arc::new(Progress { last: AtomicU64::new(self.now()), connection });
        locked(&self.known).streams.push(Arc::downgrade(&progress));
        progress
    }

    pub(crate) fn note(&self, progress: &Progress) {
        progress.last.store(self.now(), Ordering::Relaxed);
    }

    /// Ends connections that sent no request, and those whose client stopped reading. Never returns.
    pub(crate) async fn keep_watch(self: Arc<Self>) {
        let idle = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
        let pause = (self.idle / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            let now = self.now();
            let mut known = locked(&self.known);
            known.connections.retain(|connection| {
                let Some(connection) = connection.upgrade() else { return false };
                if !connection.is_used.load(Ordering::Relaxed) && connection.opened.elapsed() > SILENCE {
                    connection.end();
                }
                true
            });
            known.streams.retain(|stream| {
                let Some(stream) = stream.upgrade() else { return false };
                if now.saturating_sub(stream.last.load(Ordering::Relaxed)) > idle {
                    self.stalled.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!("a client took nothing for {idle} ms; its connection is closed");
                    if let Some(connection) = &stream.connection {
                        connection.end();
                    }
                    return false;
                }
                true
            });
        }
    }
}

/// The place of one connection among those that are allowed.
struct Slot(Arc<Connections>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that can be ended from outside.
pub(crate) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    _slot: Slot,
}

impl Socket {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.connection.waker.register(cx.waker());
        if self.connection.is_ended.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Connected for Socket {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { connection: self.connection.clone(), address: self.stream.peer_addr().ok() }
    }
}

/// What requests know of their connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) connection: Arc<Connection>,
    pub(crate) address: Option<SocketAddr>,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
