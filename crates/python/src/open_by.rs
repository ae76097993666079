//! How to obtain a cell: create it, open it by name, or open it by handle.

use coframe::{Store as Directory, sync::CellHandle};
use pyo3::prelude::*;

use crate::{detach::detached, error::Result, store::Store};

#[derive(Clone, Copy)]
pub(crate) enum OpenBy<'a> {
    Create(&'a Directory, &'a str),
    Open(&'a Directory, &'a str),
    Handle(&'a CellHandle),
}

/// A cell of a type that has `create` (with the arguments that follow the type), `open` and `from_handle`.
macro_rules! open_by {
    ($by:expr, $type:ty $(, $initial:expr)?) => {
        match $by {
            $crate::open_by::OpenBy::Create(store, name) => <$type>::create(store, name $(, $initial)?),
            $crate::open_by::OpenBy::Open(store, name) => <$type>::open(store, name),
            $crate::open_by::OpenBy::Handle(handle) => <$type>::from_handle(handle),
        }
    };
}
pub(crate) use open_by;

/// Calls `with` on how to obtain a cell: `how` is `"create"`, `"open"`, or `"handle"` with its text as `name`.
pub(crate) fn obtain<R: Send>(
    py: Python<'_>,
    how: &str,
    store: Option<&Store>,
    name: &str,
    with: impl FnOnce(OpenBy<'_>) -> Result<R> + Send,
) -> Result<R> {
    let store = store.map(|store| &store.store);
    match (how, store) {
        ("create", Some(store)) => detached(py, || with(OpenBy::Create(store, name))),
        ("open", Some(store)) => detached(py, || with(OpenBy::Open(store, name))),
        _ => detached(py, || with(OpenBy::Handle(&name.parse::<CellHandle>()?))),
    }
}
