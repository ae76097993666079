//! Frames of coframe on other machines, over Arrow Flight.
//!
//! A [`Server`] serves the frames of a [`Store`](coframe::Store) to every Flight client: pyarrow's, Java's, Go's. The
//! messages are those of the mapped file, so nothing is encoded. A [`Remote`] copies whole segments: a *mirror* in the store
//! here has the same bytes and the same id as the segment there, and everything works on it as if it had been published
//! here.
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
//! A server listens on 127.0.0.1 unless it is told otherwise, and on any other address only with TLS and tokens. What is
//! pulled comes from a peer, so it is validated in full before it gets a name. Other users of the same machine can connect
//! to 127.0.0.1: use [`Tokens`] where there are any.
//!
//! # Features
//!
//! * `metrics`: counts of a server for Prometheus (`ServerOptions::metrics`).
//! * `command`: the program `coframe-flight`: `serve`, `pull`, `push`, and commands that look into a remote store.

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
