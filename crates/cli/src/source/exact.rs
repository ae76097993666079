//! Which numbers a float holds exactly.
//!
//! Numbers are checked as they are written, because parsing loses what the type cannot hold.

/// The number of significant digits that a float always holds, and the exponents of ten with which it does.
const DIGITS: usize = 15;
const EXPONENTS: std::ops::RangeInclusive<i64> = -300..=300;
/// The number of digits that are compared; a float never needs more.
const LONGEST: usize = 800;

/// Returns whether a float holds the number: written with as many digits, it has the same digits.
pub(super) fn is_exact(text: &str) -> bool {
    if text.len() <= DIGITS && !text.bytes().any(|byte| byte == b'e' || byte == b'E') {
        return true;
    }
    let Some(digits) = Digits::of(text) else { return false };
    if digits.len <= DIGITS && EXPONENTS.contains(&digits.exponent) || digits.len == 0 {
        return true;
    }
    let Ok(float) = text.parse::<f64>() else { return false };
    if !float.is_finite() || digits.len > LONGEST {
        return false;
    }
    let written = format!("{float:.*e}", digits.len - 1);
    Digits::of(&written).is_some_and(|found| found.exponent == digits.exponent && found.iter().eq(digits.iter()))
}

/// The digits of a number without zeros at either end.
struct Digits<'a> {
    /// Before and after the point.
    parts: [&'a str; 2],
    zeros: usize,
    len: usize,
    /// The exponent of ten of the first digit.
    exponent: i64,
}

impl<'a> Digits<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if all().any(|byte| !byte.is_ascii_digit()) {
            return None;
        }
        let zeros = all().take_while(|byte| *byte == b'0').count();
        let end = all().zip(1..).filter(|(byte, _)| *byte != b'0').map(|(_, end)| end).last().unwrap_or(zeros);
        let before_first = i64::try_from(whole.len()).ok()? - 1 - i64::try_from(zeros).ok()?;
        let exponent = exponent.checked_add(before_first)?;
        Some(Self { parts: [whole, fraction], zeros, len: end - zeros, exponent })
    }

    fn iter(&self) -> impl Iterator<Item = u8> {
        let [whole, fraction] = self.parts;
        whole.bytes().chain(fraction.bytes()).skip(self.zeros).take(self.len)
    }
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
