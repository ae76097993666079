//! Reads the schema of an Arrow IPC file from its flatbuffer. Invalid content is an error.
//!
//! arrow-ipc 59 has only a conversion that panics on unknown content.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit, UnionFields, UnionMode,
};
use arrow_ipc::{self as ipc, DateUnit, Endianness, KeyValue, Precision, Type};
use flatbuffers::{ForwardsUOffset, Vector};

use super::wide;
use crate::error::{Error, Result};

/// Deeper than any real table, and shallow enough for the stack.
pub(super) const MAX_DEPTH: usize = 64;

pub(super) struct ReadSchema {
    pub(super) schema: SchemaRef,
    /// The dictionary id of each dictionary field, in depth-first order: a dictionary before what its values hold.
    pub(super) dictionary_ids: Vec<i64>,
}

/// Converts the schema. `what` names the file in errors.
pub(super) fn read(schema: ipc::Schema<'_>, what: &str) -> Result<ReadSchema> {
    if schema.endianness() != Endianness::Little {
        return Err(Error::unsupported(
            format_args!("{what}, which is big-endian,"),
            "write it on a little-endian machine",
        ));
    }
    let mut ids = Vec::new();
    let fields = read_fields(schema.fields(), &mut ids, 0);
    let fields = fields.ok_or_else(|| Error::corrupt(what, "S2-footer", "its schema has a field of no known type"))?;
    let metadata = schema.custom_metadata().map(read_pairs).unwrap_or_default();
    Ok(ReadSchema { schema: Schema::new_with_metadata(fields, metadata).into(), dictionary_ids: ids })
}

/// The items of a vector of tables.
type Tables<'a, T> = Vector<'a, ForwardsUOffset<T>>;

fn read_pairs(pairs: Tables<'_, KeyValue<'_>>) -> HashMap<String, String> {
    pairs.iter().filter_map(|kv| Some((kv.key()?.to_owned(), kv.value()?.to_owned()))).collect()
}

fn read_fields(fields: Option<Tables<'_, ipc::Field<'_>>>, ids: &mut Vec<i64>, depth: usize) -> Option<Vec<FieldRef>> {
    let Some(fields) = fields else { return Some(Vec::new()) };
    // The sum of a fallible iterator would not know how many there are.
    let mut read = Vec::with_capacity(fields.len());
    for field in fields {
        read.push(read_field(field, ids, depth)?);
    }
    Some(read)
}

fn read_field(field: ipc::Field<'_>, ids: &mut Vec<i64>, depth: usize) -> Option<FieldRef> {
    if depth > MAX_DEPTH {
        return None;
    }
    let data_type = match field.dictionary() {
        None => read_type(field, ids, depth)?,
        Some(dictionary) => {
            ids.push(dictionary.id());
            let key =
                dictionary.indexType().map_or(Some(DataType::Int32), |int| integer(int.bitWidth(), int.is_signed()))?;
            DataType::Dictionary(Box::new(key), Box::new(read_type(field, ids, depth)?))
        }
    };
    let is_ordered = field.dictionary().is_some_and(|dictionary| dictionary.isOrdered());
    let read = Field::new(field.name().unwrap_or_default(), data_type, field.nullable());
    let read = read.with_dict_is_ordered(is_ordered);
    let mut metadata = field.custom_metadata().map(read_pairs).unwrap_or_default();
    if let Some(extension) = wide_tag(field) {
        wide::tag_extension(&mut metadata, extension);
    }
    Some(Arc::new(if metadata.is_empty() { read } else { read.with_metadata(metadata) }))
}

/// The mark of an integer of 128 bits, which Polars writes as Arrow's integer type of that width.
fn wide_tag(field: ipc::Field<'_>) -> Option<&'static str> {
    let int = field.type_as_int().filter(|int| int.bitWidth() == 128 && field.dictionary().is_none())?;
    Some(if int.is_signed() { wide::INT128 } else { wide::UINT128 })
}

fn integer(width: i32, signed: bool) -> Option<DataType> {
    Some(match (width, signed) {
        (8, true) => DataType::Int8,
        (16, true) => DataType::Int16,
        (32, true) => DataType::Int32,
        (64, true) => DataType::Int64,
        (8, false) => DataType::UInt8,
        (16, false) => DataType::UInt16,
        (32, false) => DataType::UInt32,
        (64, false) => DataType::UInt64,
        _ => return None,
    })
}

fn time_unit(unit: ipc::TimeUnit) -> Option<TimeUnit> {
    Some(match unit {
        ipc::TimeUnit::SECOND => TimeUnit::Second,
        ipc::TimeUnit::MILLISECOND => TimeUnit::Millisecond,
        ipc::TimeUnit::MICROSECOND => TimeUnit::Microsecond,
        ipc::TimeUnit::NANOSECOND => TimeUnit::Nanosecond,
        _ => return None,
    })
}

fn read_type(field: ipc::Field<'_>, ids: &mut Vec<i64>, depth: usize) -> Option<DataType> {
    Some(match field.type_type() {
        Type::Null => DataType::Null,
        Type::Bool => DataType::Boolean,
        Type::Binary => DataType::Binary,
        Type::BinaryView => DataType::BinaryView,
        Type::LargeBinary => DataType::LargeBinary,
        Type::Utf8 => DataType::Utf8,
        Type::Utf8View => DataType::Utf8View,
        Type::LargeUtf8 => DataType::LargeUtf8,
        Type::FixedSizeBinary => {
            let width = field.type_as_fixed_size_binary()?.byteWidth();
            (width >= 0).then_some(DataType::FixedSizeBinary(width))?
        }
        Type::Int if wide_tag(field).is_some() => DataType::FixedSizeBinary(16),
        Type::Int => {
            let int = field.type_as_int()?;
            integer(int.bitWidth(), int.is_signed())?
        }
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::HALF => DataType::Float16,
            Precision::SINGLE => DataType::Float32,
            Precision::DOUBLE => DataType::Float64,
            _ => return None,
        },
        Type::Date | Type::Time | Type::Timestamp | Type::Duration | Type::Interval => read_temporal(field)?,
        Type::Decimal => read_decimal(field)?,
        _ => return read_nested(field, ids, depth + 1),
    })
}

