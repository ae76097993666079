//! Options of a client.

use std::time::Duration;

use coframe::Name;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::error::{Error, Result};

/// Options of [`Remote::connect_with`](crate::Remote::connect_with).
#[derive(Clone)]
pub struct RemoteOptions {
    pub(super) token: Option<String>,
    pub(super) deadline: Duration,
    pub(super) retry: Duration,
    pub(super) checksums: bool,
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
            peers: Vec::new(),
            serves: None,
            authority: None,
            identity: None,
        }
    }

    /// The token that every call has. It goes to the address of the URL only.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The token that is in a file which only this user can read: its first line.
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

    /// How long a pull tries to go on after its connection broke, counted from the last byte. Default: 30 seconds.
    #[must_use]
    pub fn retry(mut self, limit: Duration) -> Self {
        self.retry = limit;
        self
    }

    /// Whether pulled bytes are compared with a checksum of the server. Without, a flipped bit in a number is not found:
    /// validation finds invalid values, and TCP and TLS have checksums too. Default: yes.
    #[must_use]
    pub fn checksums(mut self, check: bool) -> Self {
        self.checksums = check;
        self
    }

    /// A machine that may have frames of the origin as mirrors: a pull goes there if the origin refers to it, with the
    /// same token and certificates. A URL that the origin names and that is not among these is not used.
    ///
    /// When many machines want a frame, each fetches it from the one before it while that one is still fetching. What
    /// arrives is compared with checksums of the origin. If the other machine fails, the pull goes on at the origin.
    ///
    /// # Errors
    ///
    /// As [`Remote::connect`](crate::Remote::connect) for the form of the URL.
    pub fn peer(mut self, url: impl AsRef<str>) -> Result<Self> {
        self.peers.push(super::http_url(url.as_ref())?);
        Ok(self)
    }

    /// The URL at which others reach a [`Server`](crate::Server) of this machine's store, for which they have it as a
    /// [`peer`](Self::peer): the origin refers later pullers to it. Default: none, so they are not referred here.
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
    /// The latest version, under its name there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The version there. Default: the latest.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// The name here. Default: the name there.
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

    /// Only these columns, in this order. Default: all.
    #[must_use]
    pub fn columns<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only these rows. Default: all.
    #[must_use]
    pub fn rows(mut self, rows: std::ops::Range<usize>) -> Self {
        self.rows = Some((rows.start, rows.end));
        self
    }

    /// Strings, binaries and lists without views, for which the server casts. Default: as they are in the segment.
    #[must_use]
    pub fn classic(mut self, classic: bool) -> Self {
        self.classic = classic;
        self
    }
}
