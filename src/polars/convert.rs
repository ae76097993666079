//! Converts Arrow arrays to types that Polars supports, at every depth.
//!
//! Arrow's cast is used only for leaves. In nested arrays it loses the length of arrays whose items take zero bytes and
//! the nulls among the values of dictionaries. It fails on maps inside of other types, and lets times overflow. Values
//! to which no row refers, or that are in null slots, become null, so that they cannot make a conversion fail. This
//! also makes nulls of structs nulls of their fields, as in Polars.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, BooleanBufferBuilder, FixedSizeListArray,
        GenericListViewArray, LargeListArray, OffsetSizeTrait, PrimitiveArray, RunArray, StructArray, UInt64Array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::{CastOptions, cast_with_options, nullif, take},
    datatypes::{
        ArrowNativeType, ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, DecimalType, FieldRef, Fields,
        Int16Type, Int32Type, Int64Type, RunEndIndexType, Time32MillisecondType, Time32SecondType,
        Time64MicrosecondType, Time64NanosecondType, TimeUnit, i256,
    },
    error::ArrowError,
};

use crate::error::{Error, Result};

type Converted = std::result::Result<ArrayRef, ArrowError>;

const SECONDS_A_DAY: i64 = 86_400;

/// Converts an array of a column to `native`, the result of `dtype::native` for its field.
pub(super) fn convert(array: &ArrayRef, native: &DataType, column: &str) -> Result<ArrayRef> {
    converted(array, native, None).map_err(|e| {
        Error::unsupported(
            format_args!("column `{column}` in Polars, which cannot hold its values ({e}),"),
            "leave it out with `select`, or read it with `batches`",
        )
    })
}

/// An array under another type; rows that are null in `mask` become null.
fn converted(array: &ArrayRef, to: &DataType, mask: Option<&NullBuffer>) -> Converted {
    use DataType as T;
    let nulls = || NullBuffer::union(array.nulls(), mask);
    match (array.data_type(), to) {
        (T::List(_), T::LargeList(item)) => {
            let list = array.as_list::<i32>();
            lists(list.values(), item, ranges(list.offsets()), nulls())
        }
        (T::LargeList(_), T::LargeList(item)) => {
            let list = array.as_list::<i64>();
            lists(list.values(), item, ranges(list.offsets()), nulls())
        }
        (T::Map(..), T::LargeList(item)) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            lists(&entries, item, ranges(map.offsets()), nulls())
        }
        (T::ListView(_), T::LargeList(item)) => list_views(array.as_list_view::<i32>(), item, nulls()),
        (T::LargeListView(_), T::LargeList(item)) => list_views(array.as_list_view::<i64>(), item, nulls()),
        (T::FixedSizeList(..), T::FixedSizeList(item, width)) => {
            let nulls = nulls().filter(|nulls| nulls.null_count() > 0);
            let below = nulls.as_ref().map(|nulls| nulls.expand(usize::try_from(*width).unwrap_or(0)));
            let items = converted(array.as_fixed_size_list().values(), item.data_type(), below.as_ref())?;
            fixed_size_list(item, *width, items, nulls, array.len())
        }
        (T::Struct(_), T::Struct(fields)) => {
            let nulls = nulls().filter(|nulls| nulls.null_count() > 0);
            let columns = array.as_struct().columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| converted(column, field.data_type(), nulls.as_ref()));
            structure(fields, columns.collect::<std::result::Result<_, _>>()?, nulls, array.len())
        }
        (from @ T::Dictionary(..), to) if from != to => dictionary(array, to, nulls().as_ref()),
        (T::RunEndEncoded(ends, _), to) => match ends.data_type() {
            T::Int16 => runs(array.as_run::<Int16Type>(), to, mask),
            T::Int32 => runs(array.as_run::<Int32Type>(), to, mask),
            _ => runs(array.as_run::<Int64Type>(), to, mask),
        },
        (T::Time32(TimeUnit::Second), _) => times::<Time32SecondType>(array, nulls(), 1),
        (T::Time32(_), _) => times::<Time32MillisecondType>(array, nulls(), 1_000),
        (T::Time64(TimeUnit::Microsecond), _) => times::<Time64MicrosecondType>(array, nulls(), 1_000_000),
        (T::Time64(_), _) => times::<Time64NanosecondType>(array, nulls(), 1_000_000_000),
        (T::Decimal256(..), T::Decimal128(precision, scale)) => {
            let values = array.as_primitive::<Decimal256Type>().values();
            decimals(values, nulls(), *precision)?
                .with_precision_and_scale(*precision, *scale)
                .map(|a| -> ArrayRef { Arc::new(a) })
        }
        (T::FixedSizeBinary(0), T::BinaryView) => {
            Ok(Arc::new(BinaryViewArray::try_new(vec![0; array.len()].into(), Vec::new(), nulls())?))
        }
        _ => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(&masked(array, mask)?, to, &options)
        }
    }
}

