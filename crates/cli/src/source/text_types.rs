//! Types of strings in CSV and NDJSON: the type that a string has, and columns of strings converted to their types. A
//! string is read exactly or refused.

use std::{borrow::Cow, sync::Arc};

use coframe::arrow::{
    array::{
        ArrayRef, ArrowPrimitiveType, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
        Int64Array, PrimitiveArray, StringArray,
    },
    compute::kernels::cast_utils::{Parser, string_to_datetime},
    datatypes::{
        ArrowTimestampType, DataType, Date32Type, Int8Type, Int16Type, Int32Type, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};

use super::exact::is_exact;
use crate::failure::Failure;

/// The types of the inspected values of a column, as bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen(u16);

const BOOLEAN: u16 = 1;
const INTEGER: u16 = 2;
/// An integer that a float would round.
const LONG: u16 = 4;
const FLOAT: u16 = 8;
const DATE: u16 = 16;
const MICROS: u16 = 32;
const NANOS: u16 = 64;
/// A date or time that nanoseconds cannot represent.
const FAR: u16 = 128;
const ZONED: u16 = 256;
const TEXT: u16 = 512;

impl Seen {
    /// Adds a value. `comma`: whether a comma is before the fraction of a number.
    pub(super) fn add(&mut self, text: &str, comma: bool) {
        // Further values cannot make text a number again.
        if self.0 & TEXT == 0 {
            self.0 |= kind(text, comma);
        }
    }

    /// Returns a type that holds all values exactly. Times are at least microseconds, because finer ones may follow.
    pub(super) fn data_type(self) -> DataType {
        match self.0 {
            0 => DataType::Null,
            BOOLEAN => DataType::Boolean,
            seen if seen & !(INTEGER | LONG) == 0 => DataType::Int64,
            seen if seen & !(INTEGER | FLOAT) == 0 => DataType::Float64,
            seen if seen & !(DATE | FAR) == 0 => DataType::Date32,
            ZONED => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            seen if seen & !(DATE | MICROS | FAR) == 0 => DataType::Timestamp(TimeUnit::Microsecond, None),
            seen if seen & !(DATE | MICROS | NANOS) == 0 => DataType::Timestamp(TimeUnit::Nanosecond, None),
            _ => DataType::Utf8,
        }
    }
}

fn kind(text: &str, comma: bool) -> u16 {
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        BOOLEAN
    } else if integer(text).is_some() {
        if is_exact(text) { INTEGER } else { LONG }
    } else if float(text, Numbers { comma, rounded: false }).is_some() {
        // A float that is written as an integer was too large for one.
        // (-0 is one, because integers have no negative zero.)
        if text != "-0" && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { TEXT } else { FLOAT }
    } else if date(text).is_some() {
        DATE | far(text)
    } else {
        match time_shape(text) {
            Some((9, false)) if nanos(text).is_some() => NANOS,
            Some((6, false)) if micros(text).is_some() => MICROS | far(text),
            Some((6, true)) if zoned(text).is_some() => ZONED,
            _ => TEXT,
        }
    }
}

fn far(text: &str) -> u16 {
    if nanos(text).is_none() { FAR } else { 0 }
}

/// Numbers with leading zeros are codes, which lose them as numbers.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    matches!(digits, [b'0', second, ..] if second.is_ascii_digit())
}

fn integer(text: &str) -> Option<i64> {
    if is_plain(text) { text.parse().ok() } else { None }
}

/// Returns whether an integer can be a number: a plus sign, leading zeros and -0 would be lost.
fn is_plain(text: &str) -> bool {
    !text.starts_with('+') && !has_leading_zero(text) && text != "-0"
}

/// How numbers are read.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    /// Whether the fraction follows a comma instead of a point.
    pub(super) comma: bool,
    /// Whether floats may be rounded, because the user named the type.
    pub(super) rounded: bool,
}

impl Numbers {
    /// Returns the number with a point before its fraction; `None` if it is written with the other character.
    fn pointed(self, text: &str) -> Option<Cow<'_, str>> {
        match self.comma {
            false => Some(Cow::Borrowed(text)),
            true if text.contains('.') => None,
            true => Some(Cow::Owned(text.replace(',', "."))),
        }
    }
}

const NOT_NUMBERS: [&str; 4] = ["NaN", "nan", "inf", "-inf"];

fn float(text: &str, numbers: Numbers) -> Option<f64> {
    if NOT_NUMBERS.contains(&text) {
        return text.parse().ok();
    }
    let text = &*numbers.pointed(text)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && !has_leading_zero(text);
    if !is_number || !(numbers.rounded || is_exact(text)) {
        return None;
    }
    text.parse().ok().filter(|float: &f64| float.is_finite())
}

