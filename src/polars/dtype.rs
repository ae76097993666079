//! Maps Polars dtypes to Arrow types, and back (FORMAT.md, section 5).

use std::collections::HashMap;

use arrow::datatypes::{DataType as ArrowType, Field, Fields, TimeUnit};
use polars::{
    datatypes::DataType,
    prelude::{CategoricalPhysical, TimeUnit as PlTimeUnit},
};

use crate::{
    error::{Error, Result},
    ipc::{EXTENSION, INT128, UINT128, tag_extension},
};

/// The name that Polars gives to the items of a list.
const ITEM: &str = "item";

/// The Arrow field of a Polars column. `path` names it in errors.
pub(super) fn to_field(name: &str, dtype: &DataType, path: &str) -> Result<Field> {
    let mut metadata = HashMap::new();
    match dtype {
        DataType::Int128 => tag_extension(&mut metadata, INT128),
        DataType::UInt128 => tag_extension(&mut metadata, UINT128),
        DataType::Categorical(..) | DataType::Enum(..) | DataType::BinaryOffset => {
            let pairs = dtype.to_arrow_field_metadata().into_iter().flatten();
            metadata.extend(pairs.map(|(key, value)| (key.to_string(), value.to_string())));
        }
        _ => {}
    }
    Ok(Field::new(name, to_type(dtype, path)?, true).with_metadata(metadata))
}

fn to_type(dtype: &DataType, path: &str) -> Result<ArrowType> {
    let item = |inner: &DataType| Ok::<_, Error>(to_field(ITEM, inner, &format!("{path}.[]"))?.into());
    Ok(match dtype {
        DataType::Boolean => ArrowType::Boolean,
        DataType::UInt8 => ArrowType::UInt8,
        DataType::UInt16 => ArrowType::UInt16,
        DataType::UInt32 => ArrowType::UInt32,
        DataType::UInt64 => ArrowType::UInt64,
        DataType::Int8 => ArrowType::Int8,
        DataType::Int16 => ArrowType::Int16,
        DataType::Int32 => ArrowType::Int32,
        DataType::Int64 => ArrowType::Int64,
        DataType::Int128 | DataType::UInt128 => ArrowType::FixedSizeBinary(16),
        DataType::Float16 => ArrowType::Float16,
        DataType::Float32 => ArrowType::Float32,
        DataType::Float64 => ArrowType::Float64,
        DataType::Decimal(precision, scale) => {
            let digits = u8::try_from(*precision).ok().zip(i8::try_from(*scale).ok());
            let (precision, scale) = digits.ok_or_else(|| unsupported(path, dtype))?;
            ArrowType::Decimal128(precision, scale)
        }
        DataType::String => ArrowType::Utf8View,
        DataType::Binary => ArrowType::BinaryView,
        DataType::BinaryOffset => ArrowType::LargeBinary,
        DataType::Date => ArrowType::Date32,
        DataType::Datetime(unit, zone) => {
            ArrowType::Timestamp(to_unit(*unit), zone.as_ref().map(|zone| zone.as_str().into()))
        }
        DataType::Duration(unit) => ArrowType::Duration(to_unit(*unit)),
        DataType::Time => ArrowType::Time64(TimeUnit::Nanosecond),
        DataType::Array(inner, width) => {
            let width = i32::try_from(*width).map_err(|_| unsupported(path, dtype))?;
            ArrowType::FixedSizeList(item(inner)?, width)
        }
        DataType::List(inner) => ArrowType::LargeList(item(inner)?),
        DataType::Null => ArrowType::Null,
        DataType::Categorical(cats, _) => dictionary(cats.physical()),
        DataType::Enum(cats, _) => dictionary(cats.physical()),
        DataType::Struct(fields) => {
            let field = |f: &polars::prelude::Field| to_field(f.name(), f.dtype(), &format!("{path}.{}", f.name()));
            ArrowType::Struct(fields.iter().map(field).collect::<Result<Fields>>()?)
        }
        other => return Err(unsupported(path, other)),
    })
}

fn dictionary(physical: CategoricalPhysical) -> ArrowType {
    let key = match physical {
        CategoricalPhysical::U8 => ArrowType::UInt8,
        CategoricalPhysical::U16 => ArrowType::UInt16,
        CategoricalPhysical::U32 => ArrowType::UInt32,
    };
    ArrowType::Dictionary(Box::new(key), Box::new(ArrowType::Utf8View))
}

fn unsupported(path: &str, dtype: &DataType) -> Error {
    Error::unsupported(
        format_args!("column `{path}` of dtype {dtype}"),
        "cast it to a dtype that Arrow has, or leave it out",
    )
}

fn to_unit(unit: PlTimeUnit) -> TimeUnit {
    match unit {
        PlTimeUnit::Nanoseconds => TimeUnit::Nanosecond,
        PlTimeUnit::Microseconds => TimeUnit::Microsecond,
        PlTimeUnit::Milliseconds => TimeUnit::Millisecond,
    }
}

/// The information in a field's metadata beyond its Arrow type.
pub(super) enum Marked<'a> {
    Nothing,
    Int128,
    UInt128,
    BinaryOffset,
    /// Name, namespace and width of the `Categories`.
    Categorical(&'a str, &'a str, CategoricalPhysical),
    /// All categories, in order.
    Enum(Vec<&'a str>),
}

