//! Values of a column as JSON and as text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use polars::prelude::*;
use serde_json::{Number, Value, json};

/// Returns a value for scripts: a number if JSON represents it exactly, otherwise a string.
pub(super) fn json_of(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => json!(value),
        // By its digits: 0.1 of 32 bits is 0.1, not 0.10000000149011612.
        AnyValue::Float32(value) => json_of_float(value.to_string().parse().unwrap_or(f64::from(*value))),
        value if value.is_float() => value.extract::<f64>().map_or(Value::Null, json_of_float),
        value if value.is_integer() => match (value.extract::<i64>(), value.extract::<u64>()) {
            (Some(value), _) => json!(value),
            (None, Some(value)) => json!(value),
            (None, None) => json!(value.to_string()),
        },
        AnyValue::String(text) => json!(text),
        // Polars panics on dates and times outside of its calendar: they are shown as their numbers.
        value => match catch_unwind(AssertUnwindSafe(|| value.str_value().into_owned())) {
            Ok(text) => json!(text),
            Err(_) => json!(value.clone().to_physical().to_string()),
        },
    }
}

/// JSON cannot express infinity and NaN, which become strings.
pub(super) fn json_of_float(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| json!(value.to_string()), Value::Number)
}

/// Returns a value for people.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => six_digits(value),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Returns at least six significant digits, every digit before the point, and an exponent beyond 15 digits or below
/// 0.00001.
fn six_digits(value: f64) -> String {
    let scientific = format!("{value:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-5..15).contains(&exponent) {
        return format!("{}e{exponent}", without_zeros(digits));
    }
    let decimals = usize::try_from(5 - exponent).unwrap_or(0);
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::six_digits;

    #[test]
    fn numbers_have_six_digits_and_an_exponent_where_they_need_one() {
        let expected = [
            (0.0, "0"),
            (-0.000_12, "-0.00012"),
            (0.000_001_234_567_8, "1.23457e-6"),
            (12.639_070_1, "12.6391"),
            (100.0, "100"),
            (12_345_678.9, "12345679"),
            (999_999.96, "1000000"),
            (1e22, "1e22"),
            (-f64::MAX, "-1.79769e308"),
        ];
        for (value, text) in expected {
            assert_eq!(six_digits(value), text);
        }
    }
}
