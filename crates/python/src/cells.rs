//! Cells: the native part of Python's `Counter`, `Value`, `Array`, `Lock`, `Event`, `Barrier` and `Semaphore`.

use std::{
    process,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coframe::sync::{self, CellHandle, Permit};
use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};

use crate::{
    error::{Result, exception},
    held,
    plain::{self, Locked, Way},
    store::Store,
    wait::{detached, limit},
};

/// Calls `with` on how a cell is come by: `how` is `"create"`, `"open"`, or `"handle"` with its text as
/// `name`.
fn come_by<R: Send>(
    py: Python<'_>,
    how: &str,
    store: Option<&Store>,
    name: &str,
    with: impl FnOnce(Way<'_>) -> Result<R> + Send,
) -> Result<R> {
    let store = store.map(|store| &store.store);
    match (how, store) {
        ("create", Some(store)) => detached(py, || with(Way::Create(store, name))),
        ("open", Some(store)) => detached(py, || with(Way::Open(store, name))),
        _ => detached(py, || with(Way::Handle(&name.parse::<CellHandle>()?))),
    }
}

/// A lock, a value under a lock, or an array under a lock.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct LockedCell {
    cell: Arc<dyn Locked>,
    handle: String,
}

#[pymethods]
impl LockedCell {
    /// `kind`: "lock", or Rust's name of a number; `len`: how many of them, `None` for a value.
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
        let cell = come_by(py, how, store, name, |way| match len {
            Some(len) => plain::array(kind, way, len).transpose(),
            // Attached again for the conversion of the first value only.
            None => Python::attach(|py| plain::value(kind, way, initial.as_ref().map(|i| i.bind(py)))).transpose(),
        })?;
        let unknown = || exception(py, "InvalidError", &format!("a cell of `{kind}`: expected a type of numbers"));
        let cell: Arc<dyn Locked> = cell.ok_or_else(unknown)?.into();
        Ok(Self { handle: cell.handle(), cell })
    }

    #[getter]
    fn handle(&self) -> &str {
        &self.handle
    }

    fn __len__(&self) -> usize {
        self.cell.len()
    }

    /// Takes the lock for this thread; false when the time is over. Ctrl-C ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> Result<bool> {
        let is_taken = detached(py, || self.cell.lock(&self.handle, limit(timeout).unwrap_or(Duration::MAX)))?;
        if is_taken {
            self.keep_unless_raised(py)?;
        }
        Ok(is_taken)
    }

    /// Takes the lock though its owner died inside, and calls the values sound.
    fn recover(&self, py: Python<'_>) -> Result<()> {
        detached(py, || self.cell.lock_poisoned(&self.handle))?;
        self.keep_unless_raised(py)?;
        held::with(&self.handle, |held| held.clear_poison());
        Ok(())
    }

    /// False when this thread does not hold it.
    fn release(&self) -> bool {
        held::release(&self.handle)
    }

    fn is_held(&self) -> bool {
        held::is_held(&self.handle)
    }

    fn get(&self, py: Python<'_>) -> Result<Py<PyAny>> {
        held::locked(&self.handle, || self.acquire(py, None).map(drop), |held| held.get(py))
    }

    fn set(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> Result<()> {
        let value = self.cell.plain(value)?;
        held::locked(&self.handle, || self.acquire(py, None).map(drop), |held| held.set(&value))
    }

    /// The elements of an array, for numpy; writable, and alive for as long as what numpy makes of them.
    fn elements(&self, typestr: String) -> Elements {
        Elements { cell: self.cell.clone(), typestr }
    }
}

impl LockedCell {
    /// At the end of a wait: gives the lock back when a signal handler raises, since its caller will not know of it.
    fn keep_unless_raised(&self, py: Python<'_>) -> Result<()> {
        py.check_signals().inspect_err(|_| {
            held::release(&self.handle);
        })?;
        Ok(())
    }
}

/// The elements of an array in shared memory, which numpy sees through `__array_interface__`.
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
        let cell = come_by(py, how, store, name, |way| {
            Ok(match way {
                Way::Create(store, name) => sync::Counter::create(store, name)?,
                Way::Open(store, name) => sync::Counter::open(store, name)?,
                Way::Handle(handle) => sync::Counter::from_handle(handle)?,
            })
        })?;
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

/// A flag that processes wait for.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Event {
    cell: sync::Event,
}

