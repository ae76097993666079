//! Frames of [coframe] as tables of [DataFusion](datafusion), read in place.
//!
//! A frame is an Arrow IPC file in shared memory. DataFusion computes on the mapped bytes: a scan copies no value, and the
//! time to open it does not depend on the number of rows.
//!
//! Start with [`StoreCatalog`], which makes every name of a store a table, or with [`FrameTable`] for one frame.
//! [`publish`] and [`FrameFormat`] publish the rows of queries. docs/DATAFUSION.md is the guide.
//!
//! # What it does not do
//!
//! * Frames are immutable, so `DELETE` and `UPDATE` are errors, and an appending `INSERT` writes the whole frame again.

#![deny(unsafe_code)]

mod cut;
mod order;
mod parts;
mod pruning;
mod sink;
mod source;
mod statistics;
mod store;
mod table;
mod write;

pub use crate::{
    source::FrameSource,
    store::{StoreCatalog, StoreSchema},
    table::FrameTable,
    write::{FrameFormat, publish, publish_stream},
};
