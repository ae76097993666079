//! Reading a map: the same in a snapshot and inside a transaction.

use std::{
    borrow::Borrow,
    collections::VecDeque,
    marker::PhantomData,
    ops::{Bound, RangeBounds},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    codec::Codec,
    environment::Environment,
    lmdb::Entries,
    state::{ReadTxn, State},
};
use crate::error::{Error, Result};

/// Entries that an iterator reads in one step.
const AHEAD: usize = 64;

type Interval = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Turns the bytes of an entry into an item of an iterator.
type Decode<K, V, T> = fn(&Reads<'_, K, V>, (&[u8], &[u8])) -> Result<T>;

/// One state of a map, in a read or a write transaction.
pub(super) struct Reads<'a, K, V> {
    pub(super) environment: &'a Environment,
    pub(super) entries: Entries,
    pub(super) txn: &'a ReadTxn<'a>,
    pub(super) types: PhantomData<fn() -> (K, V)>,
}

impl<'a, K, V> Reads<'a, K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(super) fn new(environment: &'a Environment, entries: Entries, txn: &'a ReadTxn<'a>) -> Self {
        Self { environment, entries, txn, types: PhantomData }
    }

    pub(super) fn from_state(state: &'a State) -> Result<Self> {
        let (environment, entries, txn) = state.parts()?;
        Ok(Self::new(environment, entries, txn))
    }

    fn failed(&self) -> impl Fn(heed::Error) -> Error + use<'a, K, V> {
        let environment = self.environment;
        move |e| environment.error("read", e)
    }

    /// Returns the bytes of a key's value.
    pub(super) fn bytes(&self, key: &[u8]) -> Result<Option<&'a [u8]>> {
        self.entries.get(self.txn, key).map_err(self.failed())
    }

    /// Returns the value of a key that is already encoded.
    pub(super) fn value(&self, key: &[u8]) -> Result<Option<V>> {
        let label = || self.environment.label();
        self.bytes(key)?.map(|bytes| Codec::<K, V>::value_of(label, bytes)).transpose()
    }

    pub(super) fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.value(&Codec::<K, V>::key(key)?)
    }

    pub(super) fn len(&self) -> Result<usize> {
        let len = self.entries.len(self.txn).map_err(self.failed())?;
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    pub(super) fn first(&self) -> Result<Option<(K, V)>> {
        self.entries.first(self.txn).map_err(self.failed())?.map(|entry| self.decode(entry)).transpose()
    }

    pub(super) fn last(&self) -> Result<Option<(K, V)>> {
        self.entries.last(self.txn).map_err(self.failed())?.map(|entry| self.decode(entry)).transpose()
    }

    fn decode(&self, (key, value): (&[u8], &[u8])) -> Result<(K, V)> {
        let label = || self.environment.label();
        Ok((Codec::<K, V>::key_of(label, key)?, Codec::<K, V>::value_of(label, value)?))
    }

    fn decode_key(&self, (key, _): (&[u8], &[u8])) -> Result<K> {
        Codec::<K, V>::key_of(|| self.environment.label(), key)
    }

    /// Returns the next entries of an interval, which then starts after them. `None` at its end.
    fn take<T>(&self, interval: &mut Interval, decode: Decode<K, V, T>) -> Result<VecDeque<Result<T>>> {
        let (from, to) = (as_slice(&interval.0), as_slice(&interval.1));
        let mut found = VecDeque::new();
        let mut last = None;
        for entry in self.entries.range(self.txn, &(from, to)).map_err(self.failed())?.take(AHEAD) {
            let entry = entry.map_err(self.failed())?;
            last = Some(entry.0.to_vec());
            found.push_back(decode(self, entry));
        }
        if let Some(last) = last {
            interval.0 = Bound::Excluded(last);
        }
        Ok(found)
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Returns the bounds of a range as bytes.
pub(super) fn interval<K, V, Q>(range: &impl RangeBounds<Q>) -> Result<Interval>
where
    K: Serialize + DeserializeOwned + Borrow<Q>,
    V: Serialize + DeserializeOwned,
    Q: Serialize + ?Sized,
{
    let bytes = |bound: Bound<&Q>| {
        Ok::<_, Error>(match bound {
            Bound::Included(key) => Bound::Included(Codec::<K, V>::key(key)?),
            Bound::Excluded(key) => Bound::Excluded(Codec::<K, V>::key(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    };
    Ok((bytes(range.start_bound())?, bytes(range.end_bound())?))
}

/// Entries of one state of a map, in the order of keys. It holds at most some tens of them in memory.
///
/// If an entry cannot be read, its item is an error. An error of the map ends the iterator.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
/// # stock.put("pears", &1)?;
/// # stock.put("apples", &3)?;
/// let all = stock.iter()?.collect::<coframe::Result<Vec<_>>>()?;
/// assert_eq!(all, [("apples".to_owned(), 3), ("pears".to_owned(), 1)]); // in the order of keys
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an iterator does nothing until it is asked"]
pub struct Iter<'a, K, V, T = (K, V)> {
    source: StateRef<'a, K, V>,
    interval: Interval,
    decode: Decode<K, V, T>,
    ahead: VecDeque<Result<T>>,
    is_done: bool,
}

/// The keys of one state of a map, in their order. Like [`Iter`], without the values.
pub type Keys<'a, K, V> = Iter<'a, K, V, K>;

/// The state that is read: a borrowed one, or one that the iterator owns.
pub(super) enum StateRef<'a, K, V> {
    Borrowed(Reads<'a, K, V>),
    Owned(State),
}

impl<'a, K, V, T> Iter<'a, K, V, T> {
    fn new(source: StateRef<'a, K, V>, interval: Interval, decode: Decode<K, V, T>) -> Self {
        Self { source, interval, decode, ahead: VecDeque::new(), is_done: false }
    }
}

/// Decodes complete entries.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method is for one lifetime, and `Decode` for every one"
)]
impl<'a, K, V> Iter<'a, K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(super) fn entries(source: StateRef<'a, K, V>, interval: Interval) -> Self {
        Self::new(source, interval, |reads, entry| reads.decode(entry))
    }
}

/// Decodes keys only.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method is for one lifetime, and `Decode` for every one"
)]
impl<'a, K, V> Keys<'a, K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(super) fn keys(source: StateRef<'a, K, V>, interval: Interval) -> Self {
        Self::new(source, interval, |reads, entry| reads.decode_key(entry))
    }
}

