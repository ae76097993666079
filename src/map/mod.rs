//! A shared map from keys to values.
//!
//! [`SharedMap`] is to processes what a `BTreeMap` under a lock is to threads, and what `Manager().dict()` is to Python's
//! multiprocessing, but without a server process. It is an LMDB file in a store or session, which every process maps:
//! readers and writers do not wait for each other, and writers take turns.

mod changes;
mod codec;
mod environment;
mod handle;
mod lmdb;
mod reads;
mod snapshot;
mod state;
mod transaction;

use std::{
    borrow::Borrow,
    fmt,
    marker::PhantomData,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

pub use handle::MapHandle;
pub use reads::{Iter, Keys};
pub use snapshot::Snapshot;
pub use transaction::Transaction;

use self::{
    codec::Codec,
    environment::{Lease, registry},
    lmdb::Lmdb,
    reads::{Reads, StateRef},
    state::State,
};
use crate::{
    error::{Error, Result},
    name::Name,
    store::{Address, Store},
};

/// A map from keys to values that processes share, in the order of its keys.
///
/// Keys and values can have any serde type that does not describe itself; JSON values, `serde(untagged)` and
/// `serde(flatten)` are refused. Keys must not contain maps and may be at most 511 bytes when encoded: 9 bytes per 8 of
/// text, the in-memory size for integers. Look a key up by its type, or by a borrowed form that serialises alike, such
/// as `str` for `String` (but not a slice for an array). Values are copied in and out. The size is not fixed in
/// advance; a full store is an [error](Error::is_no_space) that leaves the map unchanged.
///
/// Transactions are atomic even if a process dies, so nothing needs repair: the lock of a dead writer passes to the
/// next writer, and the slots of dead readers are reused. A *stopped* writer blocks all writers;
/// [`interruptible`](crate::interruptible) can end their waits. A process stopped while it opens a read transaction
/// blocks all new readers, and that wait cannot be interrupted.
///
/// Processes that share a map must run in one pid namespace. A process can have about 120 maps open, because each
/// reserves 1 TiB of addresses. In memory, a change is visible when the call returns; a map on a disk also waits for
/// the disk.
///
/// Clones of a map and handles opened again in this process share one environment. A forked child can use the map,
/// unless another thread of the parent was using a map at the fork, or a [`Snapshot`] or an iterator of it was alive:
/// then each call returns an error. A map serialises as its [handle](SharedMap::handle), so it can be an argument of a
/// pool's tasks.
///
/// ```
/// use coframe::{SharedMap, Store};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let ages: SharedMap<String, u32> = SharedMap::create(&store, "ages")?;
/// ages.insert("Ada", &36)?;
/// ages.insert("Bob", &41)?;
/// ages.update("Ada", |age| age.map(|years| years + 1))?;
///
/// // In any process of this user:
/// let same = SharedMap::<String, u32>::open(&store, "ages")?;
/// assert_eq!(same.get("Ada")?, Some(37));
/// let older: Vec<(String, u32)> = same.range("B".to_owned()..)?.collect::<coframe::Result<_>>()?;
/// assert_eq!(older, [("Bob".to_owned(), 41)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedMap<K, V> {
    lease: Arc<Lease>,
    handle: MapHandle,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { lease: Arc::clone(&self.lease), handle: self.handle.clone(), types: PhantomData }
    }
}

