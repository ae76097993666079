//! Handles that carry their origin, and the origins from which they may be pulled.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use coframe::{Frame, Handle, Store, excerpt};

use super::{PullOptions, Remote, RemoteOptions, http_url, pull};
use crate::error::{Error, Kind, Result};

/// A [`Handle`] and the URL of the server that has its frame, for other machines.
///
/// Its text is one line of ASCII, `URL#HANDLE`. A handle grants no trust: [`Origins::open`] pulls only from servers that its
/// user configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteHandle {
    url: String,
    handle: Handle,
}

impl RemoteHandle {
    /// The handle of a frame, or of a part of one, whose store is served at this URL.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the URL does not have the form that
    /// [`Remote::connect`] takes, and for a frame of a session, because servers do not serve those.
    pub fn new(frame: &Frame, url: impl AsRef<str>) -> Result<Self> {
        let text = frame.handle().to_string();
        format!("{}#{text}", http_url(url.as_ref())?).parse()
    }

    /// The URL of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.url, self.handle)
    }
}

impl FromStr for RemoteHandle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let what = || format!("`{}` is not a handle of another machine", excerpt(text));
        let Some((url, handle)) = text.split_once('#') else {
            return Err(Error::invalid(what(), "expected URL#coframe:.., as `RemoteHandle` writes it"));
        };
        let handle: Handle = handle.parse().map_err(|error| Error::invalid(what(), error))?;
        if handle.to_string().contains("&session=") {
            return Err(Error::invalid(what(), "frames of sessions are not served"));
        }
        Ok(Self { url: http_url(url)?, handle })
    }
}

/// The servers from which handles may be pulled, with their tokens and certificates.
///
/// ```
/// use coframe::{Store, arrow::array::{Int64Array, RecordBatch}};
/// use coframe_flight::{Origins, RemoteHandle, RemoteOptions, Server, ServerOptions};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let batch = RecordBatch::try_from_iter([("x", std::sync::Arc::new(Int64Array::from(vec![1, 2, 3])) as _)])?;
/// let there = Store::open_at(dir.path().join("there"))?;
/// let server = Server::start(&there, &ServerOptions::new())?;
/// let part = there.publish("flights", &batch)?.slice(..2)?;
/// let text = RemoteHandle::new(&part, server.url())?.to_string();
///
/// // On another machine, which trusts this server:
/// let here = Store::open_at(dir.path().join("here"))?;
/// let origins = Origins::new().allow(server.url(), RemoteOptions::new())?;
/// assert_eq!(origins.open(&here, &text.parse()?)?.num_rows(), 2);
///
/// assert!(Origins::new().open(&here, &text.parse()?).is_ok()); // it is here now
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Origins {
    allowed: HashMap<String, RemoteOptions>,
    connected: Mutex<HashMap<String, Remote>>,
}

impl Origins {
    /// No servers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a server from which handles may be pulled, with these options.
    ///
    /// # Errors
    ///
    /// As [`Remote::connect`] for the form of the URL.
    pub fn allow(mut self, url: impl AsRef<str>, options: RemoteOptions) -> Result<Self> {
        self.allowed.insert(http_url(url.as_ref())?, options);
        Ok(self)
    }

    /// Opens the frame, or the part of one, that the handle names. If `store` does not have its segment, pulls it from the
    /// origin.
    ///
    /// # Errors
    ///
    /// [`is_denied`](Error::is_denied) if the segment has to be pulled and the origin is not one of these servers; those of
    /// [`Remote::pull_with`].
    pub fn open(&self, store: &Store, handle: &RemoteHandle) -> Result<Frame> {
        let RemoteHandle { url, handle } = handle;
        let Some(id) = handle.segment_id() else {
            return Err(Error::invalid(format_args!("`{handle}`"), "coframe did not write the file, so it has no id"));
        };
        let here = pull::local(store, handle.name(), id)?;
        let frame = match here {
            Some(frame) => frame,
            None => self.pull(store, url, handle)?,
        };
        if frame.segment_id() != Some(id) {
            let text = format!("`{}@{}` of {url} is another segment than {id:032x}", handle.name(), handle.version());
            return Err(Error::new(Kind::NotFound, text));
        }
        let part = match handle.columns() {
            Some(columns) => frame.select(columns)?,
            None => frame,
        };
        Ok(match handle.rows() {
            Some(rows) => part.slice(rows)?,
            None => part,
        })
    }

    fn pull(&self, store: &Store, url: &str, handle: &Handle) -> Result<Frame> {
        let Some(options) = self.allowed.get(url) else {
            let text = format!("the frame is not here, and its origin {url} is not among the allowed ones");
            return Err(Error::new(Kind::Denied, text));
        };
        let known = self.connected.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        let remote = match known {
            Some(remote) => remote,
            None => Remote::connect_with(url, options)?,
        };
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).insert(url.to_owned(), remote.clone());
        remote.pull_with(store, handle.name(), &PullOptions::new().version(handle.version()))
    }
}
