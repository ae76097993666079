//! From bytes to arrays.
//!
//! For a segment or another Arrow file, [`decode`] and [`outline`] find and check the arrays, [`validate`] reads their
//! values if they are not trusted, [`decoded_file`] keeps the result, [`assemble`] creates Arrow arrays from it, and
//! [`array_parts`] returns their buffers. For streams and files of other programs, [`messages`] reads one message after
//! the other, [`deltas`] joins dictionaries that came in parts, and `decompress` decompresses. [`own_form`] checks that
//! a mirror has the form that this crate writes. [`c_stream`] reads tables that other libraries pass in memory.

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