/// Reads the mark of a field. Marks that do not parse are ignored.
pub(super) fn marked(field: &Field) -> Marked<'_> {
    let get = |key: &str| field.metadata().get(key).map(String::as_str);
    match field.data_type() {
        ArrowType::FixedSizeBinary(16) if get(EXTENSION) == Some(INT128) => Marked::Int128,
        ArrowType::FixedSizeBinary(16) if get(EXTENSION) == Some(UINT128) => Marked::UInt128,
        ArrowType::LargeBinary if get("pl") == Some("maintain_type") => Marked::BinaryOffset,
        ArrowType::Dictionary(..) => {
            let categories = get("_PL_ENUM_VALUES2").and_then(|text| parse_all(text).map(Marked::Enum));
            let categorical = || get("_PL_CATEGORICAL2").and_then(parse_categorical);
            categories.or_else(categorical).unwrap_or(Marked::Nothing)
        }
        _ => Marked::Nothing,
    }
}

/// One string after its length, as Polars writes it: `3;abc`.
fn parse_one(text: &str) -> Option<(&str, &str)> {
    let (len, rest) = text.split_once(';')?;
    rest.split_at_checked(len.parse().ok()?)
}

fn parse_all(mut text: &str) -> Option<Vec<&str>> {
    let mut all = Vec::new();
    while !text.is_empty() {
        let (one, rest) = parse_one(text)?;
        all.push(one);
        text = rest;
    }
    Some(all)
}

fn parse_categorical(text: &str) -> Option<Marked<'_>> {
    let (name, rest) = parse_one(text)?;
    let (namespace, rest) = parse_one(rest)?;
    let physical = rest.strip_suffix(';')?.parse().ok()?;
    Some(Marked::Categorical(name, namespace, physical))
}

/// Whether Polars can use a field's values unchanged: `native` returns the same type. Allocates nothing.
pub(super) fn is_native(field: &Field) -> bool {
    use ArrowType as A;
    match field.data_type() {
        A::FixedSizeBinary(_) => matches!(marked(field), Marked::Int128 | Marked::UInt128),
        A::LargeBinary => matches!(marked(field), Marked::BinaryOffset),
        A::LargeList(item) | A::FixedSizeList(item, _) => is_native(item),
        A::Struct(fields) => fields.iter().all(|field| is_native(field)),
        A::Dictionary(_, values) => matches!(values.as_ref(), A::Utf8 | A::LargeUtf8 | A::Utf8View),
        A::Time64(unit) => *unit == TimeUnit::Nanosecond,
        A::Timestamp(unit, _) | A::Duration(unit) => *unit != TimeUnit::Second,
        A::Boolean | A::Null | A::Utf8View | A::BinaryView | A::Date32 | A::Decimal128(..) => true,
        other => other.is_integer() || other.is_floating(),
    }
}

/// The Arrow type in which Polars can use a field's values unchanged; the same type if it already can.
///
/// `None` if Polars has no such type.
pub(super) fn native(field: &Field) -> Option<ArrowType> {
    use ArrowType as A;
    // In Polars every value may be null.
    let child = |field: &Field| {
        let field = field.clone().with_data_type(native(field)?);
        Some(std::sync::Arc::new(field.with_nullable(true)))
    };
    Some(match field.data_type() {
        A::LargeBinary if matches!(marked(field), Marked::BinaryOffset) => A::LargeBinary,
        A::FixedSizeBinary(_) if matches!(marked(field), Marked::Int128 | Marked::UInt128) => A::FixedSizeBinary(16),
        A::Utf8 | A::LargeUtf8 => A::Utf8View,
        A::Binary | A::LargeBinary | A::FixedSizeBinary(_) => A::BinaryView,
        A::Time32(_) | A::Time64(_) => A::Time64(TimeUnit::Nanosecond),
        A::Date64 => A::Timestamp(TimeUnit::Millisecond, None),
        A::Timestamp(TimeUnit::Second, zone) => A::Timestamp(TimeUnit::Millisecond, zone.clone()),
        A::Duration(TimeUnit::Second) => A::Duration(TimeUnit::Millisecond),
        A::Decimal32(precision, scale) | A::Decimal64(precision, scale) => A::Decimal128(*precision, *scale),
        A::Decimal256(_, scale) => A::Decimal128(38, *scale),
        A::List(item) | A::LargeList(item) | A::ListView(item) | A::LargeListView(item) | A::Map(item, _) => {
            A::LargeList(child(item)?)
        }
        A::FixedSizeList(item, width) => A::FixedSizeList(child(item)?, *width),
        A::Struct(fields) => A::Struct(fields.iter().map(|field| child(field)).collect::<Option<Fields>>()?),
        A::Dictionary(_, values) => match values.as_ref() {
            A::Utf8 | A::LargeUtf8 | A::Utf8View => field.data_type().clone(),
            values => native(&Field::new("", values.clone(), true))?,
        },
        A::RunEndEncoded(_, values) => native(values)?,
        A::Union(..) | A::Interval(_) => return None,
        other => other.clone(),
    })
}

/// Whether the keys of a dictionary have the width of the categories.
pub(super) fn same_width(dictionary: &ArrowType, dtype: &DataType) -> bool {
    let ArrowType::Dictionary(key, _) = dictionary else { return false };
    // Keys in range are not negative, and have the same bytes with and without a sign.
    matches!(
        (key.as_ref(), dtype.cat_physical()),
        (ArrowType::UInt8 | ArrowType::Int8, Ok(CategoricalPhysical::U8))
            | (ArrowType::UInt16 | ArrowType::Int16, Ok(CategoricalPhysical::U16))
            | (ArrowType::UInt32 | ArrowType::Int32, Ok(CategoricalPhysical::U32))
    )
}
