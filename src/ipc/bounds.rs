//! The smallest and the largest value of an array, for statistics (FORMAT.md, rule T2-bounds).

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowNumericType, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, PrimitiveArray,
        StringArray, downcast_primitive,
    },
    compute::{cast, filter, max, max_boolean, min, min_boolean},
    datatypes::{DataType, UInt64Type},
};

use crate::error::{Error, Result};

/// Maximum length of a bound in bytes; longer strings are cut.
const MAX_BYTES: usize = 64;

/// The bounds of one column of one batch, each an array of one value. `None`: not known.
#[derive(Default)]
pub(super) struct Bounds {
    pub(super) min: Option<ArrayRef>,
    pub(super) max: Option<ArrayRef>,
    /// Whether both are values of the batch.
    pub(super) is_exact: bool,
}

/// The type of the bounds of a column; `None` for types without.
pub(super) fn bound_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) if !matches!(**values, DataType::Dictionary(..)) => bound_type(values)?,
        DataType::Boolean => DataType::Boolean,
        DataType::Interval(_) => return None,
        other if other.is_primitive() => other.clone(),
        _ => return None,
    })
}

/// The keys of a dictionary that an array uses, by position, up to the largest.
pub(super) fn used_keys(keys: &ArrayRef) -> Result<Vec<bool>> {
    let keys = cast(keys, &DataType::UInt64).map_err(|e| Error::arrow("read the keys of a dictionary", e))?;
    let mut used = Vec::new();
    for key in keys.as_primitive::<UInt64Type>().iter().flatten().filter_map(|key| usize::try_from(key).ok()) {
        if used.len() <= key {
            used.resize(key + 1, false);
        }
        used.get_mut(key).into_iter().for_each(|used| *used = true);
    }
    Ok(used)
}

/// The bounds of the values of a dictionary at the keys that are used. The values have a [`bound_type`]: Arrow's `filter`
/// panics or fails at some others.
pub(super) fn bounds_of_used(values: &ArrayRef, used: &[bool]) -> Result<Bounds> {
    let mask: BooleanArray = (0..values.len()).map(|key| Some(used.get(key).copied().unwrap_or(false))).collect();
    let values = filter(values, &mask).map_err(|e| Error::arrow("find the used values of a dictionary", e))?;
    Ok(bounds(&values))
}

/// The bounds of an array that is not a dictionary.
pub(super) fn bounds(array: &ArrayRef) -> Bounds {
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            let of = |value: bool| -> ArrayRef { Arc::new(BooleanArray::from(vec![value])) };
            exact(min_boolean(array).map(of), max_boolean(array).map(of))
        }
        DataType::Utf8 => strings(extremes(array.as_string::<i32>().iter())),
        DataType::LargeUtf8 => strings(extremes(array.as_string::<i64>().iter())),
        DataType::Utf8View => strings(extremes(array.as_string_view().iter())),
        DataType::Binary => binaries(extremes(array.as_binary::<i32>().iter())),
        DataType::LargeBinary => binaries(extremes(array.as_binary::<i64>().iter())),
        DataType::BinaryView => binaries(extremes(array.as_binary_view().iter())),
        other if bound_type(other).is_none() => Bounds::default(),
        _ => primitives(array),
    }
}

fn exact(min: Option<ArrayRef>, max: Option<ArrayRef>) -> Bounds {
    let is_exact = min.is_some() && max.is_some();
    Bounds { min, max, is_exact }
}

fn primitives(array: &ArrayRef) -> Bounds {
    macro_rules! of {
        ($t:ty) => {
            primitive::<$t>(array.as_primitive::<$t>())
        };
    }
    downcast_primitive! {
        array.data_type() => (of),
        _ => Bounds::default(),
    }
}

/// Uses arrow's total order, in which -0.0 is below 0.0. Not known if a value is NaN, because some engines order NaN
/// above and others below all numbers.
fn primitive<T: ArrowPrimitiveType<Native: PartialOrd> + ArrowNumericType>(array: &PrimitiveArray<T>) -> Bounds {
    let is_number = |value: &T::Native| value.partial_cmp(value).is_some();
    let (Some(min), Some(max)) = (min(array), max(array)) else { return Bounds::default() };
    if !is_number(&min) || !is_number(&max) {
        return Bounds::default();
    }
    let of = |value| -> Option<ArrayRef> {
        let one = PrimitiveArray::<T>::new(vec![value].into(), None);
        Some(Arc::new(one.with_data_type(array.data_type().clone())))
    };
    exact(of(min), of(max))
}

/// The smallest and the largest value in one pass.
fn extremes<T: Ord + Copy>(values: impl Iterator<Item = Option<T>>) -> Option<(T, T)> {
    values.flatten().fold(None, |known, value| {
        Some(known.map_or((value, value), |(min, max): (T, T)| (min.min(value), max.max(value))))
    })
}

fn strings(extremes: Option<(&str, &str)>) -> Bounds {
    let Some((min, max)) = extremes else { return Bounds::default() };
    let of = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let upper = if max.len() > MAX_BYTES { above_text(cut(max)) } else { Some(max.to_owned()) };
    Bounds {
        min: Some(of(cut(min))),
        max: upper.map(|text| of(&text)),
        is_exact: min.len() <= MAX_BYTES && max.len() <= MAX_BYTES,
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_BYTES)).unwrap_or(text)
}

/// A string above all strings with this prefix: the last character that has a successor is replaced by it.
fn above_text(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The range of characters skips the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

fn binaries(extremes: Option<(&[u8], &[u8])>) -> Bounds {
    let Some((min, max)) = extremes else { return Bounds::default() };
    let of = |bytes: &[u8]| -> ArrayRef { Arc::new(BinaryArray::from(vec![bytes])) };
    let cut = |bytes: &[u8]| bytes.get(..MAX_BYTES).unwrap_or(bytes).to_vec();
    let upper = if max.len() > MAX_BYTES { above_bytes(cut(max)) } else { Some(max.to_owned()) };
    Bounds {
        min: Some(of(&cut(min))),
        max: upper.map(|bytes| of(&bytes)),
        is_exact: min.len() <= MAX_BYTES && max.len() <= MAX_BYTES,
    }
}

fn above_bytes(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{above_bytes, above_text, cut};

    #[test]
    fn what_is_above_a_cut_string_is_above_all_that_start_with_it() {
        assert_eq!(above_text("ab").as_deref(), Some("ac"));
        assert_eq!(above_text("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(above_text("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(above_text("\u{10FFFF}"), None);
        assert_eq!(above_bytes(vec![1, 255]), Some(vec![2]));
        assert_eq!(above_bytes(vec![255, 255]), None);
        let text = "\u{20AC}".repeat(30);
        assert_eq!(cut(&text).len(), 63);
        assert!(text.as_str() >= cut(&text) && text < above_text(cut(&text)).unwrap());
    }
}
