//! How a map is named to another process.

use crate::store::{Address, address_handle};

/// Identifies a map and opens it in another process: a one-line string, like a frame's [`Handle`](crate::Handle).
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
/// let text = stock.handle().to_string(); // through arguments, JSON or a queue
/// let same: coframe::SharedMap<String, u32> = coframe::SharedMap::from_handle(&text.parse()?)?;
/// same.put("apples", &3)?;
/// assert_eq!(stock.get("apples")?, Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MapHandle(pub(super) Address);

address_handle!(MapHandle, "coframe-dict:");
