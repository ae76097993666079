//! The arrays of values inside a column, and the values that text writers would write wrongly.

use coframe::arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch},
    datatypes::{
        DataType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type, Time32MillisecondType,
        Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampSecondType,
    },
};

use crate::{
    failure::{Failure, Result},
    output,
};

/// Returns whether an array of values inside a column matches, with the rows of the column only.
fn any_leaf(array: &ArrayRef, is_such: &dyn Fn(&ArrayRef) -> bool) -> bool {
    let any = |items: &ArrayRef| any_leaf(items, is_such);
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().iter().flatten().any(|items| any(&items)),
        DataType::LargeList(_) => array.as_list::<i64>().iter().flatten().any(|items| any(&items)),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().iter().flatten().any(|items| any(&items)),
        DataType::Struct(_) => array.as_struct().columns().iter().any(any),
        DataType::Dictionary(..) => any(array.as_any_dictionary().values()),
        _ => is_such(array),
    }
}

/// Names of columns with NaN or infinity, which JSON lacks. They are collected while batches are written.
#[derive(Default)]
pub(super) struct NotFinite(Vec<String>);

impl NotFinite {
    pub(super) fn gather(&mut self, batch: &RecordBatch) {
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if !self.0.contains(field.name()) && any_leaf(column, &has_not_finite) {
                self.0.push(field.name().clone());
            }
        }
    }

    /// Reports them on standard error, because the data does not show that they became null.
    pub(super) fn report(&self) {
        if !self.0.is_empty() {
            let names = self.0.join("`, `");
            output::note(format_args!(
                "NaN and infinity became null, because JSON cannot represent them: column `{names}`"
            ));
        }
    }
}

fn has_not_finite(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().any(|value| !value.is_finite()),
        _ => false,
    }
}

const DAY: i64 = 86_400;

/// Refuses dates and times that cannot be written as text: writers would print an error as the value.
pub(super) fn check_times(name: &str, column: &ArrayRef) -> Result {
    if !any_leaf(column, &has_far_time) {
        return Ok(());
    }
    Err(Failure::failed(format_args!(
        "column `{name}` has a date or time that text cannot write (a year beyond 262 000, or a time outside of a day); \
         write Arrow IPC or Parquet, or leave the column out (--columns)"
    )))
}

fn has_far_time(array: &ArrayRef) -> bool {
    // Years that chrono, which formats the text, supports.
    let days = |date: chrono::NaiveDate| date.signed_duration_since(chrono::NaiveDate::default()).num_days();
    let (first, last) = (days(chrono::NaiveDate::MIN), days(chrono::NaiveDate::MAX));
    let seconds = |each: i64| (first * DAY).saturating_mul(each)..=(last * DAY).saturating_mul(each);
    match array.data_type() {
        DataType::Date32 => has_outside::<Date32Type>(array, &(first..=last)),
        DataType::Date64 => has_outside::<Date64Type>(array, &seconds(1_000)),
        DataType::Timestamp(TimeUnit::Second, _) => has_outside::<TimestampSecondType>(array, &seconds(1)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            has_outside::<TimestampMillisecondType>(array, &seconds(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            has_outside::<TimestampMicrosecondType>(array, &seconds(1_000_000))
        }
        DataType::Time32(TimeUnit::Second) => has_outside::<Time32SecondType>(array, &(0..=DAY - 1)),
        DataType::Time32(_) => has_outside::<Time32MillisecondType>(array, &(0..=DAY * 1_000 - 1)),
        DataType::Time64(TimeUnit::Microsecond) => {
            has_outside::<Time64MicrosecondType>(array, &(0..=DAY * 1_000_000 - 1))
        }
        DataType::Time64(_) => has_outside::<Time64NanosecondType>(array, &(0..=DAY * 1_000_000_000 - 1)),
        _ => false,
    }
}

fn has_outside<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &ArrayRef,
    range: &std::ops::RangeInclusive<i64>,
) -> bool {
    array.as_primitive::<T>().iter().flatten().any(|value| !range.contains(&value.into()))
}
