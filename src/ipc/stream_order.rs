//! The messages of a file in the order of a stream: the schema, the dictionaries, the record batches.

use std::ops::Range;

use arrow_ipc::{self as ipc, root_as_message_with_opts};

use super::{
    digest::flatbuffer,
    file::{ALIGNMENT, MAGIC, MessageRange},
    footer::{Footer, verifier},
    schema::{self, ReadSchema},
};
use crate::error::{Error, Result};

/// The content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// The schema. The first message.
    Schema,
    /// The values of one dictionary.
    Dictionary,
    /// The rows of one record batch.
    RecordBatch,
}

/// The place of a message in its file.
#[derive(Clone, Debug)]
pub(crate) struct MessagePlace {
    pub(crate) kind: MessageKind,
    /// The flatbuffer, with its padding, without the prefix that gives its length.
    pub(crate) header: Range<usize>,
    pub(crate) body: Range<usize>,
}

/// Finds the messages of a file whose footer was read.
pub(crate) fn stream_order(file: &[u8], footer: &Footer, what: &str) -> Result<Vec<MessagePlace>> {
    let listed = |kind| move |message: &MessageRange| place(file, message, kind);
    let dictionaries = footer.dictionaries.iter().map(listed(MessageKind::Dictionary));
    let batches = footer.batches.iter().map(listed(MessageKind::RecordBatch));
    Ok(std::iter::once(schema_place(file, what)?).chain(dictionaries).chain(batches).collect())
}

fn place(file: &[u8], message: &MessageRange, kind: MessageKind) -> MessagePlace {
    let header = file.get(message.header.clone()).unwrap_or_default();
    let start = message.header.end - flatbuffer(header).len();
    MessagePlace { kind, header: start..message.header.end, body: message.body.clone() }
}

/// The schema message, which the footer does not list: it follows the magic and its padding.
fn schema_place(file: &[u8], what: &str) -> Result<MessagePlace> {
    let header = schema_header(file, what)?;
    schema_message(file, &header, what)?;
    Ok(MessagePlace { kind: MessageKind::Schema, body: header.end..header.end, header })
}

/// The schema of the first message.
pub(super) fn read_schema(file: &[u8], what: &str) -> Result<ReadSchema> {
    schema::read(schema_message(file, &schema_header(file, what)?, what)?, what)
}

fn schema_header(file: &[u8], what: &str) -> Result<Range<usize>> {
    let is_padding = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    // Files of other programs pad the magic to 8 bytes.
    let is_ours = file.get(MAGIC.len()..ALIGNMENT).is_some_and(is_padding);
    let start = if is_ours { ALIGNMENT } else { 8 };
    let prefix = file.get(start..).unwrap_or_default();
    let prefix_length = if prefix.starts_with(&[0xFF; 4]) { 8 } else { 4 };
    let length = prefix.get(prefix_length - 4..prefix_length).and_then(|bytes| bytes.try_into().ok());
    let length = length.and_then(|bytes| usize::try_from(i32::from_le_bytes(bytes)).ok()).unwrap_or_default();
    let header = start + prefix_length..(start + prefix_length).saturating_add(length);
    let is_inside = file.get(header.clone()).is_some();
    let leaves = || Error::corrupt(what, "S4-blocks", "the message of the schema leaves the file");
    if is_inside { Ok(header) } else { Err(leaves()) }
}

fn schema_message<'a>(file: &'a [u8], header: &Range<usize>, what: &str) -> Result<ipc::Schema<'a>> {
    let bytes = file.get(header.clone()).unwrap_or_default();
    let message =
        root_as_message_with_opts(&verifier(bytes), bytes).map_err(|e| Error::corrupt(what, "S4-blocks", e))?;
    message.header_as_schema().ok_or_else(|| {
        let detail = format_args!("expected a schema as the first message, found {:?}", message.header_type());
        Error::corrupt(what, "S4-blocks", detail)
    })
}
