//! Finds values of NDJSON that its decoder would cut, round, or read as another type.
//!
//! Numbers are checked as they are written, because parsing loses what the type cannot hold.

use std::{borrow::Cow, fmt, mem};

use coframe::arrow::datatypes::DataType;
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The number of significant digits that a float always holds, and the exponents of ten with which it does.
const DIGITS: usize = 15;
const EXPONENTS: std::ops::RangeInclusive<i64> = -300..=300;
/// The number of digits that are compared; a float never needs more.
const LONGEST: usize = 800;

/// Calls a function with each member of a text that is one object.
pub(super) fn members<'a>(text: &'a [u8], member: impl FnMut(Cow<'a, str>, &'a RawValue)) -> serde_json::Result<()> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    parser.deserialize_map(Members(member))?;
    parser.end()
}

struct Members<F>(F);

/// A key, borrowed unless it contains escapes.
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

/// Returns a value, or one inside of it, that the type cannot hold exactly. `as_text`: any value may become text.
pub(super) fn lossy<'a>(value: &'a RawValue, data_type: &DataType, as_text: bool) -> Option<&'a str> {
    let text = value.get();
    let fits = match (data_type, text.as_bytes().first()?) {
        (DataType::List(item), b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            return items.into_iter().find_map(|value| lossy(value, item.data_type(), as_text));
        }
        (DataType::Struct(fields), b'{') => {
            let mut found = None;
            let (mut seen, mut next) = (vec![false; fields.len()], 0);
            let member = |key: Cow<'a, str>, value: &'a RawValue| {
                // Most objects have their keys in the same order.
                let expected = fields.get(next).filter(|field| *field.name() == key).map(|field| (next, field));
                let Some((position, field)) = expected.or_else(|| fields.find(&key)) else { return };
                next = position + 1;
                // The decoder keeps only one value of a repeated key.
                let again = mem::replace(&mut seen[position], true).then(|| value.get());
                found = found.or(again).or_else(|| lossy(value, field.data_type(), as_text));
            };
            members(text.as_bytes(), member).ok()?;
            return found;
        }
        (DataType::Int64 | DataType::UInt64 | DataType::Float64, b'"') | (DataType::Utf8, b'[' | b'{') => false,
        (DataType::Int64, b'-' | b'0'..=b'9') => text != "-0" && text.parse::<i64>().is_ok(),
        (DataType::UInt64, b'-' | b'0'..=b'9') => text.parse::<u64>().is_ok(),
        (DataType::Float64, b'-' | b'0'..=b'9') => is_exact(text),
        (DataType::Utf8, b'-' | b'0'..=b'9' | b't' | b'f') => as_text,
        // The decoder refuses JSON of another type.
        _ => true,
    };
    (!fits).then_some(text)
}

/// Returns whether a float holds the number: written with as many digits, it has the same digits.
pub(super) fn is_exact(text: &str) -> bool {
    if text.len() <= DIGITS && !text.bytes().any(|byte| byte == b'e' || byte == b'E') {
        return true;
    }
    let Some((digits, exponent)) = significant(text) else { return false };
    if digits.len() <= DIGITS && EXPONENTS.contains(&exponent) || digits.is_empty() {
        return true;
    }
    let Ok(float) = text.parse::<f64>() else { return false };
    if !float.is_finite() || digits.len() > LONGEST {
        return false;
    }
    let written = format!("{float:.*e}", digits.len() - 1);
    significant(&written).is_some_and(|found| found == (digits, exponent))
}

/// Returns the digits of a number without zeros at either end, and the exponent of ten of the first digit.
fn significant(text: &str) -> Option<(String, i64)> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.bytes().chain(fraction.bytes()).any(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let first = all.len() - all.trim_start_matches('0').len();
    let before_first = i64::try_from(whole.len()).ok()? - 1 - i64::try_from(first).ok()?;
    Some((all.trim_matches('0').to_owned(), exponent.checked_add(before_first)?))
}

#[cfg(test)]
mod tests {
    use super::is_exact;

    #[test]
    fn numbers_are_exact_where_a_float_has_all_their_digits() {
        let exact = [
            "0",
            "-0",
            "0.0",
            "0e5",
            "9007199254740992",
            "-9007199254740994",
            "100000000000000000000",
            "1.1",
            "1e300",
            "0.1",
            "0.10000000000000001",
            "0.30000000000000004",
            "123456789.12345678",
            "1.7976931348623157e308",
            "5e-324",
            "0.1000000000000000055511151231257827021181583404541015625",
            "0.000100",
            "1.50",
            "2.2250738585072014e-308",
        ];
        for text in exact {
            assert!(is_exact(text), "{text}");
        }
        let rounded = [
            "9007199254740993",
            "9007199254740993.0",
            "18446744073709551615",
            "18446744073709551617",
            "1e400",
            "-1E999",
            "12345678901234567.89",
            "3.14159265358979323846",
            "0.12345678901234567891",
            "1e-400",
            "3e-324",
        ];
        for text in rounded {
            assert!(!is_exact(text), "{text}");
        }
        let tiny = format!("0.{}1", "0".repeat(400));
        let huge = format!("1{}.5", "0".repeat(400));
        assert!(!is_exact(&tiny) && !is_exact(&huge));
    }
}
