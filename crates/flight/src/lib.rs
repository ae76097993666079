//! Frames of coframe on other machines, over Arrow Flight.
//!
//! A [`Server`] serves the frames of a [`Store`](coframe::Store) to every Flight client: pyarrow's, Java's, Go's. It sends
//! the messages of the mapped file, without encoding them again. A [`Remote`] copies whole segments into the store of its
//! machine. Such a *mirror* has the same bytes and the same id as the original, and works like a frame that was published
//! there.
//!
//! ```
//! use coframe::{Store, arrow::array::{Int64Array, RecordBatch}};
//! use coframe_flight::{Remote, Server, ServerOptions};
//!
//! # let dir = tempfile::tempdir_in("/dev/shm")?;
//! // On one machine:
//! let store = Store::open_at(dir.path().join("there"))?;
//! let delays = Int64Array::from(vec![3, 5, -2]);
//! store.publish("flights", &RecordBatch::try_from_iter([("delay", std::sync::Arc::new(delays) as _)])?)?;
//! let server = Server::start(&store, &ServerOptions::new())?;
//!
//! // On another one, in any number of processes: the first pulls, all map the same memory.
//! let store = Store::open_at(dir.path().join("here"))?;
//! let flights = Remote::connect(server.url())?.open(&store, "flights")?;
//! assert_eq!(flights.num_rows(), 3);
//! assert!(flights.is_mirror());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! docs/WIRE.md describes the protocol for other implementations.
//!
//! # Security
//!
//! A server listens on 127.0.0.1 by default, and on other addresses only with TLS and tokens, or with
//! [`ServerOptions::insecure`]. A pull validates the whole segment before it gives it a name. Other users of the same machine
//! can connect to 127.0.0.1: if the machine has other users, set [`Tokens`].
//!
//! # Features
//!
//! * `metrics`: counts of a server for Prometheus (`ServerOptions::metrics`).
//! * `command`: the program `coframe-flight`: `serve`, `pull`, `push`, and commands that read from a remote store.

#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used))]

mod client;
mod error;
mod messages;
mod server;
mod tokens;
mod wire;

pub use client::{Origins, PullOptions, ReadOptions, Remote, RemoteHandle, RemoteOptions};
pub use error::{Error, Result};
pub use server::{Server, ServerOptions, ServerStats};
pub use tokens::Tokens;
pub use wire::Stat;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
