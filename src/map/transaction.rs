//! Several changes of a map that take effect together.

use std::{borrow::Borrow, marker::PhantomData, sync::Arc};

use heed::RwTxn;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    codec::Codec,
    environment::Lease,
    lmdb::Entries,
    reads::{Reads, reading},
};
use crate::error::Result;

/// A write transaction: other readers see all of its changes, or none.
///
/// See [`SharedMap::transaction`](super::SharedMap::transaction). Reads in it see its own changes.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
/// # stock.put("apples", &3)?;
/// let moved = stock.transaction(|t| {
///     let apples = t.remove("apples")?.unwrap_or(0);
///     t.put("pears", &apples)?;
///     Ok::<_, coframe::Error>(apples)
/// })?;
/// assert_eq!((moved, stock.len()?), (3, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Transaction<'a, K, V> {
    lease: Arc<Lease>,
    entries: Entries,
    txn: RwTxn<'a>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'a, K, V> Transaction<'a, K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(super) fn new(lease: Arc<Lease>, entries: Entries, txn: RwTxn<'a>) -> Self {
        Self { lease, entries, txn, types: PhantomData }
    }

    /// Returns the inner transaction, to commit or abort it.
    pub(super) fn into_inner(self) -> RwTxn<'a> {
        self.txn
    }

    fn reads(&self) -> Result<Reads<'_, K, V>> {
        Ok(Reads::new(self.lease.environment()?, self.entries, &self.txn))
    }

    fn done<R>(&self, action: &'static str, result: heed::Result<R>) -> Result<R> {
        let environment = self.lease.environment()?;
        result.map_err(|e| environment.error(action, e))
    }

    /// Sets the value of a key; returns the value that it replaces.
    pub fn insert<Q: Serialize + ?Sized>(&mut self, key: &Q, value: &V) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        let before = self.reads()?.value(&Codec::<K, V>::stored_key(key)?)?;
        self.put(key, value)?;
        Ok(before)
    }

    /// Sets the value of a key without reading the value that it replaces.
    pub fn put<Q: Serialize + ?Sized>(&mut self, key: &Q, value: &V) -> Result<()>
    where
        K: Borrow<Q>,
    {
        let (key, value) = (Codec::<K, V>::stored_key(key)?, Codec::<K, V>::value(value)?);
        let written = self.entries.put(&mut self.txn, &key, &value);
        self.done("write to", written)
    }

    /// Removes an entry and returns its value.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// # stock.put("apples", &3)?;
    /// assert_eq!(stock.transaction(|t| t.remove("apples"))?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove<Q: Serialize + ?Sized>(&mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        let before = self.get(key)?;
        if before.is_some() {
            self.delete(key)?;
        }
        Ok(before)
    }

    /// Removes an entry without decoding its value. Returns false if the key does not exist.
    pub fn delete<Q: Serialize + ?Sized>(&mut self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        let removed = self.entries.delete(&mut self.txn, &Codec::<K, V>::key(key)?);
        self.done("remove from", removed)
    }

    /// Removes all entries.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// # stock.put("apples", &3)?;
    /// stock.transaction(|t| t.clear())?;
    /// assert!(stock.is_empty()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&mut self) -> Result<()> {
        let cleared = self.entries.clear(&mut self.txn);
        self.done("clear", cleared)
    }

    /// Sets or removes the value of a key if it is what is expected (`None`: it does not exist). Values are compared as
    /// bytes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// let found = stock.transaction(|t| t.compare_exchange("apples", None, Some(&3)))?;
    /// assert!(found && stock.contains_key("apples")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare_exchange<Q: Serialize + ?Sized>(
        &mut self,
        key: &Q,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        let expected = expected.map(Codec::<K, V>::value).transpose()?;
        if self.reads()?.bytes(&Codec::<K, V>::key(key)?)? != expected.as_deref() {
            return Ok(false);
        }
        match new {
            Some(value) => self.put(key, value)?,
            None => self.delete(key).map(drop)?,
        }
        Ok(true)
    }
}

reading!(Transaction<'_, K, V>);