impl<K, V, T> Iterator for Iter<'_, K, V, T>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ahead.is_empty() && !self.is_done {
            let more = match &self.source {
                StateRef::Borrowed(reads) => reads.take(&mut self.interval, self.decode),
                StateRef::Owned(state) => {
                    Reads::from_state(state).and_then(|reads| reads.take(&mut self.interval, self.decode))
                }
            };
            match more {
                Ok(more) => (self.is_done, self.ahead) = (more.len() < AHEAD, more),
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        }
        self.ahead.pop_front()
    }
}

/// Implements the reading methods of a type that has `reads(&self) -> Result<Reads<'_, K, V>>`.
macro_rules! reading {
    ($type:ty) => {
        impl<K, V> $type
        where
            K: serde::Serialize + serde::de::DeserializeOwned,
            V: serde::Serialize + serde::de::DeserializeOwned,
        {
            /// Returns the value of a key.
            pub fn get<Q: serde::Serialize + ?Sized>(&self, key: &Q) -> crate::error::Result<Option<V>>
            where
                K: std::borrow::Borrow<Q>,
            {
                self.reads()?.get(key)
            }

            /// Returns whether the key exists. Does not decode its value.
            pub fn contains_key<Q: serde::Serialize + ?Sized>(&self, key: &Q) -> crate::error::Result<bool>
            where
                K: std::borrow::Borrow<Q>,
            {
                let key = super::codec::Codec::<K, V>::key(key)?;
                Ok(self.reads()?.bytes(&key)?.is_some())
            }

            /// Returns the number of entries, in constant time.
            pub fn len(&self) -> crate::error::Result<usize> {
                self.reads()?.len()
            }

            /// Returns whether the map is empty.
            pub fn is_empty(&self) -> crate::error::Result<bool> {
                self.len().map(|len| len == 0)
            }

            /// Returns the entry with the smallest key.
            ///
            /// ```
            /// # let dir = tempfile::tempdir_in("/dev/shm")?;
            /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
            /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
            /// # stock.put("pears", &1)?;
            /// # stock.put("apples", &3)?;
            /// assert_eq!(stock.snapshot()?.first_key_value()?, Some(("apples".to_owned(), 3)));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn first_key_value(&self) -> crate::error::Result<Option<(K, V)>> {
                self.reads()?.first()
            }

            /// Returns the entry with the largest key.
            pub fn last_key_value(&self) -> crate::error::Result<Option<(K, V)>> {
                self.reads()?.last()
            }

            /// Returns all entries, in the order of keys.
            #[expect(
                clippy::iter_not_returning_iterator,
                reason = "a state of the map is opened first, which can fail"
            )]
            pub fn iter(&self) -> crate::error::Result<super::Iter<'_, K, V>> {
                let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                Ok(super::Iter::entries(super::reads::StateRef::Borrowed(self.reads()?), all))
            }

            /// Returns all keys, in their order. Values are not read.
            pub fn keys(&self) -> crate::error::Result<super::Keys<'_, K, V>> {
                let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                Ok(super::Iter::keys(super::reads::StateRef::Borrowed(self.reads()?), all))
            }

            /// Returns the keys in a range, in their order. Values are not read.
            pub fn keys_in<Q: serde::Serialize + ?Sized>(
                &self,
                range: impl std::ops::RangeBounds<Q>,
            ) -> crate::error::Result<super::Keys<'_, K, V>>
            where
                K: std::borrow::Borrow<Q>,
            {
                let interval = super::reads::interval::<K, V, Q>(&range)?;
                Ok(super::Iter::keys(super::reads::StateRef::Borrowed(self.reads()?), interval))
            }

            /// Returns the entries whose keys are in a range, in the order of keys.
            ///
            /// ```
            /// # let dir = tempfile::tempdir_in("/dev/shm")?;
            /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
            /// # let stock: coframe::SharedMap<String, u32> = coframe::SharedMap::open_or_create(&store, "stock")?;
            /// # stock.put("apples", &3)?;
            /// # stock.put("kiwis", &2)?;
            /// # stock.put("pears", &1)?;
            /// let some = stock.snapshot()?.range("b".to_owned().."n".to_owned())?.collect::<coframe::Result<Vec<_>>>()?;
            /// assert_eq!(some, [("kiwis".to_owned(), 2)]);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn range<Q: serde::Serialize + ?Sized>(
                &self,
                range: impl std::ops::RangeBounds<Q>,
            ) -> crate::error::Result<super::Iter<'_, K, V>>
            where
                K: std::borrow::Borrow<Q>,
            {
                let interval = super::reads::interval::<K, V, Q>(&range)?;
                Ok(super::Iter::entries(super::reads::StateRef::Borrowed(self.reads()?), interval))
            }
        }
    };
}
pub(super) use reading;
