//! Turns the bytes of another store's segment into a frame.

use std::sync::Arc;

use super::{Frame, OpenOptions, Origin};
use crate::{
    error::{Error, Result},
    ipc::{Footer, check_claims, check_own_form},
    segment::{Mapping, Writer},
};

impl Frame {
    /// Checks a mirror as untrusted input before it gets its name: its form, every value, and what its footer records
    /// about them (FORMAT.md, rule I2-mirror). Costs in the order of its bytes. From then on it is opened like a
    /// segment that this crate wrote.
    pub(crate) fn from_mirror(mapping: Arc<Mapping>, origin: Origin, segment: Option<u128>) -> Result<Self> {
        let what = origin.what();
        let bytes = mapping.bytes();
        let footer = Footer::read(&bytes, &what, None)?;
        let Some(metadata) = &footer.metadata else {
            let detail = "it has no `coframe.format`: a mirror is a copy of a frame's segment; import other files";
            return Err(Error::corrupt(&what, "I2-mirror", detail));
        };
        if let Some(expected) = segment.filter(|expected| *expected != metadata.segment) {
            let detail = format_args!("its segment id is {:032x}, expected {expected:032x}", metadata.segment);
            return Err(Error::corrupt(&what, "I2-mirror", detail));
        }
        check_own_form(bytes, &footer, &what)?;
        let options = OpenOptions::new();
        let validated = Self::from_writer(Writer::Unknown, mapping.clone(), origin.clone(), &options)?;
        if let Some(copied) = validated.shared.contents.copied.first() {
            let column = footer.schema.fields().get(copied.column).map_or("", |field| field.name());
            return Err(Error::corrupt(&what, "S3-alignment", format_args!("column `{column}`: {}", copied.reason)));
        }
        check_claims(validated.batches(), metadata, &what)?;
        drop(validated);
        Self::from_mapping(mapping, origin, &options)
    }
}
