//! Opening frames by a name, a version or a handle.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, de};

use super::Store;
use crate::{
    error::{Error, Kind, Result},
    failpoint,
    frame::{Frame, Handle, OpenOptions, Origin},
    name::Name,
    segment::{Mapping, Opened, Trust, Writer},
};

/// How often a name is read again if a newer version replaces it between two calls.
const RETRIES: usize = 100;

impl Store {
    /// Opens the latest version of a name.
    ///
    /// Takes microseconds, regardless of the number of rows: it maps the segment and reads its metadata, but no values.
    /// Never blocks for longer than a quarter of a second, even if another process is stopped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(store.open("flights")?.num_rows(), 3);
    /// assert!(store.open("prices").unwrap_err().is_not_found());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) when the frame does not exist; [`is_corrupt`](Error::is_corrupt) when the
    /// file breaks the format; [`is_untrusted`](Error::is_untrusted) when others can write to it.
    pub fn open(&self, name: impl AsRef<str>) -> Result<Frame> {
        self.open_with(name, &OpenOptions::new())
    }

    /// Opens a name with options: its latest version, or the one of [`OpenOptions::version`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::OpenOptions;
    /// let delays = store.open_with("flights", &OpenOptions::new().columns(["delay"]))?;
    /// assert_eq!(delays.num_columns(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`], and of [`Store::open_version`] for a version.
    pub fn open_with(&self, name: impl AsRef<str>, options: &OpenOptions) -> Result<Frame> {
        let name = Name::new(name)?;
        if let Some(version) = options.version {
            return self.open_version_with(&name, version, options);
        }
        for _ in 0..RETRIES {
            let Some(version) = self.latest(&name)? else { return Err(self.not_found(&name, None)) };
            failpoint::reach("looked-up").map_err(|e| self.frames().write_error("open a frame in", e))?;
            match self.map(&name, version, options) {
                Ok(Some(mapping)) => return Frame::from_mapping(mapping, self.origin(name, version), options),
                Ok(None) => {}
                // Superseded meanwhile, and locked by a sweep that was stopped.
                Err(error) if error.is_busy() && self.latest(&name)? != Some(version) => {}
                Err(error) => return Err(error),
            }
        }
        // The link points to a missing file, and will keep doing so: a user removed the file by hand.
        Err(self.not_found(&name, None))
    }

    /// Opens one version of a name: the latest, or one that was superseded and is kept or in use.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::PublishOptions;
    /// store.publish_with("flights", &df.head(Some(1)), &PublishOptions::new().keep(1))?;
    /// assert_eq!(store.open_version("flights", frame.version())?.num_rows(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_superseded`](Error::is_superseded) when that version was removed and a newer one exists;
    /// [`is_not_found`](Error::is_not_found) when it never existed, or the name was removed.
    pub fn open_version(&self, name: impl AsRef<str>, version: u64) -> Result<Frame> {
        self.open_version_with(&Name::new(name)?, version, &OpenOptions::new())
    }

    fn open_version_with(&self, name: &Name, version: u64, options: &OpenOptions) -> Result<Frame> {
        // A version above the latest was linked by a publisher that died before it switched: it never became visible.
        let latest = self.latest(name)?.filter(|latest| *latest >= version);
        let mapping = if latest.is_some() { self.map(name, version, options)? } else { None };
        match (mapping, latest) {
            (Some(mapping), _) => Frame::from_mapping(mapping, self.origin(name.clone(), version), options),
            (None, Some(latest)) if latest > version => {
                let what = format!("`{name}@{version}`");
                Err(Kind::Superseded { what, now: format!("the latest is version {latest}") }.into())
            }
            _ => Err(self.not_found(name, Some(version))),
        }
    }

