//! The parts of an Arrow IPC file: where they are, and how its lengths and digest become right again after an edit.

use std::ops::Range;

use arrow::ipc::{Footer, root_as_footer, root_as_message};

/// What a file starts and ends with.
pub const MAGIC: &[u8; 6] = b"ARROW1";
/// The footer's length and the magic.
const TAIL: usize = 10;
const KEY: &str = "coframe.digest";

/// The bytes of the footer.
#[must_use]
pub fn footer(file: &[u8]) -> Option<Range<usize>> {
    let tail = file.len().checked_sub(TAIL)?;
    let length = file.get(tail..tail + 4)?.try_into().ok().map(i32::from_le_bytes)?;
    let start = tail.checked_sub(usize::try_from(length).ok()?)?;
    (file.ends_with(MAGIC) && start >= 8).then_some(start..tail)
}

/// A file without its footer, and a footer, as a file.
#[must_use]
pub fn with_footer(before: &[u8], footer: &[u8]) -> Vec<u8> {
    [before, footer, &(footer.len() as u32).to_le_bytes(), MAGIC].concat()
}

/// Headers and bodies of the messages that a footer lists, as far as they are inside the file.
fn listed(footer: &Footer<'_>, end: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let blocks = footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
    let place = |start: i64, header: i32, body: i64| {
        let start = usize::try_from(start).ok()?;
        let middle = start.checked_add(usize::try_from(header).ok()?)?;
        let end_of = middle.checked_add(usize::try_from(body).ok()?)?;
        (end_of <= end).then_some((start..middle, middle..end_of))
    };
    blocks.filter_map(|block| place(block.offset(), block.metaDataLength(), block.bodyLength())).collect()
}

/// The flatbuffers of a file: its footer, and the headers of its messages.
#[must_use]
pub fn flatbuffers(file: &[u8]) -> Vec<Range<usize>> {
    let Some(place) = footer(file) else { return Vec::new() };
    let messages = root_as_footer(&file[place.clone()]).map_or_else(|_| Vec::new(), |root| listed(&root, place.start));
    // After the mark and the length.
    let headers = messages.into_iter().map(|(header, _)| header).filter(|header| header.len() > 8);
    headers.map(|header| header.start + 8..header.end).chain([place]).collect()
}

/// Writes the right digest (FORMAT.md, rule M2) into a file that has one.
pub fn sign(file: &mut [u8]) {
    let Some(place) = footer(file) else { return };
    let found = {
        let Ok(root) = root_as_footer(&file[place.clone()]) else { return };
        let mut pairs = root.custom_metadata().into_iter().flatten();
        let digits = pairs.find(|pair| pair.key() == Some(KEY)).and_then(|pair| pair.value());
        let Some(digits) = digits.filter(|digits| digits.len() == 8) else { return };
        let start = digits.as_ptr() as usize - file.as_ptr() as usize;
        let mut bodies: Vec<_> = listed(&root, place.start).into_iter().map(|(_, body)| body).collect();
        bodies.sort_unstable_by_key(|body| body.start);
        (start, bodies)
    };
    let (start, bodies) = found;
    file[start..start + 8].copy_from_slice(b"00000000");
    let (mut digest, mut at) = (crc32fast::Hasher::new(), 0);
    for body in bodies {
        if body.start >= at {
            digest.update(&file[at..body.start]);
            at = body.end;
        }
    }
    digest.update(&file[at..]);
    file[start..start + 8].copy_from_slice(format!("{:08x}", digest.finalize()).as_bytes());
}

/// One message of a stream.
#[derive(Clone)]
pub struct Message {
    /// The flatbuffer, padded.
    pub header: Vec<u8>,
    /// What it describes.
    pub body: Vec<u8>,
}

/// The messages of a stream, up to the first that cannot be read.
#[must_use]
pub fn messages(stream: &[u8]) -> Vec<Message> {
    let (mut rest, mut found) = (stream, Vec::new());
    while let Some((prefix, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
        let Some((header, after)) = after.split_at_checked(length).filter(|_| length > 0) else { break };
        let wanted = root_as_message(header).map_or(0, |message| message.bodyLength());
        let (body, after) = after.split_at(usize::try_from(wanted).unwrap_or(0).min(after.len()));
        found.push(Message { header: header.to_vec(), body: body.to_vec() });
        rest = after;
    }
    found
}

/// Messages as a stream, with right lengths of their headers.
#[must_use]
pub fn stream(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Message { header, body } in messages {
        let padded = header.len().next_multiple_of(8);
        bytes.extend_from_slice(&[0xFF; 4]);
        bytes.extend_from_slice(&(padded as u32).to_le_bytes());
        bytes.extend_from_slice(header);
        bytes.resize(bytes.len() + padded - header.len(), 0);
        bytes.extend_from_slice(body);
    }
    bytes.extend_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    bytes
}

/// The value of an entry of the footer.
#[must_use]
pub fn entry(file: &[u8], key: &str) -> Option<String> {
    let root = root_as_footer(&file[footer(file)?]).ok()?;
    let mut pairs = root.custom_metadata()?.into_iter();
    pairs.find(|pair| pair.key() == Some(key))?.value().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{flatbuffers, footer, messages, sign, stream};
    use crate::{samples, scratch};

    #[test]
    fn a_signed_segment_has_the_digest_that_coframe_wrote() {
        for (name, file) in scratch::with(samples::segments) {
            assert!(flatbuffers(&file).len() >= 2, "{name}");
            let mut signed = file.clone();
            let end = footer(&file).unwrap().end;
            signed[end - 1] = signed[end - 1].wrapping_add(1);
            sign(&mut signed);
            assert_ne!(signed, file, "{name}");
            signed[end - 1] = file[end - 1];
            sign(&mut signed);
            assert!(signed == file, "{name}");
        }
    }

    #[test]
    fn a_stream_survives_being_taken_apart() {
        for (name, batch) in samples::tables() {
            let bytes = samples::stream(&batch);
            assert!(stream(&messages(&bytes)) == bytes, "{name}");
        }
    }
}
