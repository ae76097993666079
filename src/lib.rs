//! x
mod error;
mod failpoint;
mod ipc;
mod name;
mod segment;
pub use crate::{error::{Error, Result}, ipc::Layout, name::Name};