    /// Opens the frame of a handle, with options. The row range of the handle always applies; its columns apply unless
    /// the options name some.
    ///
    /// The store of the handle must be this one, although its path may differ here: the id of the segment is compared.
    /// A store that was opened with [`Store::open_at_trusting_writers`] opens handles too. [`Handle::open`] finds the
    /// store by itself.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::OpenOptions;
    /// let part = frame.slice(1..)?.handle();
    /// assert_eq!(store.open_handle(&part, &OpenOptions::new())?.num_rows(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_handle(&self, handle: &Handle, options: &OpenOptions) -> Result<Frame> {
        let store = match &handle.session {
            Some(session) if self.shared.session.as_ref() != Some(session) => {
                self.in_session(session).map_err(|_| self.not_found(&handle.name, Some(handle.version)))?
            }
            _ => self.clone(),
        };
        if let Some(version) = options.version.filter(|version| *version != handle.version) {
            let what = format!("version {version} for the handle of `{}@{}`", handle.name, handle.version);
            return Err(Error::invalid(what, "a handle names its version; leave the option out"));
        }
        let mut options = options.clone();
        if options.columns.is_none() {
            options.columns.clone_from(&handle.columns);
        }
        let another = || {
            let what = format!("the handle of a frame in `{}`", handle.store.display());
            Error::invalid(what, format_args!("expected one of the store `{}`", self.path().display()))
        };
        let here = self.path() == handle.store;
        let frame = match store.open_version_with(&handle.name, handle.version, &options) {
            Err(error) if error.is_not_found() && !here => return Err(another()),
            frame => frame?,
        };
        let found = frame.footer().metadata.as_ref().map_or(0, |metadata| metadata.segment);
        if !here && (found != handle.segment || found == 0) {
            return Err(another());
        }
        if found != handle.segment {
            let what = format!("the handle of `{}@{}`", handle.name, handle.version);
            return Err(Kind::Superseded { what, now: "another store was made at its path".to_owned() }.into());
        }
        match &handle.rows {
            Some(rows) => frame.slice(rows.clone()),
            None => Ok(frame),
        }
    }

    pub(super) fn map(&self, name: &Name, version: u64, options: &OpenOptions) -> Result<Option<Arc<Mapping>>> {
        let writer = if !options.validate && self.is_home()? { Writer::Own } else { Writer::Unknown };
        match Mapping::open_as(self.frames(), &name.file(version), writer, options.map_cache.as_ref())? {
            Opened::Mapped(mapping) => Ok(Some(mapping)),
            Opened::Gone => Ok(None),
        }
    }

    pub(super) fn origin(&self, name: Name, version: u64) -> Origin {
        Origin { store: self.path().to_owned(), session: self.shared.session.clone(), name, version }
    }

    pub(super) fn not_found(&self, name: &Name, version: Option<u64>) -> Error {
        let what = version.map_or_else(|| format!("frame `{name}`"), |version| format!("frame `{name}@{version}`"));
        Kind::NotFound { what, store: self.frames().path().to_owned() }.into()
    }
}

impl Handle {
    /// Opens the frame that the handle names, with exactly its version, columns and rows.
    ///
    /// Works while the version is the latest of its name, is kept, or is mapped by any process. That includes the
    /// process that sent the handle, as long as it holds the frame.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let handle: coframe::Handle = frame.handle().to_string().parse()?;
    /// assert_eq!(handle.open()?.num_rows(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_superseded`](Error::is_superseded) when another version or another store has taken its place;
    /// [`is_not_found`](Error::is_not_found) when the name, the session or the store was removed.
    pub fn open(&self) -> Result<Frame> {
        self.open_with(&OpenOptions::new())
    }

    /// Opens the frame that the handle names, with options. Columns named there replace the handle's.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::{CopyPolicy, OpenOptions};
    /// let handle = frame.handle();
    /// assert_eq!(handle.open_with(&OpenOptions::new().copies(CopyPolicy::Never))?.num_rows(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_with(&self, options: &OpenOptions) -> Result<Frame> {
        let store = Store::open_root(&self.store, Trust::Checked, false).map_err(|error| {
            if !error.is_missing_path() {
                return error;
            }
            let what = format!("frame `{}@{}`", self.name, self.version);
            Kind::NotFound { what, store: self.store.clone() }.into()
        })?;
        store.open_handle(self, options)
    }

    /// Maps the segment without decoding it, so that no sweep removes it. `None` if it does not exist.
    #[cfg(feature = "pool")]
    pub(crate) fn hold(&self) -> Result<Option<Arc<Mapping>>> {
        let store = Store::open_existing(&self.store)?;
        let store = match &self.session {
            Some(session) => store.in_session(session)?,
            None => store,
        };
        store.map(&self.name, self.version, &OpenOptions::new())
    }
}

/// Opens the frame whose handle was serialised, like [`Handle::open`]. Maps the segment and copies nothing.
impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let handle = Handle::deserialize(deserializer)?;
        handle.open().map_err(|error| {
            #[cfg(feature = "pool")]
            crate::frame::note_opening_error(format!("{error:?}"));
            de::Error::custom(format_args!("{error:?}"))
        })
    }
}
