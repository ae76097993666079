//! Queries on real stores, compared with DataFusion's `MemTable` where it can run them.

mod any_table;
mod bad_input;
mod common;
mod examples;
mod pruning;
mod queries;
mod scan;
mod statistics;
mod store;
#[expect(unsafe_code, reason = "it names the fields of run-end encoded arrays")]
#[path = "../../../../tests/it/tables/mod.rs"]
mod tables;
mod tpch;
mod types;
mod writes;
