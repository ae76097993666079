//! A shared map from keys to values.
//!
//! [`Dict`] is to processes what a `BTreeMap` under a lock is to threads, and what `Manager().dict()` is to Python's
//! multiprocessing, without a process that serves it. It lies in a store or session as a file of LMDB, which whoever
//! opens it maps: readers and writers do not wait for each other, and writers come one after the other.

mod codec;
mod environment;
mod lmdb;
mod reads;
mod snapshot;
mod transaction;

use std::{
    borrow::Borrow,
    fmt,
    marker::PhantomData,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};

pub use reads::{Iter, Keys};
pub use snapshot::Snapshot;
pub use transaction::Transaction;

use self::{
    codec::Codec,
    environment::{Lease, registry},
    lmdb::Lmdb,
    reads::Reads,
};
use crate::{
    error::{Error, Result},
    name::Name,
    store::{Place, Store, place_handle},
};

/// Names a dict, and opens it in another process: one line of text, as a frame's [`Handle`](crate::Handle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DictHandle(Place);

place_handle!(DictHandle, "coframe-dict:");

/// A map from keys to values that processes share, in the order of its keys.
///
/// Keys and values are of any type that serde knows, but for those that are told by what is in them (JSON values,
/// `serde(untagged)`, `serde(flatten)`), which are refused; keys have no maps inside, and take at most 511 bytes (text
/// takes 9 bytes for each 8, integers what they take in memory). Look a key up by its own type, or by a borrowed form
/// that serialises alike, as `str` for `String` does and a slice for an array does not. Values are copied in and out: what `get` returns is the
/// caller's own. The size is not fixed in advance; a full store is an [error](Error::is_no_space), and the dict is as
/// it was.
///
/// Whoever dies, a transaction is there as a whole or not at all, so there is nothing to mend and nobody to wait for:
/// the lock of a dead writer goes to the next one, and the slots of dead readers are found and used again. A *stopped*
/// writer, though, holds up all writers: [`interruptible`](crate::interruptible) sets their waits an end. (One that is
/// stopped while it begins to read holds up all who begin, and they cannot be interrupted.) Processes
/// that share a dict must be in one pid namespace, and a process can have about 120 dicts open, since each takes 1 TiB of
/// addresses. In memory, a change is there once the call returns, and costs no system
/// call to a disk; a dict on a disk waits for it.
///
/// Clones, and whatever opens the dict in this process again, share one environment. After a fork it works on in the
/// child, unless another thread of the parent was using a dict at that moment, or a [`Snapshot`] or an iterator of it was
/// alive: then each call says so. It serialises as its [handle](Dict::handle), so it goes into the arguments of a pool's tasks.
///
/// ```
/// use coframe::{Dict, Store};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::at(dir.path().join("store"))?;
/// let ages: Dict<String, u32> = Dict::create(&store, "ages")?;
/// ages.insert("Ada", &36)?;
/// ages.insert("Bob", &41)?;
/// ages.update("Ada", |age| age.map(|years| years + 1))?;
///
/// // In any process of this user:
/// let same = Dict::<String, u32>::open(&store, "ages")?;
/// assert_eq!(same.get("Ada")?, Some(37));
/// let older: Vec<(String, u32)> = same.range("B".to_owned()..)?.collect::<coframe::Result<_>>()?;
/// assert_eq!(older, [("Bob".to_owned(), 41)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dict<K, V> {
    lease: Arc<Lease>,
    handle: DictHandle,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Dict<K, V> {
    fn clone(&self) -> Self {
        Self { lease: Arc::clone(&self.lease), handle: self.handle.clone(), types: PhantomData }
    }
}

