//! Cells with a lock and counters: what Python's `Counter`, `Value`, `Array`, `Lock`, `RLock` and `Condition` use.

use std::{sync::Arc, time::Duration};

use coframe::sync;
use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};

use crate::{
    detach::{detached, limit},
    error::{Result, exception},
    held_locks,
    open_by::{obtain, open_by},
    store::Store,
    typed::{self, Locked},
};

/// A lock, a value under a lock, or an array under a lock.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct LockedCell {
    cell: Arc<dyn Locked>,
    handle: String,
    /// Whether the thread that holds the lock may take it again.
    is_reentrant: bool,
}

#[pymethods]
impl LockedCell {
    /// `kind`: "lock", "rlock", or Rust's name of a number; `len`: how many of them, `None` for a value.
    #[new]
    #[pyo3(signature = (kind, how, store, name, initial=None, len=None))]
    fn new(
        py: Python<'_>,
        kind: &str,
        how: &str,
        store: Option<&Store>,
        name: &str,
        initial: Option<Bound<'_, PyAny>>,
        len: Option<usize>,
    ) -> Result<Self> {
        let initial = initial.map(Bound::unbind);
        let is_reentrant = kind != "lock";
        let kind = if kind == "rlock" { "lock" } else { kind };
        let cell = obtain(py, how, store, name, |by| match len {
            Some(len) => typed::array(kind, by, len).transpose(),
            // Attached again for the conversion of the first value only.
            None => Python::attach(|py| typed::value(kind, by, initial.as_ref().map(|i| i.bind(py)))).transpose(),
        })?;
        let unknown = || exception(py, "InvalidError", &format!("a cell of `{kind}`: expected a type of numbers"));
        let cell: Arc<dyn Locked> = cell.ok_or_else(unknown)?.into();
        Ok(Self { handle: cell.handle(), cell, is_reentrant })
    }

    #[getter]
    fn handle(&self) -> &str {
        &self.handle
    }

    fn __len__(&self) -> usize {
        self.cell.len()
    }

    /// Takes the lock for this thread; false on a timeout. Ctrl-C ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> Result<bool> {
        if self.is_reentrant && held_locks::again(&self.handle) {
            return Ok(true);
        }
        let is_taken = detached(py, || self.cell.lock(&self.handle, limit(timeout).unwrap_or(Duration::MAX)))?;
        if is_taken {
            self.keep_unless_raised(py)?;
        }
        Ok(is_taken)
    }

    /// Releases the lock however often this thread has taken it; returns how often that was.
    fn release_all(&self) -> u32 {
        held_locks::release_all(&self.handle)
    }

    /// Takes the lock as often as it was released. Ctrl-C ends the wait.
    fn acquire_again(&self, py: Python<'_>, depth: u32) -> Result<()> {
        detached(py, || self.cell.lock(&self.handle, Duration::MAX))?;
        held_locks::set_depth(&self.handle, depth);
        Ok(())
    }

    /// Takes the lock even if its owner died while it held it, and marks the values as consistent.
    fn recover(&self, py: Python<'_>) -> Result<()> {
        detached(py, || self.cell.lock_poisoned(&self.handle))?;
        self.keep_unless_raised(py)?;
        held_locks::with(&self.handle, |held| held.clear_poison());
        Ok(())
    }

    /// False when this thread does not hold it.
    fn release(&self) -> bool {
        held_locks::release(&self.handle)
    }

    fn is_held(&self) -> bool {
        held_locks::is_held(&self.handle)
    }

    fn get(&self, py: Python<'_>) -> Result<Py<PyAny>> {
        held_locks::locked(&self.handle, || self.acquire(py, None).map(drop), |held| held.get(py))
    }

    fn set(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> Result<()> {
        let value = self.cell.plain(value)?;
        held_locks::locked(&self.handle, || self.acquire(py, None).map(drop), |held| held.set(&value))
    }

    /// The elements, for numpy and ctypes; writable, and mapped for as long as what is made of them.
    fn elements(&self, typestr: String) -> Elements {
        Elements { cell: self.cell.clone(), typestr }
    }
}

impl LockedCell {
    /// Ends a wait: releases the lock if a signal handler raises, because the caller then does not know that it holds the lock.
    fn keep_unless_raised(&self, py: Python<'_>) -> Result<()> {
        py.check_signals().inspect_err(|_| {
            held_locks::release(&self.handle);
        })?;
        Ok(())
    }
}

/// The elements of an array, or the value, in shared memory, which numpy sees through `__array_interface__`.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Elements {
    cell: Arc<dyn Locked>,
    typestr: String,
}

#[pymethods]
impl Elements {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", &self.typestr)?;
        interface.set_item("shape", PyTuple::new(py, [self.cell.len()])?)?;
        interface.set_item("data", (self.cell.address(), false))?;
        Ok(interface)
    }
}

/// A number that any process adds to.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Counter {
    cell: sync::Counter,
}

#[pymethods]
impl Counter {
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str) -> Result<Self> {
        let cell = obtain(py, how, store, name, |by| Ok(open_by!(by, sync::Counter)?))?;
        Ok(Self { cell })
    }

    #[getter]
    fn handle(&self) -> String {
        self.cell.handle().to_string()
    }

    fn add(&self, n: i64) -> i64 {
        self.cell.add(n)
    }

    fn get(&self) -> i64 {
        self.cell.get()
    }

    fn set(&self, n: i64) {
        self.cell.set(n);
    }
}