#[pymethods]
impl Event {
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str) -> Result<Self> {
        let cell = come_by(py, how, store, name, |way| {
            Ok(match way {
                Way::Create(store, name) => sync::Event::create(store, name)?,
                Way::Open(store, name) => sync::Event::open(store, name)?,
                Way::Handle(handle) => sync::Event::from_handle(handle)?,
            })
        })?;
        Ok(Self { cell })
    }

    #[getter]
    fn handle(&self) -> String {
        self.cell.handle().to_string()
    }

    fn set(&self) {
        self.cell.set();
    }

    fn clear(&self) {
        self.cell.clear();
    }

    fn is_set(&self) -> bool {
        self.cell.is_set()
    }

    /// False when the time is over. Ctrl-C ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> Result<bool> {
        detached(py, || match limit(timeout) {
            Some(limit) => self.cell.wait_timeout(limit),
            None => self.cell.wait().map(|()| true),
        })
    }
}

/// A point that a number of processes reach together.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Barrier {
    cell: sync::Barrier,
}

#[pymethods]
impl Barrier {
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str, parties: usize) -> Result<Self> {
        let cell = come_by(py, how, store, name, |way| {
            Ok(match way {
                Way::Create(store, name) => sync::Barrier::create(store, name, parties)?,
                Way::Open(store, name) => sync::Barrier::open(store, name)?,
                Way::Handle(handle) => sync::Barrier::from_handle(handle)?,
            })
        })?;
        Ok(Self { cell })
    }

    #[getter]
    fn handle(&self) -> String {
        self.cell.handle().to_string()
    }

    #[getter]
    fn parties(&self) -> usize {
        self.cell.parties()
    }

    /// Waits for the others; true for the one who came last. Too late, or interrupted, the barrier breaks for all.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> Result<bool> {
        detached(py, || match limit(timeout) {
            Some(limit) => self.cell.wait_timeout(limit),
            None => self.cell.wait(),
        })
    }

    fn reset(&self, py: Python<'_>) -> Result<()> {
        detached(py, || self.cell.reset())
    }
}

self_cell::self_cell! {
    struct HeldPermit {
        owner: sync::Semaphore,
        #[covariant]
        dependent: Permit,
    }
}

/// A number of permits.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Semaphore {
    cell: sync::Semaphore,
    /// With the process that took each, since a forked child gets a copy of all this.
    held: Mutex<Vec<(u32, HeldPermit)>>,
}

#[pymethods]
impl Semaphore {
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str, permits: usize) -> Result<Self> {
        let cell = come_by(py, how, store, name, |way| {
            Ok(match way {
                Way::Create(store, name) => sync::Semaphore::create(store, name, permits)?,
                Way::Open(store, name) => sync::Semaphore::open(store, name)?,
                Way::Handle(handle) => sync::Semaphore::from_handle(handle)?,
            })
        })?;
        Ok(Self { cell, held: Mutex::default() })
    }

    #[getter]
    fn handle(&self) -> String {
        self.cell.handle().to_string()
    }

    fn available(&self, py: Python<'_>) -> Result<usize> {
        detached(py, || self.cell.available())
    }

    /// False when the time is over. Ctrl-C ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> Result<bool> {
        let limit = limit(timeout).unwrap_or(Duration::MAX);
        // Kept at the end alone: a caller whose signal handler raises will not know of it.
        let taken = detached(py, || {
            let taken = HeldPermit::try_new(self.cell.clone(), |cell| match cell.try_acquire_for(limit) {
                Ok(Some(permit)) => Ok(permit),
                Ok(None) => Err(None),
                Err(error) => Err(Some(error)),
            });
            match taken {
                Ok(permit) => Ok(Some(permit)),
                Err(None) => Ok(None),
                Err(Some(error)) => Err(error),
            }
        })?;
        let Some(permit) = taken else { return Ok(false) };
        if let Err(raised) = py.check_signals() {
            py.detach(|| drop(permit));
            return Err(raised.into());
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push((process::id(), permit));
        Ok(true)
    }

    /// False when this object does not hold a permit in this process.
    fn release(&self, py: Python<'_>) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A parent's permits in a forked child: dropping them does nothing there.
        held.retain(|(owner, _)| *owner == process::id());
        let permit = held.pop();
        drop(held);
        let had = permit.is_some();
        py.detach(|| drop(permit));
        had
    }
}
