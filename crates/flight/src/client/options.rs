//! Options of a client.

use std::time::Duration;

use coframe::Name;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::error::{Error, Result};

/// Most ranges that a pull fetches at a time.
const MAX_RANGES: usize = 64;

/// Options of [`Remote::connect_with`](crate::Remote::connect_with).
#[derive(Clone)]
pub struct RemoteOptions {
    pub(super) token: Option<String>,
    pub(super) deadline: Duration,
    pub(super) retry: Duration,
    pub(super) checksums: bool,
    pub(super) ranges: usize,
    pub(super) peers: Vec<String>,
    pub(super) serves: Option<String>,
    authority: Option<Certificate>,
    identity: Option<Identity>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RemoteOptions {
    /// No token, and the certificate authorities of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self {
            token: None,
            deadline: Duration::from_secs(20),
            retry: Duration::from_secs(30),
            checksums: true,
            ranges: 1,
            peers: Vec::new(),
            serves: None,
            authority: None,
            identity: None,
        }
    }

    /// The token for every call. It is sent only to the URL of the remote, and to peers.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The first token in a file that only this user can read.
    ///
    /// # Errors
    ///
    /// As [`Tokens::read`](crate::Tokens::read).
    pub fn token_file(self, path: impl AsRef<std::path::Path>) -> Result<Self> {
        Ok(self.token(crate::tokens::client_token(path.as_ref())?))
    }

    /// The authority (PEM) that signed the server's certificate, in place of those of this machine.
    #[must_use]
    pub fn authority(mut self, certificate: impl AsRef<[u8]>) -> Self {
        self.authority = Some(Certificate::from_pem(certificate));
        self
    }

    /// A certificate and key (PEM), for servers that ask clients for one.
    #[must_use]
    pub fn identity(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some(Identity::from_pem(certificate, key));
        self
    }

    /// How long a call waits for an answer, and a stream for its next message. Default: 20 seconds.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// How long a pull retries after its connection broke, counted from the last byte. Default: 30 seconds.
    #[must_use]
    pub fn retry(mut self, limit: Duration) -> Self {
        self.retry = limit;
        self
    }

    /// Whether a pull compares the bytes with checksums of the server. Without them a flipped bit in a number is found only by
    /// the checksums of TCP and TLS, because validation finds only invalid values. Default: yes.
    #[must_use]
    pub fn checksums(mut self, check: bool) -> Self {
        self.checksums = check;
        self
    }

    /// How many ranges of a segment a pull fetches at a time, 1 to 64, each over a separate connection. Default: 1.
    ///
    /// More ranges help if the network limits each connection, by a rate or by a delay that its window does not cover. They
    /// gain nothing where it does not, such as on loopback. Each connection needs up to 16 MiB of memory. A small segment has
    /// fewer ranges, of 1 MiB at least. If the server refuses connections or streams, the pull goes on with fewer ranges. A
    /// [`peer`](Self::peer) is asked for one range at a time.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) for 0 and for more than 64.
    pub fn ranges(mut self, at_a_time: usize) -> Result<Self> {
        if !(1..=MAX_RANGES).contains(&at_a_time) {
            let found = format!("{at_a_time} ranges at a time");
            return Err(Error::invalid(found, format_args!("expected 1 to {MAX_RANGES}")));
        }
        self.ranges = at_a_time;
        Ok(self)
    }

    /// The server of another machine that may have frames of the origin as mirrors. A pull connects to it if the origin refers
    /// to it, with the same token and certificates. A pull connects to no other URL that the origin returns.
    ///
    /// When many machines want a frame, each fetches it from the one before it while that one is still fetching. The pull
    /// compares what arrives with checksums of the origin. If the other machine fails, the pull continues from the origin.
    ///
    /// # Errors
    ///
    /// As [`Remote::connect`](crate::Remote::connect) for the form of the URL.
    pub fn peer(mut self, url: impl AsRef<str>) -> Result<Self> {
        self.peers.push(super::http_url(url.as_ref())?);
        Ok(self)
    }

    /// The URL at which other machines reach a [`Server`](crate::Server) of this machine's store. The origin refers later
    /// pullers to it, and they use it if it is one of their [`peer`](Self::peer)s. Default: none, and the origin refers no
    /// puller to this machine.
    ///
    /// # Errors
    ///
    /// As [`Remote::connect`](crate::Remote::connect) for the form of the URL.
    pub fn serves(mut self, url: impl AsRef<str>) -> Result<Self> {
        self.serves = Some(super::http_url(url.as_ref())?);
        Ok(self)
    }

    pub(super) fn tls(&self) -> ClientTlsConfig {
        let tls = ClientTlsConfig::new().timeout(self.deadline);
        let tls = match self.authority.clone() {
            Some(authority) => tls.ca_certificate(authority),
            None => tls.with_native_roots(),
        };
        match self.identity.clone() {
            Some(identity) => tls.identity(identity),
            None => tls,
        }
    }
}

/// Without the token and the key.
impl std::fmt::Debug for RemoteOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteOptions")
            .field("token", &self.token.is_some())
            .field("deadline", &self.deadline)
            .field("retry", &self.retry)
            .field("ranges", &self.ranges)
            .finish_non_exhaustive()
    }
}

/// Options of [`Remote::pull_with`](crate::Remote::pull_with).
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    pub(super) version: Option<u64>,
    pub(super) name: Option<Name>,
}

impl PullOptions {
    /// The latest version, under the same name as in the remote store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The version in the remote store. Default: the latest.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// The name in the local store. Default: the name in the remote store.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) if this is not a valid name.
    pub fn name(mut self, name: impl AsRef<str>) -> Result<Self> {
        self.name = Some(name.as_ref().parse().map_err(|e: coframe::Error| Error::invalid("the name here", e))?);
        Ok(self)
    }
}

/// Which part of a frame [`Remote::read`](crate::Remote::read) reads.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    pub(super) version: Option<u64>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) rows: Option<(usize, usize)>,
    pub(super) classic: bool,
}

impl ReadOptions {
    /// All of the latest version.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The version. Default: the latest.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Reads only these columns, in this order. Default: all.
    #[must_use]
    pub fn columns<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Reads only these rows. Default: all.
    #[must_use]
    pub fn rows(mut self, rows: std::ops::Range<usize>) -> Self {
        self.rows = Some((rows.start, rows.end));
        self
    }

    /// Whether the server casts strings, binaries and lists to types without views. Default: no, they have the types of the
    /// segment.
    #[must_use]
    pub fn classic(mut self, classic: bool) -> Self {
        self.classic = classic;
        self
    }
}
