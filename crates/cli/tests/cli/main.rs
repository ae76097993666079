//! The real binary on real files.

mod common;
mod failures;
mod formats;
mod terminal;
