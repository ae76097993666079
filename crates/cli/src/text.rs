//! Text for people, in which nothing that comes from data can control the terminal.
//!
//! Names, metadata, types, values, paths and messages may contain escape sequences, line breaks and marks that reverse
//! the direction of writing. `output` prints only [`Text`], which can be created only through the escape.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Write},
};

use crate::stdout::{Style, has_colour};

/// Lines without characters that control a terminal, except the styles of this program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Creates one line.
    pub(crate) fn new(data: impl fmt::Display) -> Self {
        Self(escaped(&data.to_string()).into_owned())
    }

    /// Creates several lines. Line breaks in `text` stay line breaks, so data in it must be escaped already.
    pub(crate) fn from_lines(text: &str) -> Self {
        Self::lines(text.lines().map(Self::new))
    }

    pub(crate) fn lines(lines: impl IntoIterator<Item = Self>) -> Self {
        Self(lines.into_iter().map(|line| line.0).collect::<Vec<_>>().join("\n"))
    }

    /// Returns the text in a style, if standard output shows colours.
    pub(crate) fn styled(self, style: Style) -> Self {
        if has_colour() { Self(format!("\x1b[{}m{}\x1b[0m", style as u8, self.0)) } else { self }
    }

    /// Returns both texts on one line.
    pub(crate) fn then(self, next: Self) -> Self {
        Self(self.0 + &next.0)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a terminal may interpret a character as a command, a line break or a change of direction.
fn controls(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Returns the data with such characters as Rust writes them: `\n`, `\u{1b}`.
pub(crate) fn escaped(data: &str) -> Cow<'_, str> {
    if !data.contains(controls) {
        return Cow::Borrowed(data);
    }
    let piece = |c: char| if controls(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(data.chars().map(piece).collect())
}

/// A writer of JSON in which DEL and the control characters from U+0080 are escaped as those below U+0020 are.
///
/// In JSON they occur only inside of strings.
pub(crate) struct Json<W> {
    out: W,
    /// Whether the last byte starts a character of two bytes that may be one of them.
    started: bool,
}

/// The first byte of U+0080 to U+00BF in UTF-8.
const LEAD: u8 = 0xC2;

impl<W: Write> Json<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, started: false }
    }

    /// Writes the byte after the lead byte.
    fn end(&mut self, byte: u8) -> io::Result<()> {
        self.started = false;
        match byte {
            0x80..=0x9F => write!(self.out, "\\u00{byte:02x}"),
            _ => self.out.write_all(&[LEAD, byte]),
        }
    }
}

impl<W: Write> Write for Json<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while let [first, after @ ..] = rest {
            if self.started {
                self.end(*first)?;
                rest = after;
                continue;
            }
            let plain = rest.iter().position(|byte| matches!(*byte, 0x7F | LEAD)).unwrap_or(rest.len());
            self.out.write_all(&rest[..plain])?;
            rest = &rest[plain..];
            let [special, after @ ..] = rest else { break };
            rest = after;
            if *special == LEAD {
                self.started = true;
            } else {
                self.out.write_all(b"\\u007f")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_a_terminal_are_escaped() {
        assert_eq!(
            escaped("a\u{1b}]0;x\u{7}\n\u{7f}\u{9b}2J\u{202e}ä"),
            "a\\u{1b}]0;x\\u{7}\\n\\u{7f}\\u{9b}2J\\u{202e}ä"
        );
        assert!(matches!(escaped("größer 東京 µs"), Cow::Borrowed(_)));
        assert_eq!(Text::new("a\nb").to_string(), "a\\nb");
        assert_eq!(Text::from_lines("a\tb\nc").to_string(), "a\\tb\nc");
    }

    #[test]
    fn json_keeps_its_value_and_has_no_control_characters() {
        let value = serde_json::json!({ "a\u{7f}\u{80}": "\u{9b}2J\u{a0}\u{1b}é東\u{c2}" });
        let text = serde_json::to_vec(&value).unwrap();
        for size in 1..text.len() {
            let mut out = Json::new(Vec::new());
            for part in text.chunks(size) {
                out.write_all(part).unwrap();
            }
            let written = String::from_utf8(out.out).unwrap();
            assert!(!written.contains(char::is_control), "{written:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
        }
    }
}
