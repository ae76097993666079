//! Locks that a thread of Python holds between two calls.
//!
//! A guard belongs to its thread: the kernel takes a robust mutex back from the thread that has it. So guards lie in the
//! thread's own storage, under the handle of their cell.

use std::{cell::RefCell, collections::HashMap, process};

use pyo3::prelude::*;

use crate::error::Result;

/// A held lock, with the values that it guards.
pub(crate) trait Held {
    fn get(&self, py: Python<'_>) -> PyResult<Py<PyAny>>;
    fn set(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()>;
    fn clear_poison(&mut self);
}

/// The process that took a lock, since a forked child gets a copy of all this, and its guard.
type Entry = (u32, Box<dyn Held>);

thread_local! {
    /// By the handle of the cell.
    static HELD: RefCell<HashMap<String, Entry>> = RefCell::default();
}

pub(crate) fn put(cell: &str, held: Box<dyn Held>) {
    HELD.with_borrow_mut(|all| all.insert(cell.to_owned(), (process::id(), held)));
}

/// Calls `with` on the lock of a cell if this thread holds it.
pub(crate) fn with<R>(cell: &str, with: impl FnOnce(&mut dyn Held) -> R) -> Option<R> {
    HELD.with_borrow_mut(|all| {
        let (owner, held) = all.get_mut(cell)?;
        (*owner == process::id()).then(|| with(held.as_mut()))
    })
}

pub(crate) fn is_held(cell: &str) -> bool {
    with(cell, |_| ()).is_some()
}

/// Lets go of the lock of a cell; false when this thread does not hold it.
pub(crate) fn release(cell: &str) -> bool {
    let is_held = is_held(cell);
    // A parent's guard in a forked child goes as well: dropping it does nothing there.
    let guard = HELD.with_borrow_mut(|all| all.remove(cell));
    drop(guard);
    is_held
}

/// Reads or changes under the lock: the one that this thread holds, or one for this call.
pub(crate) fn locked<R>(
    cell: &str,
    acquire: impl FnOnce() -> Result<()>,
    call: impl FnOnce(&mut dyn Held) -> PyResult<R>,
) -> Result<R> {
    let held_before = is_held(cell);
    if !held_before {
        acquire()?;
    }
    let result = with(cell, call);
    if !held_before {
        release(cell);
    }
    match result {
        Some(result) => Ok(result?),
        None => Err(Python::attach(|py| {
            crate::error::exception(py, "InvalidError", "the lock of the cell went away in the middle of a call")
        })
        .into()),
    }
}
