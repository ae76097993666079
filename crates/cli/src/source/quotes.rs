//! The text of CSV on its way to the reader, which would take an open quote for one long field, and would leave out empty
//! lines.

use std::io::{self, BufRead, Read};

/// Begins the error of a quote that is never closed; the line follows.
pub(super) const OPEN_QUOTE: &str = "quote never closed, line ";

/// Follows the quotes of a text: its end inside of them is an error.
pub(super) struct Quotes<R> {
    inner: R,
    delimiter: u8,
    line: usize,
    opened: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    AfterQuote,
}

impl State {
    fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::AfterQuote,
            (Self::FieldStart | Self::AfterQuote, b'"') | (Self::Quoted, _) => Self::Quoted,
            (_, b'\n' | b'\r') => Self::FieldStart,
            (_, byte) if byte == delimiter => Self::FieldStart,
            _ => Self::Plain,
        }
    }
}

impl<R> Quotes<R> {
    pub(super) fn new(inner: R, delimiter: u8) -> Self {
        Self { inner, line: 1, opened: 0, delimiter, state: State::FieldStart }
    }
}

impl<R: BufRead> BufRead for Quotes<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = self.inner.fill_buf()?;
        if bytes.is_empty() && self.state == State::Quoted {
            return Err(io::Error::other(format!("{OPEN_QUOTE}{}", self.opened)));
        }
        Ok(bytes)
    }

    fn consume(&mut self, amount: usize) {
        // The inner reader has them still, so nothing is read here.
        if let Ok(bytes) = self.inner.fill_buf() {
            for &byte in &bytes[..amount.min(bytes.len())] {
                self.line += usize::from(byte == b'\n');
                let next = self.state.after(byte, self.delimiter);
                if self.state == State::FieldStart && next == State::Quoted {
                    self.opened = self.line;
                }
                self.state = next;
            }
        }
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for Quotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

fn read_buffered(reader: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let bytes = reader.fill_buf()?;
    let len = bytes.len().min(buffer.len());
    buffer[..len].copy_from_slice(&bytes[..len]);
    reader.consume(len);
    Ok(len)
}

/// The text of one column, with an empty field in quotes for each empty line below the first: there it is a row.
pub(super) struct OneColumn<R> {
    inner: R,
    state: State,
    /// Whether the line has nothing so far, and whether it is the first.
    is_empty: bool,
    is_first: bool,
    last: u8,
    ready: Vec<u8>,
    given: usize,
}

impl<R> OneColumn<R> {
    pub(super) fn new(inner: R) -> Self {
        let (ready, state) = (Vec::new(), State::FieldStart);
        Self { inner, state, is_empty: true, is_first: true, last: 0, ready, given: 0 }
    }

    fn take(&mut self, byte: u8) {
        let ends_line = self.state != State::Quoted && matches!(byte, b'\n' | b'\r');
        // The second half of a line end of two bytes ends no line.
        let is_rest = byte == b'\n' && self.last == b'\r';
        if ends_line && self.is_empty && !self.is_first && !is_rest {
            self.ready.extend_from_slice(b"\"\"");
        }
        self.ready.push(byte);
        if ends_line {
            (self.is_empty, self.is_first) = (true, false);
        } else {
            self.is_empty = false;
        }
        // No byte separates fields.
        self.state = self.state.after(byte, b'\n');
        self.last = byte;
    }
}

impl<R: BufRead> BufRead for OneColumn<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
            let bytes = self.inner.fill_buf()?.to_vec();
            for byte in &bytes {
                self.take(*byte);
            }
            self.inner.consume(bytes.len());
        }
        Ok(&self.ready[self.given..])
    }

    fn consume(&mut self, amount: usize) {
        self.given = (self.given + amount).min(self.ready.len());
    }
}

impl<R: BufRead> Read for OneColumn<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_empty_line_of_one_column_is_a_field_but_the_first_and_those_in_quotes() {
        let cases = [
            ("a\n1\n\n3\n", "a\n1\n\"\"\n3\n"),
            ("a\r\n\r\n\r\n3", "a\r\n\"\"\r\n\"\"\r\n3"),
            ("\na\n\n", "\na\n\"\"\n"),
            ("a\n\"x\n\ny\"\n\n", "a\n\"x\n\ny\"\n\"\"\n"),
        ];
        for (text, expected) in cases {
            let mut found = String::new();
            OneColumn::new(io::BufReader::with_capacity(3, text.as_bytes())).read_to_string(&mut found).unwrap();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
