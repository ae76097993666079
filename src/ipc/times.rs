//! Checks that times are within a day (FORMAT.md, rule V1): Arrow requires it, arrow-rs does not check it, and Polars
//! relies on it.

use arrow::{
    array::{Array, ArrayRef, AsArray, OffsetSizeTrait, UnionArray},
    datatypes::{
        ArrowPrimitiveType, DataType, Int16Type, Int32Type, Int64Type, RunEndIndexType, Time32MillisecondType,
        Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, UnionMode,
    },
    error::ArrowError,
};

use super::tree::children;

const SECONDS_A_DAY: i64 = 86_400;

/// Whether the values of dictionaries are checked too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dictionaries {
    Skip,
    Check,
}

/// Checks every time in an array, at any depth. Values in null slots can be anything.
pub(super) fn check(array: &dyn Array, dictionaries: Dictionaries) -> Result<(), ArrowError> {
    if has_time(array.data_type()) { walk(array, &|_| false, dictionaries) } else { Ok(()) }
}

fn has_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Time32(_) | DataType::Time64(_) => true,
        DataType::Dictionary(_, values) => has_time(values),
        other => children(other).any(|field| has_time(field.data_type())),
    }
}

/// `is_hidden` returns whether a row is inside a null of its parent.
fn walk(array: &dyn Array, is_hidden: &dyn Fn(usize) -> bool, dictionaries: Dictionaries) -> Result<(), ArrowError> {
    let nulls = array.nulls();
    let is_hidden = |row: usize| is_hidden(row) || nulls.is_some_and(|nulls| nulls.is_null(row));
    let shown = |inner: &ArrayRef| walk(inner, &|_| false, dictionaries);
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => times::<Time32SecondType>(array, 1, is_hidden),
        DataType::Time32(_) => times::<Time32MillisecondType>(array, 1_000, is_hidden),
        DataType::Time64(TimeUnit::Microsecond) => times::<Time64MicrosecondType>(array, 1_000_000, is_hidden),
        DataType::Time64(_) => times::<Time64NanosecondType>(array, 1_000_000_000, is_hidden),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().try_for_each(|field| walk(field, &is_hidden, dictionaries))
        }
        DataType::FixedSizeList(_, size) => {
            let size = usize::try_from(*size).unwrap_or(0).max(1);
            walk(array.as_fixed_size_list().values(), &|item| is_hidden(item / size), dictionaries)
        }
        DataType::List(_) => shown(&items::<i32>(array)),
        DataType::LargeList(_) => shown(&items::<i64>(array)),
        DataType::ListView(_) => shown(array.as_list_view::<i32>().values()),
        DataType::LargeListView(_) => shown(array.as_list_view::<i64>().values()),
        DataType::Map(..) => walk(array.as_map().entries(), &|_| false, dictionaries),
        DataType::Union(_, mode) => fields(array.as_union(), *mode, dictionaries),
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => shown(&runs::<Int16Type>(array)),
            DataType::Int32 => shown(&runs::<Int32Type>(array)),
            _ => shown(&runs::<Int64Type>(array)),
        },
        DataType::Dictionary(..) if dictionaries == Dictionaries::Check => shown(array.as_any_dictionary().values()),
        _ => Ok(()),
    }
}

fn times<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &dyn Array,
    per_second: i64,
    is_hidden: impl Fn(usize) -> bool,
) -> Result<(), ArrowError> {
    let end = SECONDS_A_DAY * per_second;
    let mut times = array.as_primitive::<T>().values().iter().map(|time| (*time).into()).enumerate();
    match times.find(|(row, time)| !(0..end).contains(time) && !is_hidden(*row)) {
        None => Ok(()),
        Some((_, time)) => {
            let detail = format!("the time {time} is outside its day, expected 0 to {}", end - 1);
            Err(ArrowError::InvalidArgumentError(detail))
        }
    }
}

/// The items that lists refer to.
fn items<O: OffsetSizeTrait>(array: &dyn Array) -> ArrayRef {
    let list = array.as_list::<O>();
    let offset = |offset: Option<&O>| offset.map_or(0, |offset| offset.as_usize());
    let (first, last) = (offset(list.offsets().first()), offset(list.offsets().last()));
    list.values().slice(first, last - first)
}

fn runs<R: RunEndIndexType>(array: &dyn Array) -> ArrayRef {
    array.as_run::<R>().values_slice()
}

/// The fields of a union; a sparse one has a value of each field for each row, of which one counts.
fn fields(union: &UnionArray, mode: UnionMode, dictionaries: Dictionaries) -> Result<(), ArrowError> {
    let DataType::Union(fields, _) = union.data_type() else { return Ok(()) };
    fields.iter().try_for_each(|(id, _)| {
        let is_other = |row: usize| mode == UnionMode::Sparse && union.type_ids().get(row) != Some(&id);
        walk(union.child(id), &is_other, dictionaries)
    })
}
