//! Values as text, in a form that does not depend on how an array, or an engine, stores them.
//!
//! Written apart from the library and from arrow's own comparison: every row is reached through the accessors of its
//! array. What an engine has in another unit or type is the same text: times in nanoseconds, strings of every layout.

use std::fmt::{Display, Write};

use coframe::arrow::{
    array::{Array, ArrayRef, AsArray, RunArray},
    datatypes::{
        ArrowNativeType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
        Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, RunEndIndexType, TimeUnit,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

/// One row.
pub(crate) fn row(array: &ArrayRef, row: usize) -> String {
    let mut out = String::new();
    value(&mut out, array, row);
    out
}

macro_rules! put {
    ($out:expr, $($format:tt)*) => { write!($out, $($format)*).unwrap() };
}

fn value(out: &mut String, array: &ArrayRef, row: usize) {
    use DataType as T;
    if array.is_null(row) {
        return out.push_str("null");
    }
    match array.data_type() {
        T::Null => out.push_str("null"),
        T::Boolean => put!(out, "{}", array.as_boolean().value(row)),
        T::Utf8 => put!(out, "{:?}", array.as_string::<i32>().value(row)),
        T::LargeUtf8 => put!(out, "{:?}", array.as_string::<i64>().value(row)),
        T::Utf8View => put!(out, "{:?}", array.as_string_view().value(row)),
        T::Binary => hex(out, array.as_binary::<i32>().value(row)),
        T::LargeBinary => hex(out, array.as_binary::<i64>().value(row)),
        T::BinaryView => hex(out, array.as_binary_view().value(row)),
        T::FixedSizeBinary(_) => hex(out, array.as_fixed_size_binary().value(row)),
        T::List(_) => list(out, &array.as_list::<i32>().value(row)),
        T::LargeList(_) => list(out, &array.as_list::<i64>().value(row)),
        T::ListView(_) => list(out, &array.as_list_view::<i32>().value(row)),
        T::LargeListView(_) => list(out, &array.as_list_view::<i64>().value(row)),
        T::FixedSizeList(..) => list(out, &array.as_fixed_size_list().value(row)),
        T::Map(..) => {
            let entries: ArrayRef = std::sync::Arc::new(array.as_map().value(row));
            list(out, &entries);
        }
        T::Struct(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            out.push('{');
            for (column, field) in columns {
                put!(out, "{}: ", field.name());
                value(out, column, row);
                out.push_str(", ");
            }
            out.push('}');
        }
        T::Union(..) => {
            let union = array.as_union();
            put!(out, "<{} ", union.type_id(row));
            value(out, union.child(union.type_id(row)), union.value_offset(row));
            out.push('>');
        }
        T::RunEndEncoded(ends, _) => match ends.data_type() {
            T::Int16 => run(out, array.as_run::<Int16Type>(), row),
            T::Int32 => run(out, array.as_run::<Int32Type>(), row),
            _ => run(out, array.as_run::<Int64Type>(), row),
        },
        T::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = row_of_key(&dictionary.keys().slice(row, 1));
            value(out, dictionary.values(), key);
        }
        _ => number(out, array, row),
    }
}

fn list(out: &mut String, items: &ArrayRef) {
    out.push('[');
    for item in 0..items.len() {
        value(out, items, item);
        out.push_str(", ");
    }
    out.push(']');
}

fn run<R: RunEndIndexType>(out: &mut String, runs: &RunArray<R>, row: usize) {
    let end = runs.run_ends().offset() + row;
    let run = runs.run_ends().values().iter().position(|last| last.as_usize() > end).unwrap();
    value(out, runs.values(), run);
}

pub(crate) fn hex(out: &mut String, bytes: &[u8]) {
    out.push_str("0x");
    for byte in bytes {
        put!(out, "{byte:02x}");
    }
}

fn row_of_key(key: &ArrayRef) -> usize {
    let mut text = String::new();
    number(&mut text, key, 0);
    text.parse().unwrap()
}

macro_rules! integer {
    ($array:expr, $row:expr, $of:ty) => {
        i128::from($array.as_primitive::<$of>().value($row))
    };
}

fn number(out: &mut String, array: &ArrayRef, row: usize) {
    use DataType as T;
    match array.data_type() {
        T::Float16 => put!(out, "f16 {:x}", array.as_primitive::<Float16Type>().value(row).to_bits()),
        T::Float32 => put!(out, "f32 {:x}", array.as_primitive::<Float32Type>().value(row).to_bits()),
        T::Float64 => put!(out, "f64 {:x}", array.as_primitive::<Float64Type>().value(row).to_bits()),
        T::Decimal32(_, scale) => decimal(out, array.as_primitive::<Decimal32Type>().value(row), *scale),
        T::Decimal64(_, scale) => decimal(out, array.as_primitive::<Decimal64Type>().value(row), *scale),
        T::Decimal128(_, scale) => decimal(out, array.as_primitive::<Decimal128Type>().value(row), *scale),
        T::Decimal256(_, scale) => decimal(out, array.as_primitive::<Decimal256Type>().value(row), *scale),
        T::Interval(IntervalUnit::YearMonth) => {
            put!(out, "{}", array.as_primitive::<IntervalYearMonthType>().value(row));
        }
        T::Interval(IntervalUnit::DayTime) => {
            put!(out, "{:?}", array.as_primitive::<IntervalDayTimeType>().value(row));
        }
        T::Interval(IntervalUnit::MonthDayNano) => {
            put!(out, "{:?}", array.as_primitive::<IntervalMonthDayNanoType>().value(row));
        }
        T::Date32 => put!(out, "date {}", integer!(array, row, Date32Type)),
        T::Date64 => put!(out, "at {}", integer!(array, row, Date64Type) * 1_000_000),
        T::Timestamp(unit, _) => put!(out, "at {}", nanoseconds(array, row, *unit)),
        T::Duration(unit) => put!(out, "for {}", nanoseconds(array, row, *unit)),
        T::Time32(unit) | T::Time64(unit) => put!(out, "time {}", nanoseconds(array, row, *unit)),
        T::Int8 => put!(out, "{}", integer!(array, row, Int8Type)),
        T::Int16 => put!(out, "{}", integer!(array, row, Int16Type)),
        T::Int32 => put!(out, "{}", integer!(array, row, Int32Type)),
        T::Int64 => put!(out, "{}", integer!(array, row, Int64Type)),
        T::UInt8 => put!(out, "{}", integer!(array, row, UInt8Type)),
        T::UInt16 => put!(out, "{}", integer!(array, row, UInt16Type)),
        T::UInt32 => put!(out, "{}", integer!(array, row, UInt32Type)),
        T::UInt64 => put!(out, "{}", integer!(array, row, UInt64Type)),
        other => unreachable!("{other}"),
    }
}

pub(crate) fn decimal(out: &mut String, unscaled: impl Display, scale: impl Display) {
    put!(out, "{unscaled}e-{scale}");
}

fn nanoseconds(array: &ArrayRef, row: usize, unit: TimeUnit) -> i128 {
    let data = array.to_data();
    let value = match data.data_type().primitive_width() {
        Some(4) => i128::from(data.buffer::<i32>(0)[row]),
        _ => i128::from(data.buffer::<i64>(0)[row]),
    };
    value
        * match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1000,
            TimeUnit::Nanosecond => 1,
        }
}
