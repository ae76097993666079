//! Checks that a file has the form in which this crate writes segments, which is stricter than that of Arrow files.

use std::collections::HashSet;

use super::decode::parse;
use crate::error::{Error, Result};
use crate::ipc::{
    file::{ALIGNMENT, MessageRange},
    footer::Footer,
    stream_order,
};

/// Checks the positions of the messages, that each dictionary comes once, and that the first message is the footer's
/// schema. The footer was read with a verifier.
pub(crate) fn check_own_form(file: &[u8], footer: &Footer, what: &str) -> Result<()> {
    let bad = |rule, detail: &dyn std::fmt::Display| Err(Error::corrupt(what, rule, detail));
    let messages = footer.batches.iter().chain(&footer.dictionaries);
    let starts = messages.flat_map(|message| [message.header.start, message.body.start]);
    if let Some(start) = starts.into_iter().find(|start| !start.is_multiple_of(ALIGNMENT)) {
        return bad(
            "S3-alignment",
            &format_args!("a message has a part at {start}, expected a multiple of {ALIGNMENT}"),
        );
    }
    let end = |messages: &[MessageRange]| messages.iter().map(|message| message.body.end).max();
    let first = footer.dictionaries.iter().map(|message| message.header.start).min();
    if first.zip(end(&footer.batches)).is_some_and(|(dictionary, batches)| dictionary < batches) {
        return bad("D2-order", &"a dictionary precedes a record batch");
    }
    let mut ids = HashSet::new();
    for message in &footer.dictionaries {
        let header = parse(file.get(message.header.clone()).unwrap_or_default(), what)?;
        let Some(dictionary) = header.header_as_dictionary_batch() else { continue };
        if dictionary.isDelta() || !ids.insert(dictionary.id()) {
            let detail = format_args!("dictionary {} is replaced or continued, expected one message", dictionary.id());
            return bad("D1-one", &detail);
        }
    }
    let first = stream_order::read_schema(file, what)?;
    if first.schema != footer.schema || first.dictionary_ids != footer.dictionary_ids {
        return bad("S4-blocks", &"its first message has another schema than its footer");
    }
    Ok(())
}
