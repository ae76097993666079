//! Reads the tokens of JSON from text. A method returns `None` where the text is something else.

use crate::source::exact::is_exact;

/// The digits that an integer of 64 bits always holds, and those that a float does.
const INTEGER_DIGITS: usize = 18;
const FLOAT_DIGITS: usize = 15;
/// Powers of ten that floats represent exactly.
const TENS: [f64; FLOAT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A position in text.
pub(super) struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pub(super) at: usize,
}

/// A number as it is written.
pub(super) struct Number<'a> {
    pub(super) text: &'a str,
    is_negative: bool,
    is_integer: bool,
    has_exponent: bool,
    /// All digits before the exponent as one integer, if that has at most 19 digits.
    mantissa: u64,
    digits: usize,
    /// The number of digits after the point.
    fraction: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Skips a byte if it is the next one.
    #[inline]
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips these bytes if they are next.
    #[inline]
    pub(super) fn skip_all(&mut self, expected: &[u8]) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(expected));
        self.at += if found { expected.len() } else { 0 };
        found
    }

    #[inline]
    pub(super) fn expect(&mut self, expected: &[u8]) -> Option<()> {
        self.skip_all(expected).then_some(())
    }

    /// Skips white space inside of a line.
    #[inline]
    pub(super) fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips empty lines, and the white space before a value.
    pub(super) fn lines(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Reads the end of a line, or of the text.
    pub(super) fn line_end(&mut self) -> Option<()> {
        self.spaces();
        matches!(self.next(), None | Some(b'\n')).then_some(())
    }

    /// Appends the content of a string.
    pub(super) fn string(&mut self, content: &mut String) -> Option<()> {
        self.expect(b"\"")?;
        loop {
            let start = self.at;
            self.at += plain(self.bytes.get(start..)?);
            content.push_str(self.text.get(start..self.at)?);
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => content.push(self.escaped()?),
                _ => return None,
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => byte.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let is_pair = (0xD800..0xDC00).contains(&first);
                let second = if is_pair { self.expect(b"\\u").and_then(|()| self.unit())? } else { 0 };
                char::decode_utf16([first, second]).next()?.ok()?
            }
            _ => return None,
        })
    }

    /// Reads four hexadecimal digits: a unit of UTF-16.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { u16::from_str_radix(digits, 16).ok() } else { None }
    }

    #[inline]
    pub(super) fn number(&mut self) -> Option<Number<'a>> {
        let start = self.at;
        let is_negative = self.skip(b'-');
        let has_zero = self.peek() == Some(b'0');
        let mut mantissa = 0;
        let whole = self.digits(&mut mantissa);
        if whole == 0 || has_zero && whole > 1 {
            return None;
        }
        let has_point = self.skip(b'.');
        let fraction = if has_point { self.digits(&mut mantissa) } else { 0 };
        if has_point && fraction == 0 {
            return None;
        }
        let has_exponent = self.skip(b'e') || self.skip(b'E');
        if has_exponent {
            let _ = self.skip(b'-') || self.skip(b'+');
            if self.digits(&mut 0) == 0 {
                return None;
            }
        }
        let (text, is_integer) = (self.text.get(start..self.at)?, !has_point && !has_exponent);
        Some(Number { text, is_negative, is_integer, has_exponent, mantissa, digits: whole + fraction, fraction })
    }

    /// Reads digits, appends them to an integer, and returns how many there are.
    #[inline]
    fn digits(&mut self, value: &mut u64) -> usize {
        let start = self.at;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            // Wraps where the number has too many digits, which is checked before the value is used.
            *value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            self.at += 1;
        }
        self.at - start
    }
}

impl Number<'_> {
    /// Returns the number as an integer. Integers have no negative zero.
    #[inline]
    pub(super) fn signed(&self) -> Option<i64> {
        if !self.is_integer || self.is_negative && self.mantissa == 0 {
            return None;
        }
        if self.digits > INTEGER_DIGITS {
            return self.text.parse().ok();
        }
        let value = i64::try_from(self.mantissa).ok()?;
        Some(if self.is_negative { -value } else { value })
    }

    #[inline]
    pub(super) fn unsigned(&self) -> Option<u64> {
        if !self.is_integer || self.is_negative {
            return None;
        }
        if self.digits > INTEGER_DIGITS { self.text.parse().ok() } else { Some(self.mantissa) }
    }

    /// Returns the number as a float with the same digits.
    #[inline]
    pub(super) fn float(&self) -> Option<f64> {
        if self.digits > FLOAT_DIGITS || self.has_exponent {
            return if is_exact(self.text) { self.text.parse().ok() } else { None };
        }
        // Both are exact, so their quotient is rounded once, as parsing rounds.
        let value = self.mantissa as f64 / TENS.get(self.fraction)?;
        Some(if self.is_negative { -value } else { value })
    }
}

/// Returns the number of bytes before the first that ends a string, starts an escape, or must be escaped.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // Sets the high bit of each byte that is zero, and maybe of bytes above the first such byte.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let escapes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & (ONES << 7);
        let found = quotes | escapes | controls;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_at_its_first_quote_escape_or_control_character() {
        for len in 0..40 {
            for special in [b'"', b'\\', 0, 0x1F] {
                for before in [b'a', b' ', b'!', b'#', b'[', b']', 0x7F, 0x80, 0xA2, 0xDC, 0xFF] {
                    let mut bytes = vec![before; len];
                    assert_eq!(plain(&bytes), len);
                    bytes.push(special);
                    bytes.extend([special ^ 1, b'x', b'"']);
                    assert_eq!(plain(&bytes), len, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_read_as_their_parsers_read_them() {
        let numbers = [
            "0",
            "-0",
            "7",
            "-12",
            "0.5",
            "-0.0",
            "123456789012345",
            "1234567890.12345",
            "0.00000000000001",
            "1e3",
            "1.5E-7",
            "999999999999999999",
            "-999999999999999999",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "0.1",
            "2.675",
            "1234567.89",
        ];
        for text in numbers {
            let number = Cursor::new(text).number().unwrap();
            assert_eq!(number.signed(), text.parse().ok().filter(|_| text != "-0"), "{text}");
            assert_eq!(number.unsigned(), text.parse().ok().filter(|_| text != "-0"), "{text}");
            let expected = text.parse::<f64>().ok().filter(|_| is_exact(text));
            assert_eq!(number.float().map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        }
        for wrong in ["", "-", "01", "-01", "1.", ".5", "1e", "1e+", "+1", "x"] {
            let mut cursor = Cursor::new(wrong);
            assert!(cursor.number().is_none_or(|_| cursor.at < wrong.len()), "{wrong}");
        }
    }

    #[test]
    fn strings_are_read_as_their_parser_reads_them() {
        let strings = [
            r#""""#,
            r#""plain ascii text""#,
            "\"é€😀\"",
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u0041\u00e9\ud83d\ude00z""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\u0041""#,
            r#""\u+123""#,
            r#""\x""#,
            "\"a\tb\"",
            r#""open"#,
        ];
        for text in strings {
            let mut found = String::new();
            let read = Cursor::new(text).string(&mut found).map(|()| found);
            assert_eq!(read, serde_json::from_str(text).ok(), "{text}");
        }
    }
}
