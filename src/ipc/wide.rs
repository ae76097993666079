//! Integers of 128 bits, which Arrow lacks: fixed-size binaries with a mark (FORMAT.md, section 5).

use std::collections::HashMap;

/// Arrow's key for the name of an extension type.
pub(crate) const EXTENSION: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
pub(crate) const INT128: &str = "coframe.int128";
pub(crate) const UINT128: &str = "coframe.uint128";

/// Tags the field of a fixed-size binary.
pub(crate) fn tag_extension(metadata: &mut HashMap<String, String>, extension: &str) {
    metadata.insert(EXTENSION.to_owned(), extension.to_owned());
    metadata.insert(EXTENSION_METADATA.to_owned(), String::new());
}
