//! Queries on real stores, each compared with DataFusion's `MemTable` where there is something to compare.

mod bad_input;
mod common;
mod pruning;
mod queries;
mod scan;
mod store;
mod tpch;
mod types;
mod writes;
