//! The native part of the Python package coframe: what touches the library, and what crosses by Arrow's C data interface.
//!
//! Policy (how tables are converted, what an index is, which processes share) is in the Python sources. Nothing
//! here is public for users; python/coframe/_coframe.pyi lists it for type checkers.

#![deny(unsafe_code)]

mod addresses;
mod atomic;
mod cast;
mod cells;
mod detach;
mod dict;
mod error;
mod frame;
mod from_python;
mod held_locks;
mod meeting;
mod numpy;
mod open_by;
mod sorted_keys;
mod store;
mod to_python;
mod typed;

use pyo3::prelude::*;

#[pymodule]
mod _coframe {
    #[pymodule_export]
    use crate::{
        addresses::addresses,
        atomic::{AtomicArray, Flag, Latest},
        cells::{Counter, Elements, LockedCell},
        dict::{Dict, DictSnapshot, DictTransaction},
        frame::{Frame, Private, PrivateValues, Values, release_maps},
        meeting::{Barrier, Event, Semaphore},
        numpy::Columns,
        store::{Session, Store, end_dead_sessions},
        to_python::Batch,
    };
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name of it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
