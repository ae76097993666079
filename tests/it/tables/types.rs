//! Random Arrow types, fields and schemas.

use std::{collections::HashMap, sync::Arc};

use coframe::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode};

use super::random::Random;

/// How deep types nest below a column.
const DEPTH: usize = 5;

pub(super) fn schema(random: &mut Random) -> Schema {
    let fields: Vec<Field> = (0..random.within(0, 4))
        .map(|column| {
            let name = random.pick(&["c", "c", "a column ", "with.dots.", "ümlaut"]);
            let depth = random.within(0, DEPTH);
            field(random, &format!("{name}{column}"), depth)
        })
        .collect();
    let metadata = metadata(random);
    Schema::new_with_metadata(fields, metadata)
}

fn metadata(random: &mut Random) -> HashMap<String, String> {
    if !random.one_in(5) {
        return HashMap::new();
    }
    let pair = |n| (format!("key {n}"), format!("a value: ü, {n}"));
    (0..random.within(1, 3)).map(pair).collect()
}

fn field(random: &mut Random, name: &str, depth: usize) -> Field {
    let data_type = data_type(random, depth);
    let nullable = is_ever_null(&data_type) || !random.one_in(4);
    let is_ordered = random.one_in(3);
    Field::new(name, data_type, nullable).with_metadata(metadata(random)).with_dict_is_ordered(is_ordered)
}

/// Whether arrays of this type can have null rows without a validity bit.
pub(super) fn is_ever_null(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_ever_null(values),
        DataType::RunEndEncoded(_, values) => is_ever_null(values.data_type()),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| is_ever_null(field.data_type())),
        _ => false,
    }
}

fn data_type(random: &mut Random, depth: usize) -> DataType {
    if depth == 0 || random.one_in(4) { leaf(random) } else { nested(random, depth - 1) }
}

fn leaf(random: &mut Random) -> DataType {
    use DataType as T;
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let unit = random.pick(&units);
    let zone = random.pick(&[
        None,
        Some("UTC"),
        Some("+09:00"),
        Some("+09:30"),
        Some("Europe/Berlin"),
        Some("Nowhere/At all"),
    ]);
    let scale = random.pick(&[0_i8, 0, 2, 5, -3]);
    match random.below(30) {
        0 => T::Null,
        1 => T::Boolean,
        2 => random.pick(&[T::Int8, T::Int16, T::UInt8, T::UInt16]),
        3 => random.pick(&[T::Int32, T::UInt32]),
        4 => random.pick(&[T::Int64, T::UInt64]),
        5 => random.pick(&[T::Float16, T::Float32, T::Float64]),
        6 => random.pick(&[T::Date32, T::Date64]),
        7 => T::Time32(random.pick(&units[..2])),
        8 => T::Time64(random.pick(&units[2..])),
        9 | 10 => T::Timestamp(unit, zone.map(Into::into)),
        11 => T::Duration(unit),
        12 => T::Interval(random.pick(&[IntervalUnit::YearMonth, IntervalUnit::DayTime, IntervalUnit::MonthDayNano])),
        13 => T::Decimal32(random.within(5, 9) as u8, scale),
        14 => T::Decimal64(random.within(5, 18) as u8, scale),
        15 => T::Decimal128(random.within(5, 38) as u8, scale),
        16 => T::Decimal256(random.within(5, 76) as u8, scale),
        17 => T::FixedSizeBinary(random.pick(&[0, 1, 3, 16])),
        18 | 19 => T::Utf8,
        20 => T::LargeUtf8,
        21..=23 => T::Utf8View,
        24 => T::Binary,
        25 => T::LargeBinary,
        26 => T::BinaryView,
        _ => dictionary(random, 0),
    }
}

fn dictionary(random: &mut Random, depth: usize) -> DataType {
    use DataType as T;
    let key = random.pick(&[T::Int8, T::Int16, T::Int32, T::Int64, T::UInt8, T::UInt16, T::UInt32, T::UInt64]);
    let values = loop {
        let values = data_type(random, depth);
        // Arrow IPC does not allow dictionaries inside of dictionaries; a few test that they are refused.
        if !has_dictionary(&values) || random.one_in(20) {
            break values;
        }
    };
    T::Dictionary(Box::new(key), Box::new(values))
}

pub(super) fn has_dictionary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Dictionary(..)) || inner(data_type).iter().any(|f| has_dictionary(f.data_type()))
}

/// The fields inside a type; those of a dictionary's values aside.
pub(super) fn inner(data_type: &DataType) -> Vec<&FieldRef> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item],
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field).collect(),
        DataType::RunEndEncoded(ends, values) => vec![ends, values],
        _ => Vec::new(),
    }
}

fn nested(random: &mut Random, depth: usize) -> DataType {
    use DataType as T;
    let item = |random: &mut Random| {
        let name = random.pick(&["item", "element", "l"]);
        Arc::new(field(random, name, depth))
    };
    match random.below(17) {
        0 | 1 => T::List(item(random)),
        2 => T::LargeList(item(random)),
        3 | 4 => T::ListView(item(random)),
        5 => T::LargeListView(item(random)),
        6 | 7 => T::FixedSizeList(item(random), random.within(0, 3) as i32),
        8 | 9 => map(random, depth),
        10 | 11 => T::Struct(fields(random, "f", 3, depth).into()),
        12 | 13 => union(random, depth),
        14 | 15 => runs(random, depth),
        _ => dictionary(random, depth),
    }
}

fn fields(random: &mut Random, name: &str, most: usize, depth: usize) -> Vec<Field> {
    (0..random.within(0, most)).map(|index| field(random, &format!("{name}{index}"), depth)).collect()
}

fn map(random: &mut Random, depth: usize) -> DataType {
    let [entries, key, value] = random.pick(&[["entries", "keys", "values"], ["key_value", "key", "value"]]);
    let key = loop {
        let key = field(random, key, depth.min(1));
        if !is_ever_null(key.data_type()) {
            break key.with_nullable(false);
        }
    };
    let value = field(random, value, depth);
    let entries = Field::new_struct(entries, vec![key, value], false);
    DataType::Map(Arc::new(entries), random.one_in(2))
}

fn union(random: &mut Random, depth: usize) -> DataType {
    let mode = random.pick(&[UnionMode::Dense, UnionMode::Sparse]);
    let ids = random.pick(&[[0, 1, 2], [5, 2, 127]]);
    let mut fields = fields(random, "u", 2, depth);
    fields.push(field(random, "last", depth));
    let fields: UnionFields = ids.into_iter().zip(fields).map(|(id, field)| (id, Arc::new(field))).collect();
    DataType::Union(fields, mode)
}

fn runs(random: &mut Random, depth: usize) -> DataType {
    let ends = random.pick(&[DataType::Int16, DataType::Int32, DataType::Int64]);
    let name = random.pick(&["values", "v"]);
    let values = field(random, name, depth);
    DataType::RunEndEncoded(Field::new("run_ends", ends, false).into(), values.into())
}
