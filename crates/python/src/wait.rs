//! Calls without the GIL, whose waits signal handlers can end.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use pyo3::prelude::*;

use crate::error::{Failure, Result, exception, unpanicked};

/// How long a wait that asks nobody goes on before signal handlers have their turn.
const SLICE: Duration = Duration::from_millis(50);

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

/// A time limit in seconds. What is too long to count, or is no number, is none.
pub(crate) fn limit(timeout: Option<f64>) -> Option<Duration> {
    timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
}

/// Calls `wait`, which has no error to end with, again and again until it says true, the time is over (false) or a signal
/// handler raises.
pub(crate) fn sliced(py: Python<'_>, timeout: Option<f64>, wait: impl Fn(Duration) -> bool + Sync) -> Result<bool> {
    let deadline = limit(timeout).and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        if py.detach(|| wait(slice)) {
            return Ok(true);
        }
        py.check_signals()?;
        if left.is_some_and(|left| left <= SLICE) {
            return Ok(false);
        }
    }
}
