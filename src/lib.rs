//! Share dataframes between processes: written once, opened everywhere, copied nowhere.
//!
//! A frame is published once, as a plain Arrow IPC file in memory that every process can map; workers rebuild Polars
//! and Arrow frames on the mapped bytes without copying them.
//!
//! ```
//! use coframe::{Handle, Store};
//! use polars::prelude::*;
//!
//! # let dir = tempfile::tempdir_in("/dev/shm")?;
//! # let path = dir.path().join("store");
//! let store = Store::at(&path)?; // or Store::open_default()?
//! let df = df!("carrier" => ["UA", "DL", "UA"], "delay" => [Some(2), Some(-3), None])?;
//! let flights = store.publish("flights", &df)?;
//!
//! // In any process of this user, in microseconds whatever the size:
//! let flights = Store::at(&path)?.open("flights")?;
//! assert!(flights.to_polars()?.equals_missing(&df));
//!
//! // Or by a text that goes through arguments, queues and serializers:
//! let part = flights.select(["delay"])?.slice(0..2)?.handle().to_string();
//! assert_eq!(part.parse::<Handle>()?.open()?.rows(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The nouns
//!
//! * A [`Store`] is a directory, in memory by default, that holds frames under [`Name`]s.
//! * A [`Frame`] is an immutable table, or a part of one: [`batches`](Frame::batches) for Arrow,
//!   [`to_polars`](Frame::to_polars) for Polars, [`explain`](Frame::explain) for what was shared and what was not.
//! * A version: publishing a name again makes a new, higher one. Whoever has an older one open keeps it.
//! * A [`Handle`] names one version, or a part of it, and opens it in another process.
//! * A [`Session`] is a part of a store whose frames die with the process that owns it.
//! * A [cell](mod@cell) is a small mutable shared thing: a counter, a value under a lock, an event.
//! * A [`Dict`] is a shared map from keys to values.
//! * A [`Pool`] is worker processes that run functions on frames.
//!
//! # What it promises
//!
//! Opening costs in the order of columns and batches, never of rows. Publishing copies once. Nothing half-written is
//! ever visible, nothing in use disappears, and nothing dead stays, whatever process is killed, stopped or forked.
//! There is no daemon: the kernel's files and locks are the only shared state. Any Arrow reader in any language opens
//! a frame by its path.
//!
//! # What it does not do
//!
//! Frames never change, and there is no compression inside them. Nothing goes to disk unless the store is there.
//! Nothing is evicted. No thread is started, but for those that a [pool](mod@pool) documents. Memory is trusted to
//! processes of the same user: docs/SAFETY.md in the repository says what that means, for root in particular.
//!
//! Linux on x86-64 is supported. Linux on aarch64 should work and is untested.
//!
//! # Features
//!
//! * `polars` (default): `DataFrame`s in and out. Without it the crate has Arrow alone.
//! * `pool` (default): functions on frames, in many processes.
//! * `cell` (default): counters, values, arrays, locks, events and the like.
//! * `dict` (default): a shared map; brings `cell` with it.
//! * `shm` (default): the bridge to plain named shared memory.
//! * `shared_memory`: frames from and into segments of the crate of that name.
//! * `compression`: compressed Arrow IPC of other writers is unpacked by [`Store::import`] and [`IpcReader`].
//! * `indicatif`: a ready-made progress bar for the pool.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "coframe shares memory through Linux's tmpfs, O_TMPFILE, flock and /proc; other operating systems are not supported"
);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "coframe maps whole little-endian segments; it is tested on x86-64, should work on aarch64, and no more"
);

#[cfg(feature = "cell")]
pub mod cell;
#[cfg(feature = "dict")]
pub mod dict;
mod error;
mod explain;
mod failpoint;
mod frame;
mod interrupt;
mod ipc;
mod name;
#[cfg(feature = "polars")]
pub mod polars;
#[cfg(feature = "pool")]
pub mod pool;
mod segment;
#[cfg(feature = "shm")]
pub mod shm;
mod store;

pub use arrow;

#[cfg(feature = "dict")]
pub use crate::dict::Dict;
#[cfg(feature = "pool")]
pub use crate::pool::Pool;

pub use crate::{
    error::{Error, Result},
    explain::{ColumnExplain, Explain},
    frame::{CategoryPolicy, CopyPolicy, Frame, FrameReader, Handle, Message, OpenOptions},
    interrupt::interruptible,
    ipc::{IpcReader, Layout, MessageKind, Table, TableReader, via},
    name::Name,
    store::{FrameInfo, FrameWriter, Pss, PublishOptions, Session, Store, Swept, Usage, User},
};

/// Compiles and runs the README's examples, so that they cannot rot.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
