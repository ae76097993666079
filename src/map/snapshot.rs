//! One state of a map, kept for its reader.

use std::{marker::PhantomData, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    environment::Lease,
    reads::{Reads, reading},
    state::State,
};
use crate::error::Result;

/// A map as it was at one moment. Writers do not wait for it and do not change it.
///
/// While it lives, the pages of its state are not reused, so a map that is written to grows. If its process dies, the
/// pages are freed. It can be sent to another thread; in a forked child it cannot be read.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
/// # stock.put("apples", &3)?;
/// let before = stock.snapshot()?; // blocks no writer
/// stock.put("apples", &9)?;
/// assert_eq!((before.get("apples")?, stock.get("apples")?), (Some(3), Some(9)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a snapshot keeps memory for as long as it lives"]
pub struct Snapshot<K, V> {
    state: State,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Snapshot<K, V> {
    pub(super) fn new(lease: Arc<Lease>) -> Result<Self> {
        Ok(Self { state: State::new(lease)?, types: PhantomData })
    }
}

impl<K, V> Snapshot<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    fn reads(&self) -> Result<Reads<'_, K, V>> {
        Reads::from_state(&self.state)
    }
}

reading!(Snapshot<K, V>);
