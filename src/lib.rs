//! x
#![deny(unsafe_code)]
mod error;
mod explain;
mod failpoint;
mod frame;
mod ipc;
mod name;
#[cfg(feature = "polars")]
pub mod polars;
mod segment;
mod store;

pub use arrow;

pub use crate::{
    error::{Error, Result},
    explain::{ColumnExplain, Explain},
    frame::{CategoryPolicy, CopyPolicy, Frame, FrameReader, Handle, OpenOptions},
    ipc::{Layout, Table, via},
    name::Name,
    store::{FrameInfo, FrameWriter, PublishOptions, Session, Store, Swept, Usage, User},
};
