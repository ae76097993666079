//! Cells at which processes wait for each other: what Python's `Event`, `Condition`, `Queue`, `Barrier` and `Semaphore` use.

use std::time::Duration;

use coframe::sync;
use pyo3::prelude::*;

use crate::{
    detach::{detached, limit},
    error::{Failure, Result},
    open_by::{obtain, open_by},
    store::Store,
};

/// A flag that processes wait for, and pulses that wake those that wait now.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Event {
    cell: sync::Event,
}

#[pymethods]
impl Event {
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str) -> Result<Self> {
        let cell = obtain(py, how, store, name, |by| Ok(open_by!(by, sync::Event)?))?;
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

    /// False on a timeout. Ctrl-C ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> Result<bool> {
        detached(py, || match limit(timeout) {
            Some(limit) => self.cell.wait_timeout(limit),
            None => self.cell.wait().map(|()| true),
        })
    }

    fn pulse(&self) {
        self.cell.pulse();
    }

    fn pulses(&self) -> u32 {
        self.cell.pulses()
    }

    /// Waits for a pulse after the first `since`. Returns false on a timeout. Ctrl-C ends the wait.
    #[pyo3(signature = (since, timeout=None))]
    fn wait_pulse(&self, py: Python<'_>, since: u32, timeout: Option<f64>) -> Result<bool> {
        detached(py, || self.cell.wait_pulse(since, limit(timeout)))
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
        let cell = obtain(py, how, store, name, |by| Ok(open_by!(by, sync::Barrier, parties)?))?;
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

    fn waiting(&self, py: Python<'_>) -> Result<usize> {
        detached(py, || self.cell.waiting())
    }

    fn is_broken(&self) -> bool {
        self.cell.is_broken()
    }

    /// Waits for the others; returns the order of arrival. A timeout or an interruption breaks the barrier for all. The
    /// last to arrive calls the action first.
    #[pyo3(signature = (timeout=None, action=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>, action: Option<Py<PyAny>>) -> Result<usize> {
        detached(py, || match action {
            None => Ok(self.cell.arrive(limit(timeout))?),
            Some(action) => self
                .cell
                .arrive_with(limit(timeout), || Python::attach(|py| action.call0(py).map(drop)).map_err(Failure::from)),
        })
    }

    fn reset(&self, py: Python<'_>) -> Result<()> {
        detached(py, || self.cell.reset())
    }

    fn abort(&self, py: Python<'_>) -> Result<()> {
        detached(py, || self.cell.abort())
    }
}

/// A number of permits.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Semaphore {
    cell: sync::Semaphore,
}

#[pymethods]
impl Semaphore {
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str, permits: usize) -> Result<Self> {
        let cell = obtain(py, how, store, name, |by| Ok(open_by!(by, sync::Semaphore, permits)?))?;
        Ok(Self { cell })
    }

    #[getter]
    fn handle(&self) -> String {
        self.cell.handle().to_string()
    }

    fn available(&self, py: Python<'_>) -> Result<usize> {
        detached(py, || self.cell.available())
    }

    /// False on a timeout. Ctrl-C ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn acquire(&self, py: Python<'_>, timeout: Option<f64>) -> Result<bool> {
        let limit = limit(timeout).unwrap_or(Duration::MAX);
        let Some(permit) = detached(py, || self.cell.try_acquire_for(limit))? else { return Ok(false) };
        if let Err(raised) = py.check_signals() {
            // The caller, whose signal handler raised, will not know of its permit.
            py.detach(|| drop(permit));
            return Err(raised.into());
        }
        // The process has it until `release`, whichever object that is called on.
        permit.forget();
        Ok(true)
    }

    /// Returns a permit, or adds one when all are free; false instead of that for a bounded semaphore.
    fn release(&self, py: Python<'_>, is_bounded: bool) -> Result<bool> {
        py.detach(|| {
            if self.cell.release()? {
                return Ok(true);
            }
            if !is_bounded {
                self.cell.add_permit()?;
            }
            Ok(!is_bounded)
        })
    }
}