impl<K, V> Dict<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// Makes a dict.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) when the name is taken; [`is_no_space`](Error::is_no_space) when there is no
    /// room for the first 80 KiB.
    pub fn create(store: &Store, name: &str) -> Result<Self> {
        Self::make(store, name)?.ok_or_else(|| {
            let what = format!("the name `{name}` for a new dict in `{}`", store.path().display());
            Error::invalid(what, "a dict of that name is there: open it, or use `open_or_create`")
        })
    }

    fn make(store: &Store, name: &str) -> Result<Option<Self>> {
        let (name, meta) = (name.parse::<Name>()?, Codec::<K, V>::meta()?);
        let made = store.make_dict(&name, lmdb::LOCK_BYTES, |files| {
            let _registry = registry(&name)?;
            Lmdb::make(store, files, &meta)?;
            environment::gate(store, files).map(drop)
        })?;
        made.map(|files| Self::open_that(store, &name, Some(files.id))).transpose()
    }

    /// Opens a dict.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found), [`is_invalid`](Error::is_invalid) when its types are others (compared
    /// by their names, without modules), [`is_untrusted`](Error::is_untrusted) when another user could write to it.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Self::open_that(store, &name.parse()?, None)
    }

    /// Opens a dict, if it has this id.
    fn open_that(store: &Store, name: &Name, id: Option<u128>) -> Result<Self> {
        let place = |id| Place::new(store, name.clone(), id);
        let lease =
            Lease::open(store, name, |found| id.map_or(Ok(()), |id| place(id).check(&place(found.id), "dict")))?;
        let (handle, lease) = (DictHandle(place(lease.environment()?.id())), Arc::new(lease));
        let environment = lease.environment()?;
        environment.read(|txn, lmdb| {
            let meta = lmdb.meta(txn).map_err(|e| environment.error("read", e))?;
            Codec::<K, V>::check(&environment.label(), meta)
        })?;
        Ok(Self { lease, handle, types: PhantomData })
    }

    /// Opens the dict, or makes it if there is none.
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
                // Somebody removed it at once.
                Err(error) if error.is_not_found() || error.is_superseded() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The text that names this dict, and opens it in another process.
    #[must_use]
    pub fn handle(&self) -> DictHandle {
        self.handle.clone()
    }

    /// Opens the dict that a handle names.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`is_superseded`](Error::is_superseded) when another dict was made under its
    /// name.
    pub fn of_handle(handle: &DictHandle) -> Result<Self> {
        Self::open_that(&handle.0.open_store("dict")?, handle.name(), Some(handle.0.id()))
    }

    fn read<R>(&self, f: impl FnOnce(&Reads<'_, K, V>) -> Result<R>) -> Result<R> {
        let environment = self.lease.environment()?;
        environment.read(|txn, lmdb| f(&Reads::new(environment, lmdb.entries, txn)))
    }

    /// The value of a key.
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.read(|reads| reads.get(key))
    }

    /// Whether a key is there. Its value is not looked at.
    pub fn contains<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        let key = Codec::<K, V>::key(key)?;
        self.read(|reads| Ok(reads.bytes(&key)?.is_some()))
    }

    /// How many entries there are. Takes as long for many as for few.
    pub fn len(&self) -> Result<usize> {
        self.read(|reads: &Reads<'_, K, V>| reads.len())
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// One state of the dict, to read from while others write.
    pub fn snapshot(&self) -> Result<Snapshot<K, V>> {
        Snapshot::new(Arc::clone(&self.lease))
    }

    /// All entries as they are now, in the order of keys.
    pub fn entries(&self) -> Result<Iter<'static, K, V>> {
        Ok(Iter::of_own(self.snapshot()?, (Bound::Unbounded, Bound::Unbounded)))
    }

    /// All keys as they are now, in their order. Values are not read.
    pub fn keys(&self) -> Result<Keys<'static, K, V>> {
        Ok(Iter::keys_of_own(self.snapshot()?, (Bound::Unbounded, Bound::Unbounded)))
    }

    /// The keys in a range as they are now, in their order. Values are not read.
    pub fn keys_in<Q: Serialize + ?Sized>(&self, range: impl RangeBounds<Q>) -> Result<Keys<'static, K, V>>
    where
        K: Borrow<Q>,
    {
        let interval = reads::interval::<K, V, Q>(&range)?;
        Ok(Iter::keys_of_own(self.snapshot()?, interval))
    }

    /// The entries whose keys are in a range, as they are now, in the order of keys.
    pub fn range<Q: Serialize + ?Sized>(&self, range: impl RangeBounds<Q>) -> Result<Iter<'static, K, V>>
    where
        K: Borrow<Q>,
    {
        let interval = reads::interval::<K, V, Q>(&range)?;
        Ok(Iter::of_own(self.snapshot()?, interval))
    }

    /// Sets the value of a key; returns the one that it replaces. Blocks while another process or thread writes.
    ///
    /// [`put`](Self::put) does not read the old value, which is faster where it is large, and the way to overwrite one
    /// that cannot be read any more.
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
    /// # let store = coframe::Store::at(dir.path().join("store"))?;
    /// let models = coframe::Dict::<String, Vec<u8>>::create(&store, "models")?;
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

    /// Takes an entry away; returns its value.
    pub fn remove<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.remove(key))
    }

    /// Takes an entry away without a look at its value, also one that cannot be read any more. False when there was
    /// none.
    pub fn delete<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.delete(key))
    }

    /// Takes all entries away.
    pub fn clear(&self) -> Result<()> {
        self.transaction(|transaction: &mut Transaction<'_, K, V>| transaction.clear())
    }

    /// Changes the value of a key in one step: `f` gets the value that is there, and its result takes the place
    /// (`None` removes the entry). Returns what is there then.
    ///
    /// If `f` panics, or the process dies inside, nothing has changed.
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

    /// Sets or removes the value of a key if it is what is expected (`None`: not there). Values are compared as bytes.
    pub fn compare_and_swap<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        self.transaction(|transaction| transaction.compare_and_swap(key, expected, new))
    }

    /// Runs `f` as one step. Its changes are there as a whole if it returns `Ok`, and not at all if it fails, panics
    /// or dies.
    ///
    /// Blocks while anybody else writes, and holds up whoever wants to. Change this dict through the transaction
    /// alone: through the dict itself it is an error. Two processes that write to two dicts, one inside a transaction
    /// on the other, must take them in the same order, or wait for each other for ever.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::at(dir.path().join("store"))?;
    /// let accounts = coframe::Dict::<String, i64>::create(&store, "accounts")?;
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

impl<K, V> fmt::Debug for Dict<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dict").field(&self.handle.to_string()).finish()
    }
}

impl<K, V> Serialize for Dict<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle.serialize(serializer)
    }
}

impl<'de, K, V> Deserialize<'de> for Dict<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = DictHandle::deserialize(deserializer)?;
        Self::of_handle(&handle).map_err(|error| {
            #[cfg(feature = "pool")]
            crate::frame::note_opening_error(format!("{error:?}"));
            de::Error::custom(format_args!("{error:?}"))
        })
    }
}
