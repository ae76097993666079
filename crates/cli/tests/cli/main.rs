//! The real binary on real files.

mod common;
