//! The library through its public API, with real files and real processes.

mod arrow_types;
mod common;
mod corruption;
mod polars_types;
mod processes;
mod store;
