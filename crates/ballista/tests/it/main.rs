//! Real processes: a scheduler and two executors, each with a separate store, against DataFusion in one process.

mod answers;
mod cluster;
mod create;
mod distributed;
mod failures;
mod placement;
mod program;
#[expect(dead_code, reason = "the benchmark of crates/datafusion reads the schemas")]
#[path = "../../../datafusion/tests/it/tpch.rs"]
mod tpch;
