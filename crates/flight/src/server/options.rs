//! Options of a server.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::WINDOW;
use crate::{
    error::{Error, Result},
    tokens::Tokens,
};

/// Options of [`Server::start`](crate::Server::start).
///
/// ```
/// use coframe_flight::ServerOptions;
///
/// let options = ServerOptions::new().address("127.0.0.1:8815".parse()?).write(true);
/// # let _ = options;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerOptions {
    pub(super) address: SocketAddr,
    pub(super) tokens: Option<Tokens>,
    pub(super) write: bool,
    pub(super) idle: Duration,
    pub(super) max_connections: usize,
    pub(super) max_streams: usize,
    pub(super) max_message: usize,
    pub(super) window: u32,
    #[cfg(feature = "metrics")]
    pub(super) metrics: Option<SocketAddr>,
    identity: Option<Identity>,
    client_ca: Option<Certificate>,
    insecure: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerOptions {
    /// Listens on a free port of 127.0.0.1, for reading only, without tokens: every user of this machine can connect.
    #[must_use]
    pub fn new() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            tokens: None,
            write: false,
            idle: Duration::from_mins(1),
            max_connections: 1024,
            max_streams: 256,
            max_message: 256 << 20,
            window: WINDOW,
            #[cfg(feature = "metrics")]
            metrics: None,
            identity: None,
            client_ca: None,
            insecure: false,
        }
    }

    /// The address to listen on. An address that other machines can reach needs [`identity`](Self::identity) and
    /// [`tokens`](Self::tokens), or [`insecure`](Self::insecure). Default: 127.0.0.1, a free port.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The tokens; every call must have one of them. Default: none, and every caller may do what the server allows.
    #[must_use]
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Whether callers may publish and remove frames. If the server has tokens, they need a write token. Default: no.
    #[must_use]
    pub fn write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }

    /// TLS with this certificate chain and key, both PEM. Default: no TLS.
    #[must_use]
    pub fn identity(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some(Identity::from_pem(certificate, key));
        self
    }

    /// Lets in only clients with a certificate of this authority (PEM). Needs [`identity`](Self::identity). Default: any
    /// client.
    #[must_use]
    pub fn client_ca(mut self, certificate: impl AsRef<[u8]>) -> Self {
        self.client_ca = Some(Certificate::from_pem(certificate));
        self
    }

    /// Allows an address that other machines can reach without TLS or without tokens. Without tokens, every machine in the
    /// network can read all frames. Without TLS, it can also see the tokens and the data of others. Default: no.
    #[must_use]
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// Closes the connection of a client that reads nothing from a stream for this long (the server sends pieces of up to
    /// 1 MiB), and ends a `DoPut` whose client sends nothing for this long. A dead client keeps a frame open for no longer.
    /// Default: one minute.
    #[must_use]
    pub fn idle(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }

    /// The number of connections at a time. The server closes any more at once. Default: 1024.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// The number of streams and actions at a time, of all clients. The server refuses any more. Default: 256.
    #[must_use]
    pub fn max_streams(mut self, most: usize) -> Self {
        self.max_streams = most;
        self
    }

    /// The most bytes of one message that a client sends, which holds one batch. Default: 256 MiB.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Bytes of the HTTP/2 windows for what clients send: a stream takes at most one window in each round trip.
    /// Default: 16 MiB.
    #[must_use]
    pub fn window(mut self, bytes: u32) -> Self {
        self.window = bytes;
        self
    }

    /// The address at which the server answers `GET /metrics` over HTTP, in the text format of Prometheus. The answer has
    /// counts, but no names of frames. An address that other machines can reach needs [`insecure`](Self::insecure), because
    /// this port has neither TLS nor tokens. Default: none.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, address: SocketAddr) -> Self {
        self.metrics = Some(address);
        self
    }

    pub(super) fn has_tls(&self) -> bool {
        self.identity.is_some()
    }

    pub(super) fn tls(&self) -> Option<ServerTlsConfig> {
        let identity = self.identity.clone()?;
        let tls = ServerTlsConfig::new().identity(identity).timeout(Duration::from_secs(10));
        Some(match self.client_ca.clone() {
            Some(authority) => tls.client_ca_root(authority),
            None => tls,
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.client_ca.is_some() && self.identity.is_none() {
            return Err(Error::invalid("a client authority", "it needs the server's own certificate and key"));
        }
        let is_safe = self.has_tls() && self.tokens.is_some();
        if !self.address.ip().is_loopback() && !is_safe && !self.insecure {
            let what = format!("the address {}, which other machines can reach,", self.address);
            let lacks = match (self.has_tls(), self.tokens.is_some()) {
                (false, false) => "TLS and tokens",
                (false, true) => "TLS",
                (true, _) => "tokens",
            };
            return Err(Error::invalid(what, format_args!("it needs {lacks}, or `insecure` spelled out")));
        }
        #[cfg(feature = "metrics")]
        if let Some(address) = self.metrics.filter(|address| !address.ip().is_loopback() && !self.insecure) {
            let what = format!("the address {address} for the metrics, which other machines can reach,");
            return Err(Error::invalid(what, "it needs `insecure` spelled out"));
        }
        Ok(())
    }
}

/// Without the key.
impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions")
            .field("address", &self.address)
            .field("tls", &self.has_tls())
            .field("tokens", &self.tokens)
            .field("write", &self.write)
            .finish_non_exhaustive()
    }
}
