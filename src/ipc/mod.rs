//! Arrow IPC bytes to record batches and back; knows no file, no store and no Polars.
//!
//! Writing: [`layout`] brings columns to the wanted types, [`dictionary`] gives each dictionary field one dictionary,
//! [`batches`] cuts and gathers rows, [`encode`] makes the messages and the [`footer`]. Reading: [`footer`] and
//! [`schema`] check the metadata, [`decode`] and [`arrays`] build arrays on the caller's bytes. The prose is docs/FORMAT.md; where
//! the two differ the prose wins and this folder has a bug.

mod arrays;
mod batches;
mod decode;
mod dictionary;
mod encode;
mod footer;
mod layout;
mod messages;
mod schema;
mod table;
mod tree;
mod views;

pub(crate) use decode::{Contents, Copied, decode, validate};
pub(crate) use encode::{Encoder, EncoderOptions};
pub(crate) use footer::{Footer, Marks, Metadata};
pub use layout::Layout;
pub(crate) use messages::read_messages;
pub(crate) use table::sealed::{IntoSource, Source};
pub use table::{Table, via};
pub(crate) use tree::children;
