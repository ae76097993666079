//! What the rows before a misfit show about its column: whether another type would hold them and the misfit.

use coframe::arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, UInt64Type},
};

use super::misfit::{Kind, Misfit};
use crate::source::exact::is_exact;

/// The values of each column so far.
pub(super) struct Before(Vec<Seen>);

#[derive(Clone, Copy, Default)]
struct Seen {
    anything: bool,
    negative: bool,
    /// An integer that a float would round.
    long: bool,
}

impl Before {
    pub(super) fn new(columns: usize) -> Self {
        Self(vec![Seen::default(); columns])
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) {
        for (seen, column) in self.0.iter_mut().zip(batch.columns()) {
            seen.anything |= column.null_count() < column.len();
            match column.data_type() {
                DataType::Int64 => {
                    let values = column.as_primitive::<Int64Type>().values();
                    seen.negative |= values.iter().any(|value| *value < 0);
                    seen.long |= values.iter().any(|value| is_long(value.unsigned_abs()));
                }
                DataType::UInt64 => {
                    seen.long |= column.as_primitive::<UInt64Type>().values().iter().any(|value| is_long(*value));
                }
                _ => {}
            }
        }
    }

    /// Returns whether a type that is inferred from all rows may hold the misfit, which is in this column.
    pub(super) fn may_be_widened(&self, column: usize, misfit: &Misfit) -> bool {
        let Kind::Value(text, data_type) = &misfit.kind else { return false };
        let is_inner = !misfit.path.is_empty();
        // Only the columns themselves are counted.
        let seen = self.0.get(column).copied().filter(|_| !is_inner).unwrap_or_default();
        let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let is_integer = is_number && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
        let becomes_float = is_exact(text) && !seen.long;
        match data_type {
            DataType::Null => true,
            // A column without a value so far became text.
            DataType::Utf8 => !is_inner && !seen.anything,
            DataType::Int64 if is_integer && text.parse::<u64>().is_ok() => !seen.negative,
            DataType::Int64 => is_number && text != "-0" && becomes_float,
            DataType::UInt64 if is_integer => text.parse::<i64>().is_err() && becomes_float,
            DataType::UInt64 => is_number && becomes_float,
            _ => false,
        }
    }
}

/// Returns whether an integer has more bits than a float.
fn is_long(value: u64) -> bool {
    value.checked_shr(value.trailing_zeros()).unwrap_or(0) >> f64::MANTISSA_DIGITS != 0
}
