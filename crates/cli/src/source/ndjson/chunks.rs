//! Cuts the text into chunks of whole lines.

use std::{
    io::{BufRead, ErrorKind},
    ops::Range,
};

use super::trimmed;
use crate::{
    failure::{Failure, Result},
    source::input::damaged,
};

/// The length of a chunk, unless it has a longer line, or as many lines as it may have.
const BYTES: usize = 1 << 20;

/// Whole lines.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// The number of the first line.
    pub(super) line: usize,
}

impl Chunk {
    /// Returns the line that contains a byte, and its number.
    pub(super) fn line_at(&self, byte: usize) -> (usize, Range<usize>) {
        let (before, rest) = self.bytes.split_at(byte.min(self.bytes.len()));
        let is_end = |byte: &u8| *byte == b'\n';
        let number = self.line + before.split(is_end).count() - 1;
        let start = before.len() - before.rsplit(is_end).next().map_or(0, <[u8]>::len);
        let end = before.len() + rest.split(is_end).next().map_or(0, <[u8]>::len);
        (number, start..end)
    }

    /// Returns the number of the line that has a row.
    pub(super) fn line_of(&self, row: usize) -> usize {
        let lines = self.bytes.split(|byte| *byte == b'\n').enumerate();
        let mut rows = lines.filter(|(_, line)| !trimmed(line).is_empty());
        self.line + rows.nth(row).map_or(0, |(line, _)| line)
    }
}

pub(super) struct Chunks {
    text: Box<dyn BufRead + Send>,
    /// The number of lines of a chunk at most.
    most: usize,
    label: String,
    /// The start of the next chunk, and the number of its first line.
    rest: Vec<u8>,
    line: usize,
    /// Buffers of chunks that are not needed any more: new ones would be zeroed by the kernel, page by page.
    spare: Vec<Vec<u8>>,
    /// Why the text ends early.
    failure: Option<Failure>,
}

impl Chunks {
    pub(super) fn new(text: Box<dyn BufRead + Send>, most: usize, label: String) -> Self {
        Self { text, most, label, rest: Vec::new(), line: 1, spare: Vec::new(), failure: None }
    }

    pub(super) fn next(&mut self) -> Result<Option<Chunk>> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.append(&mut self.rest);
        // The length of the part that has no end of a line.
        let mut searched = 0;
        let (end, lines) = loop {
            let is_end = self.fill(&mut bytes, searched + BYTES);
            if let Some((end, lines)) = whole_lines(&bytes[searched..], self.most) {
                break (searched + end, lines);
            }
            searched = bytes.len();
            if is_end {
                break (searched, 1);
            }
        };
        let is_cut = bytes[..end].last() != Some(&b'\n');
        if let (true, Some(failure)) = (is_cut, self.failure.take()) {
            return Err(failure);
        }
        self.rest.extend_from_slice(&bytes[end..]);
        bytes.truncate(end);
        let line = self.line;
        self.line += lines;
        Ok((!bytes.is_empty()).then_some(Chunk { bytes, line }))
    }

    /// Takes back a chunk, whose buffer becomes that of another one.
    pub(super) fn reuse(&mut self, chunk: Chunk) {
        let mut bytes = chunk.bytes;
        // Not that of a very long line.
        if bytes.capacity() <= 4 * BYTES {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Reads until there are this many bytes. Returns whether the text ends before.
    fn fill(&mut self, bytes: &mut Vec<u8>, len: usize) -> bool {
        while bytes.len() < len && self.failure.is_none() {
            match self.text.fill_buf() {
                Ok([]) => return true,
                Ok(more) => {
                    bytes.extend_from_slice(more);
                    let len = more.len();
                    self.text.consume(len);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.failure = Some(damaged(&self.label, &error)),
            }
        }
        self.failure.is_some()
    }
}

/// Returns the length and the number of the whole lines at the start, of which at most `most` are counted; `None` if
/// there is none.
fn whole_lines(bytes: &[u8], most: usize) -> Option<(usize, usize)> {
    // As long as the number of ends fits one byte, which the processor adds many at a time.
    const PART: usize = u8::MAX as usize;
    let mut lines = 0;
    for (part, start) in bytes.chunks(PART).zip((0..).step_by(PART)) {
        let ends = usize::from(part.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>());
        if lines + ends >= most {
            let mut ends = part.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let (last, _) = ends.nth(most - lines - 1)?;
            return Some((start + last + 1, most));
        }
        lines += ends;
    }
    let last = bytes.iter().rposition(|byte| *byte == b'\n')?;
    Some((last + 1, lines))
}
