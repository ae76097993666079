//! The shared dict: strings to bytes. What keys and values are in Python is documented in python/coframe/_dict.py.
#![expect(unsafe_code, reason = "a Python object refers to a transaction that lives on the stack")]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops,
    ptr::NonNull,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use coframe::map::{MapHandle, Snapshot};
use pyo3::{prelude::*, types::PyBytes};

use crate::{
    detach::detached,
    error::{Failure, Result},
    store::Store,
};

/// Entries that are read at once.
const PAGE: usize = 64;

type Entry = (String, Option<Vec<u8>>);
type Inner<'a> = coframe::map::Transaction<'a, String, Vec<u8>>;
type Range = (ops::Bound<String>, ops::Bound<String>);

/// A map from strings to bytes that processes share.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Dict {
    dict: coframe::SharedMap<String, Vec<u8>>,
}

#[pymethods]
impl Dict {
    /// `how` is `"open_or_create"`, or `"handle"` with its text as `name`.
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str) -> Result<Self> {
        let dict = match (how, store) {
            ("open_or_create", Some(store)) => detached(py, || coframe::SharedMap::open_or_create(&store.store, name)),
            _ => detached(py, || coframe::SharedMap::from_handle(&name.parse::<MapHandle>()?)),
        };
        Ok(Self { dict: dict? })
    }

    #[getter]
    fn handle(&self) -> String {
        self.dict.handle().to_string()
    }

    fn get<'py>(&self, py: Python<'py>, key: &str) -> Result<Option<Bound<'py, PyBytes>>> {
        let value = detached(py, || self.dict.get(key))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    fn contains(&self, py: Python<'_>, key: &str) -> Result<bool> {
        detached(py, || self.dict.contains_key(key))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(detached(py, || self.dict.len())?)
    }

    /// Does not read the value that it replaces.
    fn put(&self, py: Python<'_>, key: &str, value: Vec<u8>) -> Result<()> {
        detached(py, || self.dict.put(key, &value))
    }

    /// False when there was none. Does not read the value.
    fn delete(&self, py: Python<'_>, key: &str) -> Result<bool> {
        detached(py, || self.dict.delete(key))
    }

    /// Returns the value that it removes.
    fn remove<'py>(&self, py: Python<'py>, key: &str) -> Result<Option<Bound<'py, PyBytes>>> {
        let value = detached(py, || self.dict.remove(key))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    /// Removes the first entry, atomically.
    fn pop_first<'py>(&self, py: Python<'py>) -> Result<Option<(String, Bound<'py, PyBytes>)>> {
        let first = detached(py, || {
            self.dict.transaction(|entries| {
                let first = entries.first_key_value()?;
                if let Some((key, _)) = &first {
                    entries.delete(key)?;
                }
                Ok::<_, coframe::Error>(first)
            })
        })?;
        Ok(first.map(|(key, value)| (key, PyBytes::new(py, &value))))
    }

    fn clear(&self, py: Python<'_>) -> Result<()> {
        detached(py, || self.dict.clear())
    }

    /// The dict as it is now.
    fn snapshot(&self, py: Python<'_>) -> Result<DictSnapshot> {
        Ok(DictSnapshot { snapshot: Mutex::new(Some(detached(py, || self.dict.snapshot())?)) })
    }

    /// Changes the value of a key atomically: `change` gets its bytes or `None`, and returns bytes, or `None` to remove it.
    fn update<'py>(&self, py: Python<'py>, key: &str, change: Py<PyAny>) -> Result<Option<Bound<'py, PyBytes>>> {
        let mut raised = None;
        let value = detached(py, || {
            self.dict.update(key, |old| {
                let result = Python::attach(|py| {
                    let old_bytes = old.as_ref().map(|old| PyBytes::new(py, old));
                    change.call1(py, (old_bytes,))?.extract::<Option<Vec<u8>>>(py)
                });
                result.unwrap_or_else(|error| {
                    raised = Some(error);
                    old
                })
            })
        })?;
        match raised {
            Some(error) => Err(error.into()),
            None => Ok(value.map(|value| PyBytes::new(py, &value))),
        }
    }

    /// Calls `change` with a [`DictTransaction`], which is committed if it returns, and dropped if it raises.
    fn transaction(&self, py: Python<'_>, change: Py<PyAny>) -> Result<Py<PyAny>> {
        detached(py, || {
            self.dict.transaction(|transaction| {
                let running = Running::start(transaction);
                let result = Python::attach(|py| change.call1(py, (DictTransaction { number: running.number },)));
                drop(running);
                result.map_err(Failure::from)
            })
        })
    }
}

/// One state of a dict.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct DictSnapshot {
    /// `None` once it was closed.
    snapshot: Mutex<Option<Snapshot<String, Vec<u8>>>>,
}

impl DictSnapshot {
    fn lock(&self) -> MutexGuard<'_, Option<Snapshot<String, Vec<u8>>>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<R: Send>(
        &self,
        py: Python<'_>,
        read: impl FnOnce(&Snapshot<String, Vec<u8>>) -> coframe::Result<R> + Send,
    ) -> Result<R> {
        let closed = || pyo3::exceptions::PyValueError::new_err("this snapshot was closed; take a new one");
        detached(py, || self.lock().as_ref().map(read).ok_or_else(|| Failure::from(closed()))?.map_err(Failure::from))
    }
}

