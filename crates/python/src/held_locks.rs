//! Locks that a thread of Python holds between two calls.
//!
//! A guard belongs to its thread: the kernel takes a robust mutex back from the thread that has it. So guards are in
//! thread-local storage, under the handle of their cell.

use std::{cell::RefCell, collections::HashMap};

use coframe::sync::forks;
use pyo3::prelude::*;

use crate::error::Result;

/// A held lock, with the values that it guards.
pub(crate) trait Held {
    fn get(&self, py: Python<'_>) -> PyResult<Py<PyAny>>;
    fn set(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()>;
    fn clear_poison(&mut self);
}

/// A lock that this thread holds.
struct Entry {
    /// The count of forks in the process that took it: a forked child gets a copy of all this.
    forks: u32,
    /// How often the thread has taken it.
    depth: u32,
    guard: Box<dyn Held>,
}

thread_local! {
    /// By the handle of the cell.
    static HELD: RefCell<HashMap<String, Entry>> = RefCell::default();
}

pub(crate) fn put(cell: &str, held: Box<dyn Held>) {
    HELD.with_borrow_mut(|all| all.insert(cell.to_owned(), Entry { forks: forks(), depth: 1, guard: held }));
}

/// A guard that is out of the thread's storage for a call, and goes back whatever the call does.
struct Out(Option<(String, Entry)>);

impl Drop for Out {
    fn drop(&mut self) {
        if let Some((cell, entry)) = self.0.take() {
            HELD.with_borrow_mut(|all| all.insert(cell, entry));
        }
    }
}

/// Calls `with` on the lock of a cell if this thread holds it.
///
/// Python's code may run inside, finalizers for one, and ask for locks itself: the storage is not borrowed meanwhile.
pub(crate) fn with<R>(cell: &str, with: impl FnOnce(&mut dyn Held) -> R) -> Option<R> {
    if !is_held(cell) {
        return None;
    }
    let mut out = Out(HELD.with_borrow_mut(|all| all.remove_entry(cell)));
    out.0.as_mut().map(|(_, entry)| with(entry.guard.as_mut()))
}

pub(crate) fn is_held(cell: &str) -> bool {
    HELD.with_borrow(|all| all.get(cell).is_some_and(|entry| entry.forks == forks()))
}

/// Takes the lock of a cell once more; false when this thread does not hold it.
pub(crate) fn again(cell: &str) -> bool {
    let depth = depth(cell);
    set_depth(cell, depth.saturating_add(1));
    depth > 0
}

fn depth(cell: &str) -> u32 {
    HELD.with_borrow(|all| all.get(cell).filter(|entry| entry.forks == forks()).map_or(0, |entry| entry.depth))
}

/// Sets how often this thread has taken the lock of a cell, if it holds it.
pub(crate) fn set_depth(cell: &str, depth: u32) {
    HELD.with_borrow_mut(|all| {
        if let Some(entry) = all.get_mut(cell).filter(|entry| entry.forks == forks()) {
            entry.depth = depth;
        }
    });
}

/// Releases the lock of a cell once; false when this thread does not hold it.
pub(crate) fn release(cell: &str) -> bool {
    match depth(cell) {
        0 | 1 => release_all(cell) > 0,
        more => {
            set_depth(cell, more - 1);
            true
        }
    }
}

/// Releases the lock of a cell; returns how often this thread had taken it.
pub(crate) fn release_all(cell: &str) -> u32 {
    let depth = depth(cell);
    // A parent's guard in a forked child goes as well: dropping it does nothing there.
    let guard = HELD.with_borrow_mut(|all| all.remove(cell));
    drop(guard);
    depth
}

/// Releases a lock at the end of a call, even if the call panics.
struct Release<'a>(&'a str);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        release(self.0);
    }
}

/// Reads or changes under the lock: the one that this thread holds, or one for this call.
pub(crate) fn locked<R>(
    cell: &str,
    acquire: impl FnOnce() -> Result<()>,
    call: impl FnOnce(&mut dyn Held) -> PyResult<R>,
) -> Result<R> {
    let _release = if is_held(cell) {
        None
    } else {
        acquire()?;
        Some(Release(cell))
    };
    match with(cell, call) {
        Some(result) => Ok(result?),
        None => Err(Python::attach(|py| {
            crate::error::exception(py, "InvalidError", "the lock of the cell went away in the middle of a call")
        })
        .into()),
    }
}
