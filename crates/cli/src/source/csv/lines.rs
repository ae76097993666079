//! Changes the lines of CSV before its reader gets them: drops some, and turns empty lines of one column into rows.

use std::io::{self, BufRead, Read};

use super::quotes::{State, read_buffered};

/// The changes to the text.
#[derive(Clone, Copy)]
pub(in crate::source) struct Changes {
    pub(in crate::source) delimiter: u8,
    /// Whether each empty line below the first is a row, because the file has one column.
    pub(in crate::source) one_column: bool,
    /// Lines that start with this byte are skipped.
    pub(in crate::source) comment: Option<u8>,
    /// Whether spaces and tabs before a value are skipped.
    pub(in crate::source) trim: bool,
}

impl Changes {
    /// Returns the text with the changes, or the text itself if they do not apply.
    pub(in crate::source) fn apply<'a>(self, text: impl BufRead + 'a) -> Box<dyn BufRead + 'a> {
        if self.one_column || self.comment.is_some() || self.trim {
            Box::new(Lines::new(text, self))
        } else {
            Box::new(text)
        }
    }
}

struct Lines<R> {
    inner: R,
    changes: Changes,
    state: State,
    in_comment: bool,
    /// Whether the line has nothing so far, and whether it is the first.
    is_empty: bool,
    is_first: bool,
    last: u8,
    ready: Vec<u8>,
    given: usize,
}

impl<R> Lines<R> {
    fn new(inner: R, changes: Changes) -> Self {
        let (ready, state) = (Vec::new(), State::FieldStart);
        Self { inner, changes, state, in_comment: false, is_empty: true, is_first: true, last: 0, ready, given: 0 }
    }

    fn take(&mut self, byte: u8) {
        // The second byte of a line end of two bytes ends no line.
        let is_rest = byte == b'\n' && self.last == b'\r';
        self.last = byte;
        if self.in_comment {
            self.in_comment = !matches!(byte, b'\n' | b'\r');
            return;
        }
        if self.is_empty && Some(byte) == self.changes.comment {
            self.in_comment = true;
            return;
        }
        let is_space = matches!(byte, b' ' | b'\t') && byte != self.changes.delimiter;
        if self.changes.trim && self.state == State::FieldStart && is_space {
            return;
        }
        if self.state.ends_record(byte) {
            if self.changes.one_column && self.is_empty && !self.is_first && !is_rest {
                self.ready.extend_from_slice(b"\"\"");
            }
            self.is_first &= is_rest;
            self.is_empty = true;
        } else {
            self.is_empty = false;
        }
        self.ready.push(byte);
        self.state = self.state.after(byte, self.changes.delimiter);
    }
}

impl<R: BufRead> BufRead for Lines<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
            let bytes = self.inner.fill_buf()?.to_vec();
            if bytes.is_empty() {
                break;
            }
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

impl<R: BufRead> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// Reads changed lines.
pub(in crate::source) fn skip(text: &mut dyn BufRead, lines: usize) -> io::Result<()> {
    for _ in 0..lines {
        if text.skip_until(b'\n')? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Changes = Changes { delimiter: b',', one_column: false, comment: None, trim: false };

    fn changed(text: &str, changes: Changes) -> String {
        let mut found = String::new();
        Lines::new(io::BufReader::with_capacity(3, text.as_bytes()), changes).read_to_string(&mut found).unwrap();
        found
    }

    #[test]
    fn each_empty_line_of_one_column_is_a_field_but_the_first_and_those_in_quotes() {
        let cases = [
            ("a\n1\n\n3\n", "a\n1\n\"\"\n3\n"),
            ("a\r\n\r\n\r\n3", "a\r\n\"\"\r\n\"\"\r\n3"),
            ("\na\n\n", "\na\n\"\"\n"),
            ("a\n\"x\n\ny\"\n\n", "a\n\"x\n\ny\"\n\"\"\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(changed(text, Changes { one_column: true, ..PLAIN }), expected, "{text:?}");
        }
    }

    #[test]
    fn comments_are_left_out_but_not_inside_of_quotes() {
        let comments = Changes { comment: Some(b'#'), ..PLAIN };
        assert_eq!(changed("# it's \"x\na,b\n#y\n1,\"\n#z\"\n2,#", comments), "a,b\n1,\"\n#z\"\n2,#");
        let one = Changes { one_column: true, ..comments };
        assert_eq!(changed("#h\r\na\r\n#x\r\n\r\n1", one), "\na\r\n\n\"\"\r\n1");
    }

    #[test]
    fn white_space_before_values_is_left_out_but_not_inside_of_quotes() {
        let trim = Changes { trim: true, ..PLAIN };
        assert_eq!(changed(" a, \"b, c\"\n\t1,  2 ", trim), "a,\"b, c\"\n1,2 ");
        assert_eq!(changed("a\t b", Changes { delimiter: b'\t', ..trim }), "a\tb");
    }
}
