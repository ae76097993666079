//! Frames between two stores, over real connections and with real processes.

mod any_table;
mod broadcast;
#[cfg(feature = "command")]
mod command;
mod common;
mod conformance;
mod headers;
mod hostile;
mod kills;
mod limits;
#[cfg(feature = "metrics")]
mod metrics;
mod nodes;
mod origins;
mod parts;
mod pulls;
mod ranges;
mod reads;
mod reflection;
#[path = "../../../../tests/it/scratch.rs"]
mod scratch;
mod security;
#[expect(unsafe_code, reason = "it names the fields of run-end encoded arrays")]
#[path = "../../../../tests/it/tables/mod.rs"]
mod tables;
mod texts;
mod turns;
mod writes;
