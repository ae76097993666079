//! Which bytes of a mirror were written, if they are not written in order (FORMAT.md, I6-parts).

use std::ops::Range;

use crate::{
    error::{Error, Result},
    segment::Draft,
};

/// Bytes of the record, which is one page of the file, so that a write of it is done or not even if the process is killed.
pub(super) const RECORD: usize = 4096;
const MAGIC: [u8; 16] = *b"coframe.parts.1\0";
/// Bytes before the parts, and of each part.
const HEAD: usize = 40;
const PART: usize = 16;
/// Parts that fit into the record.
const MOST: usize = (RECORD - HEAD) / PART;

/// The parts of a segment that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Bytes of the whole segment.
    length: u64,
    /// Ascending, and neither empty nor next to each other.
    written: Vec<Range<u64>>,
}

impl Parts {
    /// The first `written` bytes.
    pub(super) fn new(length: u64, written: u64) -> Self {
        let first = 0..written.min(length);
        Self { length, written: if first.is_empty() { Vec::new() } else { vec![first] } }
    }

    /// Those that the file of a transfer records; `None` if its bytes were written in order.
    pub(super) fn read(draft: &Draft) -> Result<Option<Self>> {
        let Some(offset) = record_of(draft.len()) else { return Ok(None) };
        let mut record = vec![0; RECORD];
        let read = draft.read_at(&mut record, offset)?;
        Ok(record.get(..read).and_then(Self::decode).filter(|parts| parts.record_offset() == offset))
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where the record is: at the first page after the segment.
    pub(super) fn record_offset(&self) -> u64 {
        record_after(self.length).unwrap_or(u64::MAX)
    }

    /// Bytes from the start without a gap.
    pub(super) fn prefix(&self) -> u64 {
        self.written.first().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    /// What was not written.
    pub(super) fn missing(&self) -> Vec<Range<u64>> {
        let starts = std::iter::once(0).chain(self.written.iter().map(|part| part.end));
        let ends = self.written.iter().map(|part| part.start).chain(std::iter::once(self.length));
        starts.zip(ends).map(|(start, end)| start..end).filter(|part| !part.is_empty()).collect()
    }

    /// Adds bytes of which none was written.
    pub(super) fn add(&mut self, part: Range<u64>) -> Result<()> {
        let at = self.written.partition_point(|known| known.end <= part.start);
        if self.written.get(at).is_some_and(|next| next.start < part.end) {
            let Range { start, end } = part;
            return Err(Error::invalid(format_args!("bytes {start} to {end} of a mirror"), "some were written before"));
        }
        let joins_next = self.written.get(at).is_some_and(|next| next.start == part.end);
        let before = at.checked_sub(1).filter(|before| self.written.get(*before).is_some_and(|p| p.end == part.start));
        match (before, joins_next) {
            (Some(before), true) => {
                let next = self.written.remove(at);
                self.extend(before, |known| known.end = next.end);
            }
            (Some(before), false) => self.extend(before, |known| known.end = part.end),
            (None, true) => self.extend(at, |known| known.start = part.start),
            (None, false) if self.written.len() < MOST => self.written.insert(at, part),
            (None, false) => {
                return Err(Error::invalid(format_args!("part {} of a mirror", MOST + 1), "fill the gaps first"));
            }
        }
        Ok(())
    }

    fn extend(&mut self, at: usize, change: impl FnOnce(&mut Range<u64>)) {
        if let Some(known) = self.written.get_mut(at) {
            change(known);
        }
    }

    /// The whole page, so that nothing of an earlier record remains in it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = Vec::with_capacity(RECORD);
        record.extend(MAGIC);
        record.extend(self.length.to_le_bytes());
        record.extend(self.prefix().to_le_bytes());
        record.extend(u32::try_from(self.written.len()).unwrap_or(0).to_le_bytes());
        let parts: Vec<u8> =
            self.written.iter().flat_map(|part| [part.start.to_le_bytes(), part.end.to_le_bytes()].concat()).collect();
        record.extend(checksum(&record, &parts).to_le_bytes());
        record.extend(parts);
        record.resize(RECORD, 0);
        record
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let length = head(record)?.0;
        let count = usize::try_from(u32::from_le_bytes(*record.get(32..)?.first_chunk()?)).ok()?;
        let parts = record.get(HEAD..HEAD.checked_add(count.checked_mul(PART)?)?)?;
        if u32::from_le_bytes(*record.get(36..)?.first_chunk()?) != checksum(record.get(..36)?, parts) {
            return None;
        }
        let mut found = Self { length, written: Vec::new() };
        for part in parts.chunks_exact(PART) {
            let (start, end) = (number(part, 0)?, number(part, 8)?);
            let least = found.written.last().map_or(0, |last: &Range<u64>| last.end.saturating_add(1));
            if start < least || start >= end || end > length {
                return None;
            }
            found.written.push(start..end);
        }
        Some(found)
    }
}

/// Where the record of a segment of this length is.
pub(super) fn record_after(segment: u64) -> Option<u64> {
    segment.checked_next_multiple_of(bytes(RECORD))
}

/// Where a file of this length would have its record.
pub(super) fn record_of(file: u64) -> Option<u64> {
    file.checked_sub(bytes(RECORD)).filter(|offset| offset.is_multiple_of(bytes(RECORD)))
}

/// The length of the segment and the bytes from its start without a gap, from the start of a record. A reader that reads it
/// while its writer replaces it finds the old number or the new one: both are one aligned word.
pub(super) fn head(record: &[u8]) -> Option<(u64, u64)> {
    record.starts_with(&MAGIC).then(|| Some((number(record, 16)?, number(record, 24)?)))?
}

fn number(record: &[u8], at: usize) -> Option<u64> {
    record.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

fn checksum(head: &[u8], parts: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(parts);
    hasher.finalize()
}

pub(super) fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of ranges, not a list of numbers")]
mod tests {
    use super::{HEAD, MOST, PART, Parts, RECORD, head, record_of};

    #[test]
    fn parts_that_touch_become_one_and_gaps_are_what_is_missing() {
        let mut parts = Parts::new(100, 10);
        assert_eq!((parts.prefix(), parts.missing()), (10, vec![10..100]));
        for part in [50..60, 30..40, 40..50, 90..100, 10..20] {
            parts.add(part).unwrap();
        }
        assert_eq!(parts.written, [0..20, 30..60, 90..100]);
        assert_eq!((parts.prefix(), parts.missing()), (20, vec![20..30, 60..90]));
        parts.add(60..90).unwrap();
        parts.add(20..30).unwrap();
        assert_eq!((parts.written.as_slice(), parts.missing()), (&[0..100][..], Vec::new()));
        let empty = Parts::new(100, 0);
        assert_eq!((empty.prefix(), empty.missing()), (0, vec![0..100]));
    }

    #[test]
    fn bytes_that_were_written_before_are_refused() {
        let mut parts = Parts::new(100, 10);
        parts.add(50..60).unwrap();
        let before = parts.clone();
        for part in [0..1, 9..11, 5..5 + 60, 49..51, 59..61, 50..60, 40..70] {
            assert!(parts.add(part).unwrap_err().is_invalid_argument());
        }
        assert_eq!(parts, before);
    }

    #[test]
    fn a_record_is_what_was_written_and_a_damaged_one_is_none() {
        let mut parts = Parts::new(1 << 40, 7);
        for start in (1..MOST as u64).map(|n| n << 20) {
            parts.add(start..start + 9).unwrap();
        }
        assert!(parts.add((1 << 39)..(1 << 39) + 1).unwrap_err().to_string().contains("fill the gaps"));
        let record = parts.encode();
        assert_eq!(record.len(), RECORD);
        assert_eq!((Parts::decode(&record).as_ref(), head(&record)), (Some(&parts), Some((1 << 40, 7))));
        for at in 0..HEAD + PART * MOST {
            let mut damaged = record.clone();
            damaged[at] ^= 1;
            assert_eq!(Parts::decode(&damaged), None, "byte {at}");
            assert_eq!(Parts::decode(&record[..at]), None, "{at} bytes");
        }
        assert_eq!(
            (record_of(4095), record_of(4096), record_of(4097), record_of(8192)),
            (None, Some(0), None, Some(4096))
        );
        assert_eq!((Parts::new(1, 0).record_offset(), Parts::new(8192, 0).record_offset()), (4096, 8192));
        assert_eq!(Parts::decode(&Parts::new(u64::MAX, 7).encode()).unwrap().record_offset(), u64::MAX);
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "a record may contain any numbers")]
    fn a_record_of_parts_that_overlap_or_are_outside_of_the_segment_is_none() {
        for written in [vec![0..9, 5..20], vec![0..9, 9..20], vec![5..20, 0..3], vec![5..5], vec![7..5], vec![90..101]]
        {
            let record = Parts { length: 100, written }.encode();
            assert_eq!((head(&record).map(|(length, _)| length), Parts::decode(&record)), (Some(100), None));
        }
    }
}
