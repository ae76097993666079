//! The real binary on real files.

mod commands;
mod common;
mod failures;
mod formats;
mod metadata;
mod reading;
mod sql;
mod terminal;
mod types;
mod values;
