//! Short names of types, and what depends on a type.

use coframe::arrow::datatypes::{DataType, Field, TimeUnit};

/// Returns the name of a field's type in tables: Polars' name if it has one.
pub(crate) fn short(field: &Field) -> String {
    match wide_integer(field) {
        Some(true) => "i128".to_owned(),
        Some(false) => "u128".to_owned(),
        None if field.metadata().contains_key("_PL_ENUM_VALUES2") => "enum".to_owned(),
        None => name(field.data_type()),
    }
}

fn name(data_type: &DataType) -> String {
    use DataType as D;
    match data_type {
        D::Boolean => "bool".to_owned(),
        D::Int8 | D::Int16 | D::Int32 | D::Int64 => data_type.to_string().replace("Int", "i"),
        D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => data_type.to_string().replace("UInt", "u"),
        D::Float16 | D::Float32 | D::Float64 => data_type.to_string().replace("Float", "f"),
        D::Utf8 | D::LargeUtf8 | D::Utf8View => "str".to_owned(),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => "binary".to_owned(),
        D::Date32 | D::Date64 => "date".to_owned(),
        D::Time32(_) | D::Time64(_) => "time".to_owned(),
        D::Timestamp(unit, None) => format!("datetime[{}]", unit_name(*unit)),
        D::Timestamp(unit, Some(zone)) => format!("datetime[{}, {zone}]", unit_name(*unit)),
        D::Duration(unit) => format!("duration[{}]", unit_name(*unit)),
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale)
        | D::Decimal256(precision, scale) => format!("decimal[{precision},{scale}]"),
        D::Dictionary(_, values) if is_flat(values) && name(values) == "str" => "cat".to_owned(),
        D::List(item) | D::LargeList(item) | D::ListView(item) | D::LargeListView(item) => {
            format!("list[{}]", short(item))
        }
        D::FixedSizeList(item, width) => format!("array[{}, {width}]", short(item)),
        D::Struct(fields) => format!("struct[{}]", fields.len()),
        D::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

pub(crate) fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "µs",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Returns whether a field holds Polars' 128-bit integers, and whether they are signed (docs/FORMAT.md, section 5).
pub(crate) fn wide_integer(field: &Field) -> Option<bool> {
    let extension = field.metadata().get("ARROW:extension:name")?;
    let wide = matches!(field.data_type(), DataType::FixedSizeBinary(16));
    match extension.as_str() {
        "coframe.int128" if wide => Some(true),
        "coframe.uint128" if wide => Some(false),
        _ => None,
    }
}

/// Returns whether two columns have this name.
pub(crate) fn is_duplicate(frame: &coframe::Frame, name: &str) -> bool {
    frame.schema().fields().iter().filter(|field| field.name() == name).count() > 1
}

/// Returns whether a value fits into one field of CSV.
pub(crate) fn is_flat(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_flat(values),
        other => !other.is_nested(),
    }
}

pub(crate) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}