fn read_temporal(field: ipc::Field<'_>) -> Option<DataType> {
    Some(match field.type_type() {
        Type::Date => match field.type_as_date()?.unit() {
            DateUnit::DAY => DataType::Date32,
            DateUnit::MILLISECOND => DataType::Date64,
            _ => return None,
        },
        Type::Time => {
            let time = field.type_as_time()?;
            match (time.bitWidth(), time_unit(time.unit())?) {
                (32, unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
                (64, unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => DataType::Time64(unit),
                _ => return None,
            }
        }
        Type::Timestamp => {
            let timestamp = field.type_as_timestamp()?;
            DataType::Timestamp(time_unit(timestamp.unit())?, timestamp.timezone().map(Into::into))
        }
        Type::Duration => DataType::Duration(time_unit(field.type_as_duration()?.unit())?),
        _ => DataType::Interval(match field.type_as_interval()?.unit() {
            ipc::IntervalUnit::YEAR_MONTH => IntervalUnit::YearMonth,
            ipc::IntervalUnit::DAY_TIME => IntervalUnit::DayTime,
            ipc::IntervalUnit::MONTH_DAY_NANO => IntervalUnit::MonthDayNano,
            _ => return None,
        }),
    })
}

fn read_decimal(field: ipc::Field<'_>) -> Option<DataType> {
    let decimal = field.type_as_decimal()?;
    let precision = u8::try_from(decimal.precision()).ok()?;
    let scale = i8::try_from(decimal.scale()).ok()?;
    let (data_type, most) = match decimal.bitWidth() {
        32 => (DataType::Decimal32(precision, scale), 9),
        64 => (DataType::Decimal64(precision, scale), 18),
        128 => (DataType::Decimal128(precision, scale), 38),
        256 => (DataType::Decimal256(precision, scale), 76),
        _ => return None,
    };
    // Arrow's display panics at a number with more digits after the point than in all.
    let is_valid = (1..=most).contains(&precision) && i16::from(scale) <= i16::from(precision);
    is_valid.then_some(data_type)
}

fn read_nested(field: ipc::Field<'_>, ids: &mut Vec<i64>, depth: usize) -> Option<DataType> {
    let mut children = read_fields(field.children(), ids, depth)?;
    let single = children.len() == 1;
    let mut one = || children.pop().filter(|_| single);
    Some(match field.type_type() {
        Type::List => DataType::List(one()?),
        Type::LargeList => DataType::LargeList(one()?),
        Type::ListView => DataType::ListView(one()?),
        Type::LargeListView => DataType::LargeListView(one()?),
        Type::FixedSizeList => {
            let size = field.type_as_fixed_size_list()?.listSize();
            (size >= 0).then_some(DataType::FixedSizeList(one()?, size))?
        }
        Type::Struct_ => DataType::Struct(Fields::from(children)),
        Type::Map => {
            let entries = one()?;
            let pairs = matches!(entries.data_type(), DataType::Struct(fields) if fields.len() == 2);
            pairs.then_some(DataType::Map(entries, field.type_as_map()?.keysSorted()))?
        }
        Type::RunEndEncoded => {
            let [ends, values] = <[FieldRef; 2]>::try_from(children).ok()?;
            let known = matches!(ends.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64);
            known.then_some(DataType::RunEndEncoded(ends, values))?
        }
        Type::Union => read_union(field, children)?,
        _ => return None,
    })
}

/// A union without variants has no value, and Arrow panics where it creates an array without rows of it.
fn read_union(field: ipc::Field<'_>, children: Vec<FieldRef>) -> Option<DataType> {
    if children.is_empty() {
        return None;
    }
    let union = field.type_as_union()?;
    let mode = match union.mode() {
        ipc::UnionMode::Dense => UnionMode::Dense,
        ipc::UnionMode::Sparse => UnionMode::Sparse,
        _ => return None,
    };
    let ids: Vec<i8> = match union.typeIds() {
        Some(ids) => ids.iter().map(i8::try_from).collect::<std::result::Result<_, _>>().ok()?,
        None => (0..children.len()).map(i8::try_from).collect::<std::result::Result<_, _>>().ok()?,
    };
    Some(DataType::Union(UnionFields::try_new(ids, children).ok()?, mode))
}