fn masked(array: &ArrayRef, mask: Option<&NullBuffer>) -> Converted {
    match mask.filter(|mask| mask.null_count() > 0) {
        None => Ok(array.clone()),
        Some(mask) => nullif(array, &BooleanArray::new(!mask.inner(), None)),
    }
}

/// Times as nanoseconds. Polars refuses those outside of a day.
fn times<T: ArrowPrimitiveType>(array: &ArrayRef, nulls: Option<NullBuffer>, second: i64) -> Converted
where
    T::Native: Into<i64>,
{
    let (day, factor) = (SECONDS_A_DAY * second, 1_000_000_000 / second);
    let values = array.as_primitive::<T>().values().iter().enumerate().map(|(row, time)| {
        let time: i64 = (*time).into();
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(0);
        }
        if (0..day).contains(&time) {
            return Ok(time * factor);
        }
        let expected = format!("the time {time} of row {row} is outside its day, expected 0 to {}", day - 1);
        Err(ArrowError::InvalidArgumentError(expected))
    });
    let values: Vec<i64> = values.collect::<std::result::Result<_, _>>()?;
    Ok(Arc::new(PrimitiveArray::<Time64NanosecondType>::try_new(values.into(), nulls)?))
}

/// Decimals of the same scale. arrow's cast panics on a value that has more digits than its type.
fn decimals(
    values: &[i256],
    nulls: Option<NullBuffer>,
    precision: u8,
) -> std::result::Result<PrimitiveArray<Decimal128Type>, ArrowError> {
    let values = values.iter().enumerate().map(|(row, value)| {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(0);
        }
        let fits = value.to_i128().filter(|value| Decimal128Type::is_valid_decimal_precision(*value, precision));
        fits.ok_or_else(|| {
            let expected = format!("the decimal {value} of row {row} has more than {precision} digits");
            ArrowError::InvalidArgumentError(expected)
        })
    });
    let values: Vec<i128> = values.collect::<std::result::Result<_, _>>()?;
    PrimitiveArray::try_new(values.into(), nulls)
}

fn fixed_size_list(item: &FieldRef, width: i32, items: ArrayRef, nulls: Option<NullBuffer>, len: usize) -> Converted {
    Ok(Arc::new(FixedSizeListArray::try_new_with_length(item.clone(), width, items, nulls, len)?))
}

fn structure(fields: &Fields, columns: Vec<ArrayRef>, nulls: Option<NullBuffer>, len: usize) -> Converted {
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, len)?))
}

/// The items of one row: the position of the first, and their number.
type Range = (usize, usize);

fn ranges<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> Vec<Range> {
    let pair = |[start, end]: &[O; 2]| (start.as_usize(), end.as_usize().saturating_sub(start.as_usize()));
    offsets.array_windows().map(pair).collect()
}

fn list_views<O: OffsetSizeTrait>(
    list: &GenericListViewArray<O>,
    item: &FieldRef,
    nulls: Option<NullBuffer>,
) -> Converted {
    let rows = list.offsets().iter().zip(list.sizes()).map(|(offset, size)| (offset.as_usize(), size.as_usize()));
    lists(list.values(), item, rows.collect(), nulls)
}

/// Lists whose rows have these ranges of the items.
fn lists(values: &ArrayRef, item: &FieldRef, mut rows: Vec<Range>, nulls: Option<NullBuffer>) -> Converted {
    if let Some(nulls) = nulls.as_ref().filter(|nulls| nulls.null_count() > 0) {
        let rows = rows.iter_mut().zip(nulls);
        rows.filter(|(_, is_valid)| !is_valid).for_each(|((_, len), _)| *len = 0);
    }
    let offsets = OffsetBuffer::<i64>::from_lengths(rows.iter().map(|(_, len)| *len));
    let items = if let Some(span) = span(&rows) {
        converted(&values.slice(span.start, span.len()), item.data_type(), None)?
    } else {
        let indices = rows.iter().flat_map(|(start, len)| (*start..start + len).map(Some));
        convert_used(values, item.data_type(), &numbers(indices))?
    };
    Ok(Arc::new(LargeListArray::try_new(item.clone(), offsets, items, nulls)?))
}

