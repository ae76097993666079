//! Checks the quotes of CSV before its reader, which would take an open quote for one long field.

use std::io::{self, BufRead, Read};

/// The start of the error about a quote that is never closed; the line number follows.
pub(in crate::source) const OPEN_QUOTE: &str = "quote never closed, line ";

/// Follows the quotes of a text. It is an error if the text ends inside of them.
pub(in crate::source) struct Quotes<R> {
    inner: R,
    delimiter: u8,
    line: usize,
    opened: usize,
    state: State,
    is_record_start: bool,
}

/// The position of a byte in a record.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::source) enum State {
    FieldStart,
    Plain,
    Quoted,
    AfterQuote,
}

impl State {
    pub(in crate::source) fn after(self, byte: u8, delimiter: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::AfterQuote,
            (Self::FieldStart | Self::AfterQuote, b'"') | (Self::Quoted, _) => Self::Quoted,
            (_, b'\n' | b'\r') => Self::FieldStart,
            (_, byte) if byte == delimiter => Self::FieldStart,
            _ => Self::Plain,
        }
    }

    /// Returns whether the byte ends the record.
    pub(in crate::source) fn ends_record(self, byte: u8) -> bool {
        self != Self::Quoted && matches!(byte, b'\n' | b'\r')
    }
}

impl<R> Quotes<R> {
    pub(in crate::source) fn new(inner: R, delimiter: u8) -> Self {
        Self { inner, line: 1, opened: 0, delimiter, state: State::FieldStart, is_record_start: true }
    }

    /// Returns whether the consumed bytes end with a record.
    pub(in crate::source) fn is_record_start(&self) -> bool {
        self.is_record_start
    }

    /// Returns the bytes up to the end of the record that contains the next byte, or all bytes if none of them ends it.
    pub(in crate::source) fn to_record_end<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let mut state = self.state;
        for (position, byte) in bytes.iter().enumerate() {
            if state.ends_record(*byte) {
                return &bytes[..=position];
            }
            state = state.after(*byte, self.delimiter);
        }
        bytes
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
        // The inner reader still has them, so nothing is read here.
        if let Ok(bytes) = self.inner.fill_buf() {
            for &byte in &bytes[..amount.min(bytes.len())] {
                self.line += usize::from(byte == b'\n');
                self.is_record_start = self.state.ends_record(byte);
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

/// Implements `Read::read` for a reader that has a buffer.
pub(in crate::source) fn read_buffered(reader: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let bytes = reader.fill_buf()?;
    let len = bytes.len().min(buffer.len());
    buffer[..len].copy_from_slice(&bytes[..len]);
    reader.consume(len);
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_at_line_breaks_outside_of_quotes() {
        let text = b"a,\"b\nc\"\r\nd\n";
        let mut quotes = Quotes::new(&text[..], b',');
        assert!(quotes.is_record_start());
        assert_eq!(quotes.to_record_end(text), b"a,\"b\nc\"\r");
        quotes.consume(5);
        assert!(!quotes.is_record_start());
        assert_eq!(quotes.to_record_end(&text[5..]), b"c\"\r");
        quotes.consume(2);
        assert!(!quotes.is_record_start());
        // The first byte of a line end of two bytes ends the record.
        quotes.consume(1);
        assert!(quotes.is_record_start());
        quotes.consume(1);
        assert!(quotes.is_record_start());
    }
}