#[pymethods]
impl DictSnapshot {
    fn get<'py>(&self, py: Python<'py>, key: &str) -> Result<Option<Bound<'py, PyBytes>>> {
        let value = self.read(py, |snapshot| snapshot.get(key))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    fn contains(&self, py: Python<'_>, key: &str) -> Result<bool> {
        self.read(py, |snapshot| snapshot.contains_key(key))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.read(py, Snapshot::len)?)
    }

    /// Some entries from `start` (or after it) to `stop`, in the order of keys, with their values or `None`. An empty list
    /// is the end.
    fn page<'py>(
        &self,
        py: Python<'py>,
        start: Option<String>,
        is_after: bool,
        stop: Option<String>,
        values: bool,
    ) -> Result<Vec<(String, Option<Bound<'py, PyBytes>>)>> {
        let range = range(start, is_after, stop);
        let entries = self.read(py, |snapshot| entries!(snapshot, range, values))?;
        Ok(page(py, entries))
    }

    /// Frees the pages that it keeps. Nothing can be read after that.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.lock().take()));
    }
}

fn range(start: Option<String>, is_after: bool, stop: Option<String>) -> Range {
    let start = start.map_or(ops::Bound::Unbounded, |key| {
        if is_after { ops::Bound::Excluded(key) } else { ops::Bound::Included(key) }
    });
    (start, stop.map_or(ops::Bound::Unbounded, ops::Bound::Excluded))
}

/// The first entries of a snapshot or a transaction, which have these methods without a trait for them.
macro_rules! entries {
    ($reads:ident, $range:ident, $values:ident) => {
        if $values {
            collect($reads.range::<String>($range)?, |(key, value)| (key, Some(value)))
        } else {
            collect($reads.keys_in::<String>($range)?, |key| (key, None))
        }
    };
}
use entries;

fn collect<T>(
    found: impl Iterator<Item = coframe::Result<T>>,
    entry: impl Fn(T) -> Entry,
) -> coframe::Result<Vec<Entry>> {
    found.take(PAGE).map(|found| found.map(&entry)).collect()
}

fn page(py: Python<'_>, entries: Vec<Entry>) -> Vec<(String, Option<Bound<'_, PyBytes>>)> {
    entries.into_iter().map(|(key, value)| (key, value.map(|value| PyBytes::new(py, &value)))).collect()
}

thread_local! {
    /// The transactions that calls of this thread are inside of, by their numbers; one that is being used is missing.
    static RUNNING: RefCell<BTreeMap<u64, NonNull<()>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A transaction that Python can use while this lives.
struct Running<'t, 'a> {
    number: u64,
    /// Borrowed for as long: nothing else uses it.
    _transaction: std::marker::PhantomData<&'t mut Inner<'a>>,
}

impl<'t, 'a> Running<'t, 'a> {
    fn start(transaction: &'t mut Inner<'a>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        RUNNING.with_borrow_mut(|running| running.insert(number, NonNull::from(transaction).cast()));
        Self { number, _transaction: std::marker::PhantomData }
    }
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| running.remove(&self.number));
    }
}

/// A transaction on a dict, inside of the call that it was made for.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct DictTransaction {
    number: u64,
}

impl DictTransaction {
    fn with<R>(&self, call: impl FnOnce(&mut Inner<'_>) -> coframe::Result<R>) -> Result<R> {
        let Some(pointer) = RUNNING.with_borrow_mut(|running| running.remove(&self.number)) else {
            let text = "this transaction has ended, or belongs to another thread; use it in the function that it was passed to";
            return Err(pyo3::exceptions::PyValueError::new_err(text).into());
        };
        // SAFETY: `Running` put the pointer there, which mutably borrows the transaction and removes the pointer before
        // that borrow ends; this thread is inside of that time, since the list is its own. The pointer is not in the list
        // now, so this reference is the only one. Its lifetime is that of this call, in which the transaction lives.
        let transaction = unsafe { pointer.cast::<Inner<'_>>().as_mut() };
        let result = call(transaction);
        RUNNING.with_borrow_mut(|running| running.insert(self.number, pointer));
        result.map_err(Failure::from)
    }
}

#[pymethods]
impl DictTransaction {
    fn get<'py>(&self, py: Python<'py>, key: &str) -> Result<Option<Bound<'py, PyBytes>>> {
        let value = self.with(|transaction| transaction.get(key))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    fn contains(&self, key: &str) -> Result<bool> {
        self.with(|transaction| transaction.contains_key(key))
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.with(|transaction| transaction.len())?)
    }

    fn put(&self, key: &str, value: Vec<u8>) -> Result<()> {
        self.with(|transaction| transaction.put(key, &value))
    }

    fn delete(&self, key: &str) -> Result<bool> {
        self.with(|transaction| transaction.delete(key))
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method is for one lifetime, the closure for all"
    )]
    fn clear(&self) -> Result<()> {
        self.with(|transaction| transaction.clear())
    }

    /// As [`DictSnapshot::page`], of the state that this transaction has made.
    fn page<'py>(
        &self,
        py: Python<'py>,
        start: Option<String>,
        is_after: bool,
        stop: Option<String>,
        values: bool,
    ) -> Result<Vec<(String, Option<Bound<'py, PyBytes>>)>> {
        let range = range(start, is_after, stop);
        let entries = self.with(|transaction| entries!(transaction, range, values))?;
        Ok(page(py, entries))
    }
}