fn float32(text: &str, numbers: Numbers) -> Option<f32> {
    let wide = float(text, numbers)?;
    let narrow: f32 = numbers.pointed(text)?.parse().ok()?;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}

/// Returns a decimal number without its point, with `scale` digits after it; `None` if digits would be lost.
fn decimal(text: &str, precision: u8, scale: i8, numbers: Numbers) -> Option<i128> {
    let text = &*numbers.pointed(text)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let is_number =
        !digits.is_empty() && digits != "." && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let missing = usize::try_from(scale).ok()?.checked_sub(fraction.len())?;
    if !is_number {
        return None;
    }
    let all = format!("{whole}{fraction}{}", "0".repeat(missing));
    let all = all.trim_start_matches('0');
    if all.len() > usize::from(precision) {
        return None;
    }
    let value: i128 = if all.is_empty() { 0 } else { all.parse().ok()? };
    Some(if text.starts_with('-') { -value } else { value })
}

fn boolean(text: &str) -> Option<bool> {
    let is_true = text.eq_ignore_ascii_case("true");
    (is_true || text.eq_ignore_ascii_case("false")).then_some(is_true)
}

/// Returns whether the first characters match the shape, in which `0` is a digit and `T` may be a space.
fn has_shape(text: &str, shape: &[u8]) -> bool {
    let fits = |(found, expected): (u8, &u8)| match expected {
        b'0' => found.is_ascii_digit(),
        b'T' => found == b'T' || found == b' ',
        _ => found == *expected,
    };
    text.len() >= shape.len() && text.bytes().zip(shape).all(fits)
}

fn date(text: &str) -> Option<i32> {
    (text.len() == 10 && has_shape(text, b"0000-00-00")).then(|| Date32Type::parse(text))?
}

/// Returns the digits of a second that a time needs (6 or 9), and whether it has a zone; `None` if it is not a time.
fn time_shape(text: &str) -> Option<(u8, bool)> {
    // A leap second would become the next minute.
    if !has_shape(text, b"0000-00-00T00:00:00") || &text[17..19] == "60" {
        return None;
    }
    let rest = &text[19..];
    let (digits, zone) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            (digits, &fraction[digits..])
        }
        None => (0, rest),
    };
    let offset = matches!(zone.as_bytes().first(), Some(b'+' | b'-'))
        && (zone.len() == 6 && has_shape(&zone[1..], b"00:00") || zone.len() == 5 && has_shape(&zone[1..], b"0000"));
    let fits = digits <= 9 && (zone.is_empty() || zone == "Z" || offset);
    fits.then_some((if digits > 6 { 9 } else { 6 }, !zone.is_empty()))
}

/// Returns the microseconds since 1970 of a date, or of a time without a zone.
fn micros(text: &str) -> Option<i64> {
    if let Some(days) = date(text) {
        return i64::from(days).checked_mul(86_400_000_000);
    }
    (time_shape(text)? == (6, false)).then(|| utc(text))?.map(|time| time.timestamp_micros())
}

fn nanos(text: &str) -> Option<i64> {
    if let Some(days) = date(text) {
        return i64::from(days).checked_mul(86_400_000_000_000);
    }
    (!time_shape(text)?.1).then(|| utc(text))??.timestamp_nanos_opt()
}

fn zoned(text: &str) -> Option<i64> {
    (time_shape(text)? == (6, true)).then(|| utc(text))?.map(|time| time.timestamp_micros())
}

/// Returns the instant, in UTC if no zone is given.
fn utc(text: &str) -> Option<chrono::DateTime<chrono::Utc>> {
    string_to_datetime(&chrono::Utc, text).ok()
}

