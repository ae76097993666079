//! What Polars has of a table, and what it publishes.

use std::fmt::Write;

use coframe::{
    Frame,
    arrow::datatypes::{DataType, TimeUnit},
    polars::prelude::{AnyValue, DataFrame, Series, TimeUnit as PlTimeUnit},
};

use crate::{
    common::Scratch,
    tables::{
        Expected, Random,
        expected::{column_of, texts},
        has,
        refusal::{is_time, names},
        show::{decimal, hex},
    },
};

/// Types that Polars lacks, or some values of which it lacks.
fn may_lack_in_polars(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Union(..)
        | T::Interval(_)
        | T::Decimal256(..)
        | T::Timestamp(TimeUnit::Second, _)
        | T::Duration(TimeUnit::Second) => true,
        T::Decimal32(_, scale) | T::Decimal64(_, scale) | T::Decimal128(_, scale) => *scale < 0,
        // Of fixed offsets, Polars has those of whole hours.
        T::Timestamp(_, Some(zone)) => ["+09:30", "Nowhere/At all"].contains(&zone.as_ref()),
        other => is_time(other),
    }
}

/// What Polars has of a frame, as a whole, of some rows, and published by Polars; returns how many columns.
pub(super) fn check(scratch: &Scratch, random: &mut Random, frame: &Frame, expected: &Expected) -> usize {
    let mut columns = Vec::new();
    for (column, field) in expected.schema.fields().iter().enumerate() {
        match frame.select([field.name()]).unwrap().to_polars() {
            Ok(_) => columns.push(column),
            Err(error) => {
                let text = error.to_string();
                let is_known = has(field.data_type(), &may_lack_in_polars);
                assert!(is_known && names(&text, field.name()), "{field}: {text}");
            }
        }
    }
    let expected = expected.select(&columns);
    let frame = frame.select(expected.names()).unwrap();
    let df = frame.to_polars().unwrap();
    is_in_polars(&expected, &df);
    let start = random.within(0, frame.num_rows());
    let len = random.within(0, frame.num_rows() - start);
    let part = frame.slice(start..start + len).unwrap().to_polars().unwrap();
    is_in_polars(&expected.slice(start, len), &part);
    let back = scratch.store.publish("polars", &df).unwrap();
    scratch.store.verify("polars").unwrap();
    let again = back.to_polars().unwrap();
    assert_eq!(again.schema(), df.schema());
    is_in_polars(&expected, &again);
    for (column, field) in expected.schema.fields().iter().enumerate() {
        let [found, expected] = [back.batches(), &expected.batches].map(|batches| texts(&column_of(batches, column)));
        assert_eq!(found, expected, "{field}");
    }
    columns.len()
}

#[track_caller]
fn is_in_polars(expected: &Expected, df: &DataFrame) {
    assert_eq!(df.height(), expected.rows());
    for (column, (series, field)) in df.columns().iter().zip(expected.schema.fields()).enumerate() {
        assert_eq!(series.name(), field.name());
        let series = series.as_materialized_series();
        let found: Vec<String> = (0..series.len()).map(|row| text(series, row)).collect();
        assert_eq!(found, texts(&column_of(&expected.batches, column)), "{field} as {}", series.dtype());
    }
}

/// One row, as `show` has those of arrays.
fn text(series: &Series, row: usize) -> String {
    let mut out = String::new();
    value_of(&mut out, series.get(row).unwrap());
    out
}

macro_rules! put {
    ($out:expr, $($format:tt)*) => { write!($out, $($format)*).unwrap() };
}

fn value_of(out: &mut String, value: AnyValue<'_>) {
    use AnyValue as V;
    let unit = |unit| match unit {
        PlTimeUnit::Milliseconds => 1_000_000_i128,
        PlTimeUnit::Microseconds => 1000,
        PlTimeUnit::Nanoseconds => 1,
    };
    match value {
        V::Null => out.push_str("null"),
        V::Boolean(value) => put!(out, "{value}"),
        V::Int8(value) => put!(out, "{value}"),
        V::Int16(value) => put!(out, "{value}"),
        V::Int32(value) => put!(out, "{value}"),
        V::Int64(value) => put!(out, "{value}"),
        V::UInt8(value) => put!(out, "{value}"),
        V::UInt16(value) => put!(out, "{value}"),
        V::UInt32(value) => put!(out, "{value}"),
        V::UInt64(value) => put!(out, "{value}"),
        V::Float16(value) => put!(out, "f16 {:x}", value.0.to_bits()),
        V::Float32(value) => put!(out, "f32 {:x}", value.to_bits()),
        V::Float64(value) => put!(out, "f64 {:x}", value.to_bits()),
        V::Decimal(value, _, scale) => decimal(out, value, scale),
        V::Date(value) => put!(out, "date {value}"),
        V::Time(value) => put!(out, "time {value}"),
        V::Datetime(value, of, _) | V::DatetimeOwned(value, of, _) => {
            put!(out, "at {}", i128::from(value) * unit(of));
        }
        V::Duration(value, of) => put!(out, "for {}", i128::from(value) * unit(of)),
        V::String(value) => put!(out, "{value:?}"),
        V::StringOwned(value) => put!(out, "{:?}", value.as_str()),
        V::Binary(value) => hex(out, value),
        V::BinaryOwned(value) => hex(out, &value),
        V::Categorical(key, mapping) | V::Enum(key, mapping) => put!(out, "{:?}", mapping.cat_to_str(key).unwrap()),
        V::CategoricalOwned(key, mapping) | V::EnumOwned(key, mapping) => {
            put!(out, "{:?}", mapping.cat_to_str(key).unwrap());
        }
        V::List(items) | V::Array(items, _) => {
            out.push('[');
            for row in 0..items.len() {
                value_of(out, items.get(row).unwrap());
                out.push_str(", ");
            }
            out.push(']');
        }
        V::Struct(..) => value_of(out, value.into_static()),
        V::StructOwned(parts) => {
            let (values, fields) = *parts;
            out.push('{');
            for (value, field) in values.into_iter().zip(fields) {
                put!(out, "{}: ", field.name());
                value_of(out, value);
                out.push_str(", ");
            }
            out.push('}');
        }
        other => unreachable!("{other:?}"),
    }
}
