//! Options for opening a frame.

use crate::segment::MapCache;

/// Options of [`Store::open_with`](crate::Store::open_with).
///
/// ```
/// use coframe::{CopyPolicy, OpenOptions};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # store.publish("flights", &polars::df!("carrier" => ["UA"], "delay" => [3])?)?;
/// let options = OpenOptions::new().columns(["delay"]).copies(CopyPolicy::Never);
/// let frame = store.open_with("flights", &options)?;
/// assert_eq!(frame.num_columns(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) copies: CopyPolicy,
    pub(crate) categories: CategoryPolicy,
    pub(crate) validate: bool,
    pub(crate) version: Option<u64>,
    pub(crate) map_cache: Option<MapCache>,
}

impl OpenOptions {
    /// The latest version, all columns, copies allowed, the process's categories, and values validated where the file is not trusted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens only these columns, in this order; others are not decoded. Default: all.
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
    #[must_use]
    pub fn columns<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Opens this version of the name. Default: the latest.
    ///
    /// A handle already has a version; a different one here is an error.
    ///
    /// ```
    /// use coframe::{OpenOptions, PublishOptions};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let keep = PublishOptions::new().keep(1);
    /// let first = store.publish_with("x", &polars::df!("x" => [1], "y" => [2])?, &keep)?.version();
    /// store.publish_with("x", &polars::df!("x" => [3])?, &keep)?;
    /// let frame = store.open_with("x", &OpenOptions::new().version(first).columns(["y"]))?;
    /// assert_eq!((frame.version(), frame.num_columns()), (first, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Takes the frame's map from this cache, or adds it there. Default: every opening makes a separate map.
    ///
    /// For a process that opens the same frames many times, such as a worker that gets a handle for each task: see
    /// [`MapCache`].
    #[must_use]
    pub fn map_cache(mut self, cache: &MapCache) -> Self {
        self.map_cache = Some(cache.clone());
        self
    }

    /// Whether opening may copy data that cannot be shared. Default: [`CopyPolicy::Allow`].
    #[must_use]
    pub fn copies(mut self, policy: CopyPolicy) -> Self {
        self.copies = policy;
        self
    }

    /// Which categories the Polars categoricals of this frame get. Default: [`CategoryPolicy::Shared`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::{CategoryPolicy, OpenOptions};
    /// let options = OpenOptions::new().categories(CategoryPolicy::Private);
    /// assert!(store.open_with("flights", &options)?.to_polars()?.equals(&df));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn categories(mut self, policy: CategoryPolicy) -> Self {
        self.categories = policy;
        self
    }

    /// Whether to validate a file that this machine sealed as if it came from elsewhere. Default: no.
    ///
    /// Opening then reads every value and ignores what the file records about itself: sorted columns are not marked as
    /// sorted, and keys and times are checked again when they are converted to Polars. Files that are writable, that
    /// another program wrote, or whose store was created elsewhere (see [`Store::adopt`](crate::Store::adopt)) are
    /// validated regardless of this option.
    ///
    /// ```
    /// use coframe::OpenOptions;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # store.publish("flights", &polars::df!("delay" => [3])?)?;
    /// let frame = store.open_with("flights", &OpenOptions::new().validate(true))?;
    /// assert_eq!(frame.num_rows(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn validate(mut self, validate: bool) -> Self {
        self.validate = validate;
        self
    }
}

/// What to do if opening, or converting to Polars, cannot share bytes.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// use coframe::{CopyPolicy, OpenOptions};
/// let shared = store.open_with("flights", &OpenOptions::new().copies(CopyPolicy::Never))?;
/// assert!(shared.to_polars()?.equals(&df)); // an error if a column had to be copied
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyPolicy {
    /// Copy if necessary; [`Frame::copy_report`](crate::Frame::copy_report) reports each copy and its reason.
    #[default]
    Allow,
    /// Refuse with an error that names the column and the reason.
    Never,
}

/// Which Polars `Categories` the categorical columns of a frame belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CategoryPolicy {
    /// The process's `Categories` of the published name, so that columns compare and join with others of that name.
    /// Keys are shared if this process numbers the categories in the same way as the publisher, as a new process does.
    /// Otherwise they are rewritten, which costs in the order of rows.
    #[default]
    Shared,
    /// `Categories` private to the frame: keys are always shared, and the columns match no others.
    Private,
}
