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
//! let store = Store::open_at(&path)?; // or Store::open_default()?
//! let df = df!("carrier" => ["UA", "DL", "UA"], "delay" => [Some(2), Some(-3), None])?;
//! let flights = store.publish("flights", &df)?;
//!
//! // In any process of this user, in microseconds for any size:
//! let flights = Store::open_at(&path)?.open("flights")?;
//! assert!(flights.to_polars()?.equals_missing(&df));
//!
//! // Or by a string that passes through arguments, queues and serializers:
//! let part = flights.select(["delay"])?.slice(0..2)?.handle().to_string();
//! assert_eq!(part.parse::<Handle>()?.open()?.num_rows(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Concepts
//!
//! * A [`Store`] is a directory, in memory by default, that holds frames under [`Name`]s.
//! * A [`Frame`] is an immutable table, or a part of one: [`batches`](Frame::batches) for Arrow,
//!   [`to_polars`](Frame::to_polars) for Polars, [`copy_report`](Frame::copy_report) for what was shared and what was copied.
//! * Publishing a name again creates a new, higher version. Processes that have an older version open keep it.
//! * A [`Handle`] identifies one version, or a part of it, and opens it in another process.
//! * A [`Session`] is a part of a store whose frames are removed when the process that owns it dies.
//! * A [cell](mod@sync) is a small mutable shared object: a counter, a value under a lock, an event.
//! * A [`SharedMap`] is a shared map from keys to values.
//! * A [`Pool`] is a set of worker processes that run functions on frames.
//!
//! # Guarantees
//!
//! * Opening takes time in the order of columns and batches, never of rows. Publishing copies once.
//! * Readers never see a half-written frame. A frame in use stays readable, and the frames of dead processes are
//!   removed, whichever process is killed, stopped or forked.
//! * There is no daemon: files and locks of the kernel are the only shared state.
//! * Any Arrow reader in any language opens a frame by its path.
//!
//! # What it does not do
//!
//! * Frames are immutable and not compressed.
//! * A store writes to disk only if its directory is on a disk. It evicts nothing.
//! * The library starts no thread except those that a [pool](mod@pool) documents.
//! * Processes of the same user are trusted not to change a published frame. docs/SAFETY.md in the repository explains
//!   the trust model, for root in particular.
//!
//! Linux on x86-64 is supported. Linux on aarch64 should work but is untested.
//!
//! # Features
//!
//! * `polars` (default): `DataFrame`s in and out. Without it the crate supports Arrow only.
//! * `pool` (default): functions on frames, in many processes.
//! * `sync` (default): counters, values, arrays, locks and events.
//! * `map` (default): a shared map; enables `sync`.
//! * `shm` (default): the bridge to plain named shared memory.
//! * `shared_memory`: copies frames from and into segments of the crate `shared_memory`.
//! * `compression`: [`Store::import`] and [`IpcReader`] decompress Arrow IPC of other writers.
//! * `indicatif`: a ready-made progress bar for the pool.

#![cfg_attr(docsrs, feature(doc_cfg))]
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
    "coframe maps little-endian segments as a whole; it supports x86-64 (tested) and aarch64 (untested) only"
);

mod copy_report;
mod error;
mod failpoint;
#[cfg(any(feature = "pool", feature = "sync"))]
mod fork;
mod frame;
mod handle_text;
mod interrupt;
mod ipc;
#[cfg(feature = "map")]
pub mod map;
mod name;
#[cfg(feature = "polars")]
pub mod polars;
#[cfg(feature = "pool")]
pub mod pool;
mod segment;
#[cfg(feature = "shm")]
pub mod shm;
mod store;
#[cfg(feature = "sync")]
pub mod sync;
mod table;

pub use arrow;

#[cfg(feature = "map")]
pub use crate::map::SharedMap;
#[cfg(feature = "pool")]
pub use crate::pool::Pool;

// For the crates of this repository, whose errors show text of other programs too, and which encode batches.
#[doc(hidden)]
pub use crate::{
    error::{excerpt, visible},
    ipc::encodable,
};

pub use crate::{
    copy_report::{ColumnCopies, CopyReport},
    error::{Error, Result},
    frame::{
        CategoryPolicy, ColumnStatistics, CopyPolicy, Frame, FrameReader, Handle, Message, OpenOptions, SortedColumn,
        Statistics,
    },
    interrupt::interruptible,
    ipc::{CStreamReader, IpcReader, MessageKind, StringLayout},
    name::Name,
    segment::MapCache,
    store::{
        FrameInfo, FrameUser, FrameWriter, MirrorOptions, MirrorTurn, MirrorWriter, PartialMirror, PrivateBytes,
        PublishMode, PublishOptions, Session, Store, StoreUsage, SweepReport,
    },
    table::{Table, TableReader, via},
};

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
