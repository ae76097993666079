//! The methods of a map that change it.

use std::{borrow::Borrow, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{SharedMap, transaction::Transaction};
use crate::error::{Error, Result};

/// Each blocks while another process or thread writes.
impl<K, V> SharedMap<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// Sets the value of a key; returns the one that it replaces. Blocks while another process or thread writes.
    ///
    /// [`put`](Self::put) does not read the old value, which is faster if it is large, and can overwrite a value that
    /// can no longer be read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// assert_eq!(stock.insert("apples", &3)?, None);
    /// assert_eq!(stock.insert("apples", &4)?, Some(3)); // the value before
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.insert(key, value))
    }

    /// Sets the value of a key without reading the one that it replaces. Blocks while another process or thread writes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let models = coframe::SharedMap::<String, Vec<u8>>::create(&store, "models")?;
    /// models.put("latest", &vec![1; 1000])?;
    /// models.put("latest", &vec![2; 1000])?;
    /// assert_eq!(models.keys()?.collect::<coframe::Result<Vec<_>>>()?, ["latest"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Result<()>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.put(key, value))
    }

    /// Removes an entry and returns its value.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// # stock.put("apples", &3)?;
    /// assert_eq!(stock.remove("apples")?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.remove(key))
    }

    /// Removes an entry without decoding its value, even if that cannot be decoded anymore. Returns false if the key
    /// does not exist.
    pub fn delete<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.delete(key))
    }

    /// Removes all entries.
    pub fn clear(&self) -> Result<()> {
        self.transaction(|transaction: &mut Transaction<'_, K, V>| transaction.clear())
    }

    /// Changes the value of a key atomically: `f` receives the current value and returns the new one (`None` removes
    /// the entry). Returns the new value.
    ///
    /// If `f` panics, or the process dies inside, nothing has changed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// stock.update("apples", |n| Some(n.unwrap_or(0) + 1))?;
    /// assert_eq!(stock.update("apples", |n| n.filter(|n| *n > 1))?, None); // removed
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update<Q: Serialize + ?Sized>(&self, key: &Q, f: impl FnOnce(Option<V>) -> Option<V>) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| {
            let new = f(transaction.get(key)?);
            match &new {
                Some(value) => transaction.put(key, value)?,
                None => transaction.delete(key).map(drop)?,
            }
            Ok(new)
        })
    }

    /// Sets or removes the value of a key if it is what is expected (`None`: it does not exist). Values are compared as
    /// bytes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::create(&store, "stock")?;
    /// # stock.insert("apples", &3)?;
    /// # stock.insert("pears", &5)?;
    /// assert!(stock.compare_exchange("apples", Some(&3), Some(&4))?);
    /// assert!(!stock.compare_exchange("apples", Some(&3), Some(&5))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compare_exchange<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.compare_exchange(key, expected, new))
    }

    /// Runs `f` as a transaction. All its changes take effect if it returns `Ok`, and none if it fails, panics or its
    /// process dies.
    ///
    /// Blocks while another writer is active, and blocks other writers. Inside `f`, change this map through the
    /// transaction; writing through the map itself is an error. Processes that nest transactions on two maps must
    /// take them in the same order, or they deadlock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let accounts = coframe::SharedMap::<String, i64>::create(&store, "accounts")?;
    /// accounts.insert("a", &10)?;
    /// accounts.transaction(|t| {
    ///     let amount = t.get("a")?.unwrap_or(0);
    ///     t.insert("a", &0)?;
    ///     t.insert("b", &amount)?;
    ///     Ok::<_, coframe::Error>(())
    /// })?;
    /// assert_eq!(accounts.get("b")?, Some(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transaction<R, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut Transaction<'_, K, V>) -> Result<R, E>,
    ) -> Result<R, E> {
        let environment = self.lease.environment()?;
        environment.write(|txn, lmdb| {
            let mut transaction = Transaction::new(Arc::clone(&self.lease), lmdb.entries, txn);
            let result = f(&mut transaction);
            (transaction.into_inner(), result)
        })
    }
}
