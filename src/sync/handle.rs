//! The handle of a cell.

use crate::store::{Address, address_handle};

/// One line of text that identifies a cell and opens it in another process, like a frame's [`Handle`](crate::Handle).
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// use coframe::sync::{CellHandle, Counter};
/// let total: Counter = Counter::open_or_create(&store, "total")?;
/// let text = total.handle().to_string(); // through arguments, JSON or a queue
/// let same: Counter = Counter::from_handle(&text.parse::<CellHandle>()?)?;
/// same.add(1);
/// assert_eq!(total.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CellHandle(pub(super) Address);

address_handle!(CellHandle, "coframe-cell:");
