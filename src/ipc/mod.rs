//! Arrow IPC bytes to record batches and back; knows no file, no store and no Polars.
//!
//! Writing: [`layout`] brings columns to the wanted types, [`dictionary`] gives each dictionary field one dictionary,
//! [`keys`] checks that the dictionary has all keys, [`batches`] cuts and gathers rows, [`encode`] makes the messages and the [`footer`]. Reading: [`digest`] checks that
//! the metadata is what was written, [`footer`] and [`schema`] read it, [`decode`] and [`outline`] find and check the
//! arrays, [`validate`] reads their values, [`deltas`] joins dictionaries that came in parts, [`decompress`] unpacks what others compressed, [`contents`] keeps what was found, [`assemble`] makes Arrow's arrays of it and [`values`] gives their parts.
//! The prose is docs/FORMAT.md; where the two differ the prose wins and this folder has a bug.

mod assemble;
mod base64;
mod batches;
mod bounds;
mod c_schema;
mod c_stream;
mod canonical;
mod claims;
mod contents;
mod declared;
mod decode;
#[cfg(feature = "compression")]
mod decompress;
mod deltas;
mod dictionary;
mod digest;
mod encode;
mod file;
mod footer;
mod joined;
mod keys;
mod layout;
mod lazy_dictionaries;
mod messages;
mod outline;
mod own_form;
mod part;
mod readable;
mod schema;
mod statistics;
mod stream_order;
mod times;
mod tree;
mod validate;
#[cfg(feature = "polars")]
mod values;
mod view_use;
mod views;
mod wide;

pub use c_stream::CStreamReader;
pub(crate) use claims::{check_claims, has_checked_order};
pub(crate) use contents::{Contents, Copied};
pub(crate) use declared::DeclaredOrder;
pub(crate) use decode::decode;
pub(crate) use digest::Intact;
pub(crate) use encode::{Encoder, EncoderOptions};
pub(crate) use footer::{Footer, Marks, Metadata};
pub(crate) use joined::JoinedMarks;
pub use layout::StringLayout;
pub use messages::IpcReader;
pub(crate) use messages::read_messages;
pub(crate) use own_form::check_own_form;
pub(crate) use part::{Map, Part};
pub(crate) use statistics::read_statistics;
pub use stream_order::MessageKind;
pub(crate) use stream_order::{MessagePlace, stream_order};
pub(crate) use tree::has_same_names;
pub(crate) use validate::validate;
#[cfg(feature = "polars")]
pub(crate) use {
    tree::{FieldPath, children, step},
    values::Values,
    wide::{EXTENSION, INT128, UINT128, mark},
};
