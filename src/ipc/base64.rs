//! Base64 (RFC 4648, with padding), the text form of bytes in a footer.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = word >> (18 - 6 * digit) & 63;
            let digit = DIGITS.get(value).filter(|_| digit <= group.len());
            text.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

/// `None` for text that [`encode`] does not produce.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
    for group in groups {
        let digits = group.iter().take_while(|digit| **digit != b'=');
        let values: Vec<usize> =
            digits.map(|digit| DIGITS.iter().position(|known| known == digit)).collect::<Option<_>>()?;
        let word = values.iter().fold(0, |word, value| word << 6 | value) << (6 * (4 - values.len()));
        let count = values.len().checked_sub(1)?;
        bytes.extend([16, 8, 0].iter().take(count).filter_map(|shift| u8::try_from(word >> shift & 255).ok()));
    }
    // Text with padding inside, or with unused bits that are set, would be encoded differently.
    (rest.is_empty() && encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn base64_is_decoded_exactly_or_refused() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
        for text in ["Z", "Zg", "Zg=", "Zh==", "Z===", "====", "Zg==Zg==", "Zm9\u{e9}", "Zm-v"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
