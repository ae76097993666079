//! The digest over a file's metadata, compared before any of it is parsed (FORMAT.md, rule M2).
//!
//! Verifying a flatbuffer costs more than everything else that is done with it. In a sealed segment the digest shows
//! that the metadata is what coframe wrote, and therefore valid. But the digest must be found without trusting the
//! footer. [`FlatTable`] reads the few places that lead to it and checks each step: if they are damaged, the digest is
//! not found or does not match.
#![expect(unsafe_code, reason = "metadata that is known to be what was written is read without a verifier")]

use std::ops::Range;

use arrow_ipc::{Block, Footer, KeyValue, Message, root_as_footer_unchecked, root_as_message_unchecked};
use crc32fast::Hasher;
use flatbuffers::VOffsetT;

use super::file::{FileBytes, MessageRange, footer_range};
use crate::error::Result;

/// The placeholder for the digits while the digest is computed.
pub(super) const PLACEHOLDER: &str = "00000000";
const KEY: &[u8] = b"coframe.digest";

/// A sealed segment whose metadata is what was written: nothing outside the bodies of its messages was damaged.
pub(crate) struct Intact<'a> {
    file: &'a [u8],
    footer: Range<usize>,
    headers: Vec<Range<usize>>,
}

impl<'a> Intact<'a> {
    /// `None` for a file that coframe did not write, and for a damaged one. `file` is the map of a sealed segment:
    /// the digest detects damage, not attackers, so it proves nothing about a file that others can write.
    pub(crate) fn from_sealed(file: &'a [u8]) -> Option<Self> {
        let footer = footer_range(&file, "").ok()?;
        let headers = check(&file, &footer).ok()??;
        Some(Self { file, footer, headers })
    }

    pub(super) fn footer(&self) -> Footer<'a> {
        let bytes = self.file.get(self.footer.clone()).unwrap_or_default();
        // SAFETY: `bytes` must hold a valid footer. They are what coframe wrote with the flatbuffers' own builder: the
        // file is sealed, so only this crate wrote it (SAFETY.md, T1 to T3), and its digest shows that none is damaged.
        // Of a mirror, a verifier accepted these very bytes before it got its name (FORMAT.md, I2-mirror).
        unsafe { root_as_footer_unchecked(bytes) }
    }

    /// The message with this header; `None` if the digest does not cover this header.
    pub(super) fn message(&self, header: &Range<usize>) -> Option<Message<'a>> {
        let found = self.headers.binary_search_by_key(&header.start, |known| known.start).ok()?;
        let known = self.headers.get(found).filter(|known| *known == header)?;
        let bytes = flatbuffer(self.file.get(known.clone())?);
        // SAFETY: as in `footer`; the header is one that coframe listed, with arrow's encoder in place of the builder.
        Some(unsafe { root_as_message_unchecked(bytes) })
    }
}

/// The flatbuffer in the header of a message: after the continuation marker, if it has one, and the length.
pub(super) fn flatbuffer(header: &[u8]) -> &[u8] {
    header.strip_prefix(&[0xFF; 4]).unwrap_or(header).get(4..).unwrap_or_default()
}

/// The headers of all messages, in file order, if the digest that is recorded is that of the file.
pub(super) fn check(file: &dyn FileBytes, footer: &Range<usize>) -> Result<Option<Vec<Range<usize>>>> {
    let bytes = &*file.range(footer.clone())?;
    let Some((mut messages, place)) = messages(bytes, footer.start).zip(digest_range(bytes)) else { return Ok(None) };
    messages.sort_unstable_by_key(|message| message.header.start);
    let mut digest = Hasher::new();
    let mut position = 0;
    for message in &messages {
        if message.header.start < position {
            return Ok(None);
        }
        digest.update(&file.range(position..message.header.end)?);
        position = message.body.end;
    }
    digest.update(&file.range(position..footer.start)?);
    let tail = &*file.range(footer.start..file.len())?;
    digest.update(tail.get(..place.start).unwrap_or_default());
    digest.update(PLACEHOLDER.as_bytes());
    digest.update(tail.get(place.end..).unwrap_or_default());
    let fits = bytes.get(place) == Some(digits(digest).as_slice());
    Ok(fits.then(|| messages.into_iter().map(|message| message.header).collect()))
}

