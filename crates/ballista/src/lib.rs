//! SQL over frames of [coframe] on many machines, with [Apache Ballista](ballista).
//!
//! Every machine has a store of its own. A node of the cluster is one of these machines: an executor of Ballista next to a
//! store. A query is planned by the scheduler, which opens no frame, and each node scans the frames of its own store in
//! place. A frame that a node does not have is pulled once for that node, over [`coframe_flight`].
//!
//! The program `coframe-cluster` is a scheduler, an executor, or a client that runs SQL; docs/CLUSTER.md shows how to use
//! it. The parts of this crate are for programs that embed one of these.
//!
//! # What it does not do
//!
//! * Ballista's own ports have neither TLS nor passwords. They listen on 127.0.0.1 unless `--insecure` is spelled out.
//! * Results come back as rows to the client; they are not published.

#![deny(unsafe_code)]

mod check;
mod client;
mod codec;
mod node;
mod part;
mod placement;
mod service;
mod source;
mod table;
mod wire;

pub use crate::{
    check::{CheckedPlanner, check},
    client::{ClusterCatalog, connect, session_config},
    codec::{ClusterLogicalCodec, ClusterPhysicalCodec},
    node::Node,
    part::{Home, Part},
    placement::NearData,
    service::NodeService,
    source::ClusterSource,
    table::ClusterTable,
};
