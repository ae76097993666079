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
    input: Box<dyn BufRead + Send>,
    /// The number of lines of a chunk at most.
    most: usize,
    label: String,
    /// What was read, where the next chunk starts in it, and the number of its first line.
    text: Vec<u8>,
    start: usize,
    line: usize,
    /// Buffers of chunks that are not needed any more: new ones would be zeroed by the kernel, page by page.
    spare: Vec<Vec<u8>>,
    /// Why the text ends early.
    failure: Option<Failure>,
}

impl Chunks {
    pub(super) fn new(input: Box<dyn BufRead + Send>, most: usize, label: String) -> Self {
        Self { input, most, label, text: Vec::new(), start: 0, line: 1, spare: Vec::new(), failure: None }
    }

    /// Returns the next chunk with a row; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let (end, lines) = self.cut();
            let text = &self.text[self.start..self.start + end];
            // An error comes after the whole lines before it.
            if text.last() != Some(&b'\n')
                && let Some(failure) = self.failure.take()
            {
                return Err(failure);
            }
            if text.is_empty() {
                return Ok(None);
            }
            // A chunk of empty lines would take as long as one with rows in every column.
            let chunk = (!trimmed(text).is_empty()).then(|| {
                let mut bytes = self.spare.pop().unwrap_or_default();
                bytes.extend_from_slice(text);
                Chunk { bytes, line: self.line }
            });
            self.line += lines;
            self.start += end;
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
    }

    /// Returns the length of the next chunk and the number of its lines.
    fn cut(&mut self) -> (usize, usize) {
        // Rarely, so that short chunks do not move the same bytes again and again.
        if self.start >= BYTES {
            self.text.drain(..self.start);
            self.start = 0;
        }
        // The length of the part that has no end of a line.
        let mut searched = 0;
        loop {
            let is_end = self.fill(searched + BYTES);
            let text = &self.text[self.start..];
            if let Some((end, lines)) = whole_lines(&text[searched..], self.most) {
                return (searched + end, lines);
            }
            searched = text.len();
            if is_end {
                return (searched, 1);
            }
        }
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
    fn fill(&mut self, len: usize) -> bool {
        while self.text.len() - self.start < len && self.failure.is_none() {
            match self.input.fill_buf() {
                Ok([]) => return true,
                Ok(more) => {
                    self.text.extend_from_slice(more);
                    let len = more.len();
                    self.input.consume(len);
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