/// Converts the column to a type, or returns the first row that does not fit.
pub(super) fn column(texts: &StringArray, data_type: &DataType, numbers: Numbers) -> Result<ArrayRef, usize> {
    Ok(match data_type {
        DataType::Boolean => Arc::new(all(texts, boolean)?.into_iter().collect::<BooleanArray>()),
        DataType::Int8 => integers::<Int8Type>(texts)?,
        DataType::Int16 => integers::<Int16Type>(texts)?,
        DataType::Int32 => integers::<Int32Type>(texts)?,
        DataType::Int64 => Arc::new(Int64Array::from(all(texts, integer)?)),
        DataType::UInt8 => integers::<UInt8Type>(texts)?,
        DataType::UInt16 => integers::<UInt16Type>(texts)?,
        DataType::UInt32 => integers::<UInt32Type>(texts)?,
        DataType::UInt64 => integers::<UInt64Type>(texts)?,
        DataType::Float32 => Arc::new(Float32Array::from(all(texts, |text| float32(text, numbers))?)),
        DataType::Float64 => Arc::new(Float64Array::from(all(texts, |text| float(text, numbers))?)),
        DataType::Decimal128(precision, scale) => {
            let values = all(texts, |text| decimal(text, *precision, *scale, numbers))?;
            Arc::new(Decimal128Array::from(values).with_data_type(data_type.clone()))
        }
        DataType::Date32 => Arc::new(Date32Array::from(all(texts, date)?)),
        DataType::Timestamp(TimeUnit::Second, None) => {
            stamps::<TimestampSecondType>(all(texts, |text| whole(text, 1_000_000))?, None)
        }
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            stamps::<TimestampMillisecondType>(all(texts, |text| whole(text, 1_000))?, None)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => stamps::<TimestampNanosecondType>(all(texts, nanos)?, None),
        DataType::Timestamp(_, None) => stamps::<TimestampMicrosecondType>(all(texts, micros)?, None),
        DataType::Timestamp(_, zone) => stamps::<TimestampMicrosecondType>(all(texts, zoned)?, zone.clone()),
        _ => Arc::new(texts.clone()),
    })
}

fn integers<T>(texts: &StringArray) -> Result<ArrayRef, usize>
where
    T: ArrowPrimitiveType<Native: std::str::FromStr>,
{
    let parse = |text: &str| if is_plain(text) { text.parse().ok() } else { None };
    Ok(Arc::new(all(texts, parse)?.into_iter().collect::<PrimitiveArray<T>>()))
}

/// Returns the number of units of this many microseconds since 1970; `None` for a time between two of them.
fn whole(text: &str, unit: i64) -> Option<i64> {
    micros(text).filter(|micros| micros % unit == 0).map(|micros| micros / unit)
}

fn stamps<T>(values: Vec<Option<i64>>, zone: Option<Arc<str>>) -> ArrayRef
where
    T: ArrowTimestampType,
{
    Arc::new(values.into_iter().collect::<PrimitiveArray<T>>().with_timezone_opt(zone))
}

fn all<T>(texts: &StringArray, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<Option<T>>, usize> {
    let value = |(row, text): (usize, Option<&str>)| text.map(|text| parse(text).ok_or(row)).transpose();
    texts.iter().enumerate().map(value).collect()
}

/// Returns the error of a value that is not of the type that the user named.
pub(super) fn not_of_type(label: &str, line: usize, column: &str, value: &str, data_type: &DataType) -> Failure {
    Failure::failed(format_args!(
        "{label}, line {line}, column `{column}`: `{value}` cannot be {data_type}; correct it, or name another type \
         (--type {column}=...)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Numbers = Numbers { comma: false, rounded: false };

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        let read = |text| decimal(text, 20, 2, PLAIN);
        assert_eq!(read("123456789012345678.90"), Some(12_345_678_901_234_567_890));
        assert_eq!([read("-0.5"), read("7"), read(".25"), read("1.1000")], [Some(-50), Some(700), Some(25), Some(110)]);
        for wrong in ["1.125", "1234567890123456789", "", ".", "-", "1e3", "1,5", "x", "1.2.3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(decimal("1,5", 5, 1, Numbers { comma: true, rounded: false }), Some(15));
    }

    #[test]
    fn a_decimal_comma_means_that_points_are_not_numbers() {
        let comma = Numbers { comma: true, rounded: false };
        assert_eq!((float("1,5", comma), float("1.5", comma), float("1.234,5", comma)), (Some(1.5), None, None));
        assert_eq!((kind("1,5", true), kind("1,5", false), kind("1.5", true)), (FLOAT, TEXT, TEXT));
    }

    #[test]
    fn minus_zero_is_a_float() {
        let mut seen = Seen::default();
        seen.add("1", false);
        assert_eq!(seen.data_type(), DataType::Int64);
        seen.add("-0", false);
        assert_eq!(seen.data_type(), DataType::Float64);
        assert!(float("-0", PLAIN).is_some_and(f64::is_sign_negative));
        assert_eq!(integer("-0"), None);
    }

    #[test]
    fn floats_are_rounded_only_where_the_type_was_named() {
        let long = "3.14159265358979323846";
        assert_eq!(float(long, PLAIN), None);
        assert_eq!(float(long, Numbers { comma: false, rounded: true }), Some(std::f64::consts::PI));
        assert_eq!(float32("1e39", Numbers { comma: false, rounded: true }), None);
    }
}