impl<K, V> SharedMap<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// Creates a map.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// use coframe::SharedMap;
    /// let stock: SharedMap<String, u32> = SharedMap::create(&store, "stock")?;
    /// assert!(stock.is_empty()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) when the name is taken; [`is_no_space`](Error::is_no_space) when the first
    /// 80 KiB do not fit into the store.
    pub fn create(store: &Store, name: &str) -> Result<Self> {
        Self::make(store, name)?.ok_or_else(|| {
            let what = format!("the name `{name}` for a new dict in `{}`", store.path().display());
            Error::invalid(what, "a dict of that name exists: open it, or use `open_or_create`")
        })
    }

    fn make(store: &Store, name: &str) -> Result<Option<Self>> {
        let (name, meta) = (name.parse::<Name>()?, Codec::<K, V>::meta()?);
        let made = store.make_map(&name, lmdb::LOCK_BYTES, |files| {
            let _registry = registry(&name)?;
            Lmdb::make(store, files, &meta)?;
            environment::gate(store, files).map(drop)
        })?;
        made.map(|files| Self::open_that(store, &name, Some(files.id))).transpose()
    }

    /// Opens a map.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found), [`is_invalid_argument`](Error::is_invalid_argument) when its types are others (compared
    /// by their names, without modules), [`is_untrusted`](Error::is_untrusted) when another user could write to it.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Self::open_that(store, &name.parse()?, None)
    }

    /// Opens a map, if it has this id.
    fn open_that(store: &Store, name: &Name, id: Option<u128>) -> Result<Self> {
        let address = |id| Address::new(store, name.clone(), id);
        let lease =
            Lease::open(store, name, |found| id.map_or(Ok(()), |id| address(id).check(&address(found.id), "dict")))?;
        let (handle, lease) = (MapHandle(address(lease.environment()?.id())), Arc::new(lease));
        let environment = lease.environment()?;
        environment.read(|txn, lmdb| {
            let meta = lmdb.meta(txn).map_err(|e| environment.error("read", e))?;
            Codec::<K, V>::check(&environment.label(), meta)
        })?;
        Ok(Self { lease, handle, types: PhantomData })
    }

    /// Opens the map, or creates it if it does not exist.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// use coframe::SharedMap;
    /// let stock: SharedMap<String, u32> = SharedMap::open_or_create(&store, "stock")?; // in any process
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_or_create(store: &Store, name: &str) -> Result<Self> {
        loop {
            match Self::open(store, name) {
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
            match Self::make(store, name) {
                Ok(Some(dict)) => return Ok(dict),
                // Lost against another process that made it: then it can be opened.
                Ok(None) => {}
                // Another process removed it at once.
                Err(error) if error.is_not_found() || error.is_superseded() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The string that identifies this map and opens it in another process.
    #[must_use]
    pub fn handle(&self) -> MapHandle {
        self.handle.clone()
    }

    /// Opens the map of a handle.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`is_superseded`](Error::is_superseded) when another map was created under
    /// its name.
    pub fn from_handle(handle: &MapHandle) -> Result<Self> {
        Self::open_that(&handle.0.open_store("dict")?, handle.name(), Some(handle.0.id()))
    }

    fn read<R>(&self, f: impl FnOnce(&Reads<'_, K, V>) -> Result<R>) -> Result<R> {
        let environment = self.lease.environment()?;
        environment.read(|txn, lmdb| f(&Reads::new(environment, lmdb.entries, txn)))
    }

    /// The value of a key.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
    /// # stock.put("apples", &3)?;
    /// assert_eq!((stock.get("apples")?, stock.get("pears")?), (Some(3), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.read(|reads| reads.get(key))
    }

    /// Whether the key exists. Does not decode its value.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::create(&store, "stock")?;
    /// # stock.insert("apples", &3)?;
    /// # stock.insert("pears", &5)?;
    /// assert!(stock.contains_key("apples")? && !stock.contains_key("plums")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contains_key<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        let key = Codec::<K, V>::key(key)?;
        self.read(|reads| Ok(reads.bytes(&key)?.is_some()))
    }

    /// The number of entries, in constant time.
    pub fn len(&self) -> Result<usize> {
        self.read(|reads: &Reads<'_, K, V>| reads.len())
    }

    /// Whether the map is empty.
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// One state of the map, to read from while others write.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::create(&store, "stock")?;
    /// # stock.insert("apples", &3)?;
    /// # stock.insert("pears", &5)?;
    /// let snapshot = stock.snapshot()?;
    /// stock.insert("plums", &1)?;
    /// assert_eq!((snapshot.len()?, stock.len()?), (2, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Result<Snapshot<K, V>> {
        Snapshot::new(Arc::clone(&self.lease))
    }

    /// The current state, for an iterator that owns it.
    fn state(&self) -> Result<StateRef<'static, K, V>> {
        Ok(StateRef::Owned(State::new(Arc::clone(&self.lease))?))
    }

    /// All entries as they are now, in the order of keys.
    #[expect(clippy::iter_not_returning_iterator, reason = "a state of the map is opened first, which can fail")]
    pub fn iter(&self) -> Result<Iter<'static, K, V>> {
        Ok(Iter::entries(self.state()?, (Bound::Unbounded, Bound::Unbounded)))
    }

    /// All keys as they are now, in their order. Values are not read.
    pub fn keys(&self) -> Result<Keys<'static, K, V>> {
        Ok(Iter::keys(self.state()?, (Bound::Unbounded, Bound::Unbounded)))
    }

    /// The keys in a range as they are now, in their order. Values are not read.
    pub fn keys_in<Q: Serialize + ?Sized>(&self, range: impl RangeBounds<Q>) -> Result<Keys<'static, K, V>>
    where
        K: Borrow<Q>,
    {
        let interval = reads::interval::<K, V, Q>(&range)?;
        Ok(Iter::keys(self.state()?, interval))
    }

    /// The entries whose keys are in a range, as they are now, in the order of keys.
    pub fn range<Q: Serialize + ?Sized>(&self, range: impl RangeBounds<Q>) -> Result<Iter<'static, K, V>>
    where
        K: Borrow<Q>,
    {
        let interval = reads::interval::<K, V, Q>(&range)?;
        Ok(Iter::entries(self.state()?, interval))
    }
}

impl<K, V> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedMap").field(&self.handle.to_string()).finish()
    }
}

impl<K, V> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle.serialize(serializer)
    }
}

impl<'de, K, V> Deserialize<'de> for SharedMap<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = MapHandle::deserialize(deserializer)?;
        Self::from_handle(&handle).map_err(|error| {
            #[cfg(feature = "pool")]
            crate::frame::note_opening_error(format!("{error:?}"));
            de::Error::custom(format_args!("{error:?}"))
        })
    }
}