/// The items of the rows; `None` unless each row continues the one before it.
fn span(rows: &[Range]) -> Option<std::ops::Range<usize>> {
    let mut used = rows.iter().filter(|(_, len)| *len > 0);
    let Some((first, len)) = used.next() else { return Some(0..0) };
    let end = used.try_fold(first + len, |end, (start, len)| (*start == end).then_some(end + len))?;
    Some(*first..end)
}

/// The values of a dictionary, one for each key.
fn dictionary(array: &ArrayRef, to: &DataType, nulls: Option<&NullBuffer>) -> Converted {
    let dictionary = array.as_any_dictionary();
    // arrow panics on a dictionary without values; then all keys are null.
    let keys = if dictionary.values().is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
    let is_valid = |row| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let rows = keys.into_iter().enumerate().map(|(row, key)| is_valid(row).then_some(key));
    convert_used(dictionary.values(), to, &numbers(rows))
}

fn runs<R: RunEndIndexType>(array: &RunArray<R>, to: &DataType, mask: Option<&NullBuffer>) -> Converted {
    let (ends, mut run) = (array.run_ends(), array.get_start_physical_index());
    let rows = (0..array.len()).map(|row| {
        while ends.values().get(run).is_some_and(|end| end.as_usize() <= ends.offset() + row) {
            run += 1;
        }
        mask.is_none_or(|mask| mask.is_valid(row)).then_some(run)
    });
    convert_used(array.values(), to, &numbers(rows))
}

/// Numbers of rows, or null, as arrow's `take` has them: 8 bytes a row and a bit.
fn numbers(rows: impl Iterator<Item = Option<usize>>) -> UInt64Array {
    rows.map(|row| row.and_then(|row| u64::try_from(row).ok())).collect()
}

/// A number that was passed to `numbers`.
fn index(row: u64) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

/// The numbered rows of an array, under another type.
fn convert_used(values: &ArrayRef, to: &DataType, rows: &UInt64Array) -> Converted {
    let mut used = BooleanBufferBuilder::new(values.len());
    used.append_n(values.len(), false);
    rows.iter().flatten().for_each(|row| used.set_bit(index(row), true));
    let values = converted(values, to, Some(&NullBuffer::new(used.finish())))?;
    gathered(&values, rows)
}

/// The numbered rows of a converted array. `take` alone loses the length of arrays whose items take zero bytes.
fn gathered(values: &ArrayRef, rows: &UInt64Array) -> Converted {
    let valid = |array: &ArrayRef| {
        let valid = rows.iter().map(|row| row.is_some_and(|row| array.is_valid(index(row))));
        Some(valid.collect::<NullBuffer>()).filter(|nulls| nulls.null_count() > 0)
    };
    match values.data_type() {
        DataType::Struct(fields) => {
            let columns = values.as_struct().columns().iter().map(|column| gathered(column, rows));
            structure(fields, columns.collect::<std::result::Result<_, _>>()?, valid(values), rows.len())
        }
        DataType::FixedSizeList(item, width) => {
            let size = usize::try_from(*width).unwrap_or(0);
            let items = |row: Option<u64>| {
                let first = row.map(|row| index(row) * size);
                (0..size).map(move |item| first.map(|first| first + item))
            };
            let items = numbers(rows.iter().flat_map(items));
            let items = gathered(values.as_fixed_size_list().values(), &items)?;
            fixed_size_list(item, *width, items, valid(values), rows.len())
        }
        DataType::LargeList(item) => {
            let list = values.as_list::<i64>();
            let ranges = ranges(list.offsets());
            let range = |row: Option<u64>| {
                let row = row.map(index).filter(|row| list.is_valid(*row));
                row.and_then(|row| ranges.get(row).copied()).unwrap_or_default()
            };
            let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| range(row).1));
            let items = rows.iter().map(range).flat_map(|(start, len)| (start..start + len).map(Some));
            let items = gathered(list.values(), &numbers(items))?;
            Ok(Arc::new(LargeListArray::try_new(item.clone(), offsets, items, valid(values))?))
        }
        _ => take(values, rows, None),
    }
}
