//! Columns in types that a library takes: a nested type keeps its form, and the leaves inside are cast.
//!
//! Arrow casts whole columns too, but loses the rows of lists of zero items, and does not cast what is in unions.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, make_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, FieldRef, TimeUnit},
    error::ArrowError,
};

/// The type without views: pyarrow cannot compare, filter or sort them, and pandas' `ArrowDtype` breaks on them.
pub(crate) fn classic_type(data_type: &DataType) -> DataType {
    with_leaves(data_type, &|leaf| match leaf {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        other => other.clone(),
    })
}

/// The type with decimals of 128 bits and without seconds. Polars lacks narrower decimals, and reads their buffers as if
/// they were these. It multiplies seconds without a check for an overflow.
pub(crate) fn polars_type(data_type: &DataType) -> DataType {
    with_leaves(data_type, &|leaf| match leaf {
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Duration(TimeUnit::Second) => DataType::Duration(TimeUnit::Millisecond),
        other => other.clone(),
    })
}

/// A nested type with other types inside; other leaves are unchanged.
fn with_leaves(data_type: &DataType, leaf: &dyn Fn(&DataType) -> DataType) -> DataType {
    let with = |field: &FieldRef| {
        let data_type = with_leaves(field.data_type(), leaf);
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::List(item) => DataType::List(with(item)),
        DataType::LargeList(item) => DataType::LargeList(with(item)),
        DataType::ListView(item) => DataType::ListView(with(item)),
        DataType::LargeListView(item) => DataType::LargeListView(with(item)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(with(item), *width),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(with).collect()),
        DataType::Map(entries, sorted) => DataType::Map(with(entries), *sorted),
        DataType::Union(fields, mode) => {
            DataType::Union(fields.iter().map(|(id, field)| (id, with(field))).collect(), *mode)
        }
        DataType::RunEndEncoded(ends, values) => DataType::RunEndEncoded(ends.clone(), with(values)),
        DataType::Dictionary(key, values) => DataType::Dictionary(key.clone(), Box::new(with_leaves(values, leaf))),
        other => leaf(other),
    }
}

/// The column in a type of the same form. A value that the new type does not have is an error.
pub(crate) fn as_type(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == data_type {
        return Ok(column.clone());
    }
    let types = children(data_type);
    if types.is_empty() {
        return cast_with_options(column, data_type, &CastOptions { safe: false, ..CastOptions::default() });
    }
    let data = column.to_data();
    let inside = data.child_data().iter().zip(types);
    let inside = inside.map(|(child, data_type)| Ok(as_type(&make_array(child.clone()), data_type)?.to_data()));
    let inside = inside.collect::<Result<_, ArrowError>>()?;
    // Offsets, keys and run ends are those of the column, because each child has as many rows as before.
    Ok(make_array(data.into_builder().data_type(data_type.clone()).child_data(inside).build()?))
}

/// Whether a type, or one inside of it, passes the test.
pub(crate) fn any(data_type: &DataType, test: &dyn Fn(&DataType) -> bool) -> bool {
    test(data_type) || children(data_type).into_iter().any(|child| any(child, test))
}

/// The types of an array's children.
fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::Dictionary(_, values) => vec![values],
        other => inner(other).into_iter().map(|field| field.data_type()).collect(),
    }
}

/// The fields in a type.
pub(crate) fn inner(data_type: &DataType) -> Vec<&FieldRef> {
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
