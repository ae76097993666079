//! The real binary on real files.

mod commands;
mod common;
mod failures;
mod formats;
mod reading;
mod terminal;
mod types;
mod values;
