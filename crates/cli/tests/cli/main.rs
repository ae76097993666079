//! The real binary on real files.

mod commands;
mod common;
mod escapes;
mod failures;
mod formats;
mod help;
mod machines;
mod metadata;
mod others;
mod reading;
mod session;
mod showing;
mod sql;
mod terminal;
mod types;
mod values;
mod written_files;
