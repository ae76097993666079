//! Calls without the GIL, whose waits signal handlers can end.

use std::{cell::RefCell, time::Duration};

use pyo3::prelude::*;

use crate::error::{Failure, Result, exception, unpanicked};

thread_local! {
    /// What a signal handler raised while a call of this thread waited.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Calls the library. While it waits for others, signal handlers have their turn; what they raise, `KeyboardInterrupt`
/// for one, ends the wait and is what the call ends with.
pub(crate) fn detached<R: Send, E: Into<Failure> + Send>(
    py: Python<'_>,
    call: impl FnOnce() -> std::result::Result<R, E> + Send,
) -> Result<R> {
    let result = py.detach(|| unpanicked(|| coframe::interruptible(is_interrupted, call)));
    match (RAISED.take(), result) {
        (Some(raised), _) => Err(raised.into()),
        (None, Ok(result)) => result.map_err(Into::into),
        (None, Err(panic)) => Err(exception(py, "Error", &panic).into()),
    }
}

fn is_interrupted() -> bool {
    if RAISED.with_borrow(Option::is_some) {
        return true;
    }
    // Nothing where the interpreter is ending.
    let Some(raised) = Python::try_attach(|py| py.check_signals().err()).flatten() else { return false };
    RAISED.set(Some(raised));
    true
}

/// A time limit in seconds. A number too large to count, and NaN, mean unlimited.
pub(crate) fn limit(timeout: Option<f64>) -> Option<Duration> {
    timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
}
