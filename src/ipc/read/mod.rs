//! From bytes to arrays.
//!
//! Of a segment or another Arrow file, [`decode`] and [`outline`] find and check the arrays, [`validate`] reads their
//! values where nothing vouches for them, [`decoded_file`] keeps what was found, [`assemble`] makes Arrow arrays of it, and
//! [`array_parts`] gives their buffers. Of streams and of files of other programs, [`messages`] reads one message after the
//! other, [`deltas`] joins dictionaries that came in parts, and `decompress` unpacks. [`own_form`] checks that a mirror is
//! what this crate writes. [`c_stream`] reads what other libraries hand over in memory.

#[cfg(feature = "polars")]
pub(super) mod array_parts;
mod assemble;
mod c_schema;
pub(super) mod c_stream;
pub(super) mod decode;
pub(super) mod decoded_file;
#[cfg(feature = "compression")]
mod decompress;
mod deltas;
mod lazy_dictionaries;
pub(super) mod messages;
mod outline;
pub(super) mod own_form;
pub(super) mod part;
pub(super) mod validate;
