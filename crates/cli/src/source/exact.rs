//! Values of NDJSON that its decoder would cut, round, or take for another type.
//!
//! Numbers are judged as they are written: a parsed one has lost what its type did not hold.

use std::{borrow::Cow, fmt, mem};

use coframe::arrow::datatypes::DataType;
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Digits that a float always holds.
const EXACT: usize = 15;
/// A number of fewer characters, written without an exponent, is a finite float.
const FINITE: usize = 300;

/// Calls a function with each member of the one object that a text is.
pub(super) fn members<'a>(text: &'a [u8], member: impl FnMut(Cow<'a, str>, &'a RawValue)) -> serde_json::Result<()> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    parser.deserialize_map(Members(member))?;
    parser.end()
}

struct Members<F>(F);

/// A key, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = map.next_entry()? {
            (self.0)(key, value);
        }
        Ok(())
    }
}

/// A value, or one inside of it, that is not what the type holds. `as_text`: any value may become text.
pub(super) fn lossy<'a>(value: &'a RawValue, data_type: &DataType, as_text: bool) -> Option<&'a str> {
    let text = value.get();
    let fits = match (data_type, text.as_bytes().first()?) {
        (DataType::List(item), b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            return items.into_iter().find_map(|value| lossy(value, item.data_type(), as_text));
        }
        (DataType::Struct(fields), b'{') => {
            let mut found = None;
            let mut seen = vec![false; fields.len()];
            let member = |key: Cow<'a, str>, value: &'a RawValue| {
                let Some((position, field)) = fields.find(&key) else { return };
                // Of a key that is there twice, the decoder keeps one value.
                let again = mem::replace(&mut seen[position], true).then(|| value.get());
                found = found.or(again).or_else(|| lossy(value, field.data_type(), as_text));
            };
            members(text.as_bytes(), member).ok()?;
            return found;
        }
        (DataType::Int64 | DataType::UInt64 | DataType::Float64, b'"') | (DataType::Utf8, b'[' | b'{') => false,
        (DataType::Int64, b'-' | b'0'..=b'9') => text.parse::<i64>().is_ok(),
        (DataType::UInt64, b'-' | b'0'..=b'9') => text.parse::<u64>().is_ok(),
        (DataType::Float64, b'-' | b'0'..=b'9') => is_exact(text),
        (DataType::Utf8, b'-' | b'0'..=b'9' | b't' | b'f') => as_text,
        // What is no JSON of the type at all is left to the decoder.
        _ => true,
    };
    (!fits).then_some(text)
}

/// Whether a float holds the number: all digits of an integer, and of others as many as floats have.
pub(super) fn is_exact(text: &str) -> bool {
    let is_integer = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    if is_integer && text.len() > EXACT {
        return text.parse::<f64>().is_ok_and(|float| format!("{float:.0}") == text);
    }
    let is_short = text.len() < FINITE && !text.bytes().any(|byte| byte == b'e' || byte == b'E');
    is_short || text.parse().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::is_exact;

    #[test]
    fn integers_are_exact_where_a_float_has_all_their_digits() {
        for text in ["0", "-0", "9007199254740992", "-9007199254740994", "100000000000000000000", "1.1", "1e300"] {
            assert!(is_exact(text), "{text}");
        }
        for text in ["9007199254740993", "18446744073709551615", "18446744073709551617", "1e400", "-1E999"] {
            assert!(!is_exact(text), "{text}");
        }
        let tiny = format!("0.{}1", "0".repeat(400));
        let huge = format!("1{}.5", "0".repeat(400));
        assert!(is_exact(&tiny) && !is_exact(&huge));
    }
}
