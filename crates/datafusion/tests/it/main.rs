//! Queries on real stores, compared with DataFusion's `MemTable` where it can run them.

mod bad_input;
mod common;
mod examples;
mod pruning;
mod queries;
mod scan;
mod statistics;
mod store;
mod tpch;
mod types;
mod writes;
