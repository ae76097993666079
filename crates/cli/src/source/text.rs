//! Values of CSV: what a text is, and columns of texts as their types. A text is taken whole or refused, never cut.

use std::sync::Arc;

use coframe::arrow::{
    array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, PrimitiveArray, StringArray},
    compute::kernels::cast_utils::{Parser, string_to_datetime},
    datatypes::{
        ArrowTimestampType, DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
    },
};

use super::exact::is_exact;

/// The types that values of a column were seen to have, as bits.
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
/// A date or time that nanoseconds cannot count to.
const FAR: u16 = 128;
const ZONED: u16 = 256;
const TEXT: u16 = 512;

impl Seen {
    pub(super) fn add(&mut self, text: &str) {
        // Nothing makes text a number again.
        if self.0 & TEXT == 0 {
            self.0 |= kind(text);
        }
    }

    /// A type that holds all values without a loss. Times are microseconds at least, since finer ones may follow.
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

fn kind(text: &str) -> u16 {
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        BOOLEAN
    } else if integer(text).is_some() {
        if is_exact(text) { INTEGER } else { LONG }
    } else if float(text).is_some() {
        // A float that is written as an integer was too large for one.
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { TEXT } else { FLOAT }
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
    if text.starts_with('+') || has_leading_zero(text) { None } else { text.parse().ok() }
}

fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && !has_leading_zero(text);
    let is_exact = is_number && is_exact(text);
    if is_exact || ["NaN", "nan", "inf", "-inf"].contains(&text) { text.parse().ok() } else { None }
}

fn boolean(text: &str) -> Option<bool> {
    let is_true = text.eq_ignore_ascii_case("true");
    (is_true || text.eq_ignore_ascii_case("false")).then_some(is_true)
}

/// Whether the text begins as the shape does, in which `0` is a digit and `T` may be a space.
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

/// The digits of a second that a time needs (6 or 9), and whether it has a zone; `None` for what is no time.
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

/// Microseconds since 1970 of a date, or of a time without a zone.
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

/// The instant, in UTC where no zone is named.
fn utc(text: &str) -> Option<chrono::DateTime<chrono::Utc>> {
    string_to_datetime(&chrono::Utc, text).ok()
}

/// The column in a type that was inferred; else the first row that does not fit.
pub(super) fn column(texts: &StringArray, data_type: &DataType) -> Result<ArrayRef, usize> {
    Ok(match data_type {
        DataType::Boolean => Arc::new(all(texts, boolean)?.into_iter().collect::<BooleanArray>()),
        DataType::Int64 => Arc::new(Int64Array::from(all(texts, integer)?)),
        DataType::Float64 => Arc::new(Float64Array::from(all(texts, float)?)),
        DataType::Date32 => Arc::new(Date32Array::from(all(texts, date)?)),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => stamps::<TimestampNanosecondType>(all(texts, nanos)?, None),
        DataType::Timestamp(_, None) => stamps::<TimestampMicrosecondType>(all(texts, micros)?, None),
        DataType::Timestamp(_, zone) => stamps::<TimestampMicrosecondType>(all(texts, zoned)?, zone.clone()),
        _ => Arc::new(texts.clone()),
    })
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
