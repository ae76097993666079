//! Converts Arrow IPC bytes to record batches and back. Does not depend on files, stores or Polars.
//!
//! [`write`] makes the bytes of a segment, [`read`] finds arrays in them; neither imports the other. Code that both use
//! is here: the positions of messages in a file ([`file`]), its end ([`footer`]), its schema ([`schema`]), the check
//! that its metadata is unchanged ([`digest`]), and the records of a footer about values ([`statistics`], [`claims`]).
//! docs/FORMAT.md is normative: where the two differ, this folder has a bug.

mod base64;
mod bounds;
mod claims;
mod declared;
mod digest;
mod file;
mod footer;
mod joined;
mod keys;
mod read;
mod schema;
mod statistics;
mod stream_order;
mod times;
mod tree;
mod wide;
mod write;

pub use read::{c_stream::CStreamReader, messages::IpcReader};
pub use stream_order::MessageKind;
pub use write::{canonical::encodable, layout::StringLayout};

pub(crate) use claims::{check_claims, has_checked_order};
pub(crate) use declared::DeclaredOrder;
pub(crate) use digest::Intact;
pub(crate) use footer::{Footer, Metadata, PolarsHints};
pub(crate) use joined::JoinedHints;
pub(crate) use read::{
    decode::decode,
    decoded_file::{Copied, DecodedFile},
    messages::read_messages,
    own_form::check_own_form,
    part::{FileMap, SharedBytes},
    validate::validate,
};
pub(crate) use statistics::read_statistics;
pub(crate) use stream_order::{MessagePlace, stream_order};
pub(crate) use tree::has_same_names;
pub(crate) use write::encode::{Encoder, EncoderOptions};
#[cfg(feature = "polars")]
pub(crate) use {
    read::array_parts::ArrayParts,
    tree::{FieldPath, children, step},
    wide::{EXTENSION, INT128, UINT128, tag_extension},
};
