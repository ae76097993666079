//! Converts errors of the library to exceptions: the classes of `coframe._errors`, which mirror its predicates.

use std::{
    error::Error as _,
    io,
    panic::{self, AssertUnwindSafe},
};

use arrow::error::ArrowError;
use coframe::Error;
use pyo3::{prelude::*, types::PyType};

/// Why a call of this module ended without a result.
pub(crate) enum Failure {
    Coframe(Error),
    Python(PyErr),
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Coframe(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Coframe(error) => Python::attach(|py| from_library(py, &error)),
        }
    }
}

fn from_library(py: Python<'_>, error: &Error) -> PyErr {
    if let Some(cause) = python_cause(py, error) {
        return cause;
    }
    let class = if error.is_not_found() {
        "NotFoundError"
    } else if error.is_superseded() {
        "SupersededError"
    } else if error.is_conflict() {
        "ConflictError"
    } else if error.is_no_space() {
        "NoSpaceError"
    } else if error.is_corrupt() {
        "CorruptError"
    } else if error.is_unsupported() {
        "UnsupportedError"
    } else if error.is_untrusted() {
        "UntrustedError"
    } else if error.is_busy() {
        "BusyError"
    } else if error.is_would_copy() {
        "WouldCopyError"
    } else if error.is_invalid_argument() {
        "InvalidError"
    } else if error.is_poisoned() {
        "PoisonedError"
    } else if error.is_barrier_broken() {
        "BrokenError"
    } else if error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>) {
        "SystemCallError"
    } else {
        "Error"
    };
    // Its Debug form is the message followed by its sources.
    let message = IN_PYTHON.iter().fold(format!("{error:?}"), |text, (rust, python)| text.replace(rust, python));
    exception(py, class, &message)
}

/// What the library's messages advise in the words of Rust, and what that is in Python.
const IN_PYTHON: [(&str, &str); 5] = [
    (
        "take it with `lock_poisoned`, repair the value and call `clear_poison`",
        "call `.recover()`, repair the value, and `.release()` it",
    ),
    ("drop the first guard before", "release it before, or use what is held"),
    (
        "change it through the transaction",
        "return the new value from the function of `apply`, or write to what the function of `transaction` is given",
    ),
    ("a key of `String`", "a key"),
    (", as `Frame::handle` writes it", ", as the `handle` of a frame is"),
];

/// An exception of the package, for what this module finds by itself.
pub(crate) fn exception(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let found = || py.import("coframe._errors")?.getattr(class)?.cast_into::<PyType>().map_err(PyErr::from);
    match found() {
        Ok(class) => PyErr::from_type(class, message.to_owned()),
        Err(error) => error,
    }
}

/// The exception of Python code that the library called, such as the source of a table.
fn python_cause(py: Python<'_>, error: &Error) -> Option<PyErr> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<PyErr>() {
            return Some(cause.clone_ref(py));
        }
        source = cause.source();
    }
    None
}

/// An exception on its way through a reader of record batches.
pub(crate) fn through_arrow(error: PyErr) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}

/// Calls `call`; the text of a panic in it is its error, since a panic crosses Python as no `Exception`.
pub(crate) fn unpanicked<R>(call: impl FnOnce() -> R) -> std::result::Result<R, String> {
    panic::catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("coframe has a defect, please report it: {}", text.unwrap_or("a panic without a message"))
    })
}
