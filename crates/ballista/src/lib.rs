//! SQL over frames of [coframe] on many machines, with [Apache Ballista](ballista).
//!
//! Every machine has a separate store. A node of the cluster is one machine: its store, and Ballista's executors next to it.
//! The scheduler plans a query and opens no frame. Each node scans the frames of its store in place. If a node needs a frame
//! that it does not have, it pulls the frame once for all its executors, over [`coframe_flight`].
//!
//! The program `coframe-cluster` runs as a scheduler, an executor, or a client for SQL; docs/CLUSTER.md shows how to use it.
//! The types of this crate are for programs that embed one of the three.
//!
//! # What it does not do
//!
//! * Ballista's ports have neither TLS nor passwords. They listen on 127.0.0.1 unless you pass `--insecure`.
//! * Results return to the client as rows. [`create_table`] publishes them where they are computed instead.

#![deny(unsafe_code)]

mod check;
mod client;
mod codec;
mod cores;
mod create;
mod distributed;
mod node;
mod part;
mod placement;
mod publish;
mod rerun;
mod service;
mod source;
mod staging;
mod table;
mod wire;

pub use crate::{
    check::{CheckedPlanner, check},
    client::{ClusterCatalog, connect, cores, session_config},
    codec::{ClusterLogicalCodec, ClusterPhysicalCodec},
    cores::{CountedCores, Executors, FailedQueries},
    create::{create_table, create_table_until, drop_table},
    distributed::{connect_directly, worker},
    node::{Description, Node},
    part::{Home, Part},
    placement::NearData,
    service::NodeService,
    source::ClusterSource,
    table::ClusterTable,
};
