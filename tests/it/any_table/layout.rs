//! The types that a layout of strings gives a frame.

use std::sync::Arc;

use coframe::{
    StringLayout,
    arrow::datatypes::{DataType, FieldRef, Fields},
};

/// The type that a frame of the given layout has for this one.
pub(super) fn in_layout(data_type: &DataType, layout: StringLayout) -> DataType {
    use DataType as T;
    let item = |field: &FieldRef| {
        let inner = in_layout(field.data_type(), layout);
        Arc::new(field.as_ref().clone().with_data_type(inner))
    };
    match (layout, data_type) {
        (StringLayout::View, T::Utf8 | T::LargeUtf8) => T::Utf8View,
        (StringLayout::View, T::Binary | T::LargeBinary) => T::BinaryView,
        (StringLayout::Offset, T::Utf8View) => T::LargeUtf8,
        (StringLayout::Offset, T::BinaryView) => T::LargeBinary,
        (StringLayout::View, T::List(field)) | (_, T::LargeList(field)) => T::LargeList(item(field)),
        (_, T::List(field)) => T::List(item(field)),
        (_, T::ListView(field)) => T::ListView(item(field)),
        (_, T::LargeListView(field)) => T::LargeListView(item(field)),
        (_, T::FixedSizeList(field, size)) => T::FixedSizeList(item(field), *size),
        (_, T::Map(field, sorted)) => T::Map(item(field), *sorted),
        (_, T::Struct(fields)) => T::Struct(fields.iter().map(item).collect::<Fields>()),
        (_, T::Union(fields, mode)) => T::Union(fields.iter().map(|(id, field)| (id, item(field))).collect(), *mode),
        (_, T::RunEndEncoded(ends, values)) => T::RunEndEncoded(ends.clone(), item(values)),
        (_, T::Dictionary(key, values)) => T::Dictionary(key.clone(), Box::new(in_layout(values, layout))),
        (_, other) => other.clone(),
    }
}