/// The text of a digest.
pub(super) fn digits(digest: Hasher) -> [u8; 8] {
    let mut rest = digest.finalize();
    let mut digits = [0; 8];
    for digit in digits.iter_mut().rev() {
        *digit = char::from_digit(rest % 16, 16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default();
        rest /= 16;
    }
    digits
}

/// The position of the eight digits in a footer.
pub(super) fn digest_range(footer: &[u8]) -> Option<Range<usize>> {
    let (start, count) = FlatTable::root(footer)?.vector(Footer::VT_CUSTOM_METADATA)?;
    let entries = (0..count).map_while(|entry| FlatTable::at(footer, start + 4 * entry));
    let is_digest = |entry: &FlatTable<'_>| {
        let key = entry.vector(KeyValue::VT_KEY).and_then(|(start, len)| footer.get(start..)?.get(..len));
        key == Some(KEY)
    };
    let (start, len) = entries.into_iter().find(is_digest)?.vector(KeyValue::VT_VALUE)?;
    (len == PLACEHOLDER.len() && start + len <= footer.len()).then(|| start..start + len)
}

/// The messages that a footer lists; `None` if one would exceed the file.
fn messages(footer: &[u8], end: usize) -> Option<Vec<MessageRange>> {
    let root = FlatTable::root(footer)?;
    let mut messages = Vec::new();
    for slot in [Footer::VT_RECORDBATCHES, Footer::VT_DICTIONARIES] {
        let (start, count) = root.vector(slot)?;
        let blocks = footer.get(start..)?.as_chunks().0.get(..count)?;
        for block in blocks {
            messages.push(MessageRange::from_block(&Block(*block), end)?);
        }
    }
    Some(messages)
}

/// A table of a flatbuffer with untrusted content.
struct FlatTable<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> FlatTable<'a> {
    fn root(bytes: &'a [u8]) -> Option<Self> {
        Self::at(bytes, 0)
    }

    /// The table that the offset at `place` leads to.
    fn at(bytes: &'a [u8], place: usize) -> Option<Self> {
        Some(Self { bytes, start: place.checked_add(word(bytes, place)?)? })
    }

    /// The position of the items of a vector (or the bytes of a string), and their number.
    fn vector(&self, slot: VOffsetT) -> Option<(usize, usize)> {
        let slot = usize::from(slot);
        let back = i32::from_le_bytes(*self.bytes.get(self.start..)?.first_chunk()?);
        let vtable = self.start.checked_add_signed(-isize::try_from(back).ok()?)?;
        let half = |place: usize| Some(usize::from(u16::from_le_bytes(*self.bytes.get(place..)?.first_chunk()?)));
        let offset = half(vtable + slot).filter(|offset| *offset > 0 && Some(slot + 2) <= half(vtable))?;
        let place = self.start + offset;
        let start = place.checked_add(word(self.bytes, place)?)?;
        Some((start + 4, word(self.bytes, start)?))
    }
}

fn word(bytes: &[u8], place: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.get(place..)?.first_chunk()?)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Intact, digest_range};

    proptest! {
        #[test]
        fn the_digest_is_searched_in_any_footer_without_a_panic(
            mut footer in proptest::collection::vec(prop_oneof![0u8..32, any::<u8>()], 4..400),
        ) {
            // The root is inside, so that more than the first step is taken.
            let root = footer[0] % 64;
            footer[..4].copy_from_slice(&[root, 0, 0, 0]);
            let _ = digest_range(&footer);
            let len = u32::try_from(footer.len()).unwrap().to_le_bytes();
            let file = [b"ARROW1", footer.as_slice(), &len, b"ARROW1"].concat();
            prop_assert!(Intact::from_sealed(&file).is_none());
        }
    }
}
