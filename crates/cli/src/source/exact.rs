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
