//! Conversions into the error types of `std`, Arrow and Polars.

use std::io;

use arrow::error::ArrowError;

use super::{Error, Kind};

/// Keeps the kind of an operating system's error; this error is the [source](io::Error::get_ref).
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// fn rows(store: &coframe::Store) -> std::io::Result<usize> {
///     Ok(store.open("prices")?.num_rows())
/// }
/// assert_eq!(rows(&store).unwrap_err().kind(), std::io::ErrorKind::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &*error.kind {
            Kind::Os { source, .. } => source.kind(),
            Kind::NoSpace { .. } => io::ErrorKind::StorageFull,
            _ if error.is_not_found() => io::ErrorKind::NotFound,
            _ if error.is_untrusted() => io::ErrorKind::PermissionDenied,
            _ if error.is_corrupt() => io::ErrorKind::InvalidData,
            _ if error.is_unsupported() => io::ErrorKind::Unsupported,
            _ if error.is_busy() => io::ErrorKind::TimedOut,
            _ if error.is_invalid_argument() => io::ErrorKind::InvalidInput,
            // Not `Interrupted`, which callers retry: this caller ended the wait.
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Converts to [`ArrowError::ExternalError`].
impl From<Error> for ArrowError {
    fn from(error: Error) -> Self {
        Self::ExternalError(Box::new(error))
    }
}

/// Converts to [`io::Error`] first.
#[cfg(feature = "polars")]
impl From<Error> for polars::error::PolarsError {
    fn from(error: Error) -> Self {
        io::Error::from(error).into()
    }
}
