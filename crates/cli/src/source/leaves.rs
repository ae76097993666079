//! The leaves of nested fields: the columns of Parquet.

use std::sync::Arc;

use coframe::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};

/// Returns the types of the leaves, in the order of Parquet's leaf columns.
pub(super) fn leaf_types(schema: &Schema) -> Vec<DataType> {
    let mut types = Vec::new();
    map_leaves(schema.fields(), &mut |field| {
        types.push(field.data_type().clone());
        field.clone()
    });
    types
}

/// Returns the fields with their leaves replaced, in the order of Parquet's leaf columns.
pub(super) fn map_leaves(fields: &Fields, leaf: &mut dyn FnMut(&Field) -> Field) -> Fields {
    fields.iter().map(|field| Arc::new(map_leaf_fields(field, leaf))).collect()
}

/// Returns the field with its leaves replaced.
pub(super) fn map_leaf_fields(field: &Field, leaf: &mut dyn FnMut(&Field) -> Field) -> Field {
    use DataType as D;
    let mut item = |item: &FieldRef| Arc::new(map_leaf_fields(item, leaf));
    let data_type = match field.data_type() {
        D::List(inner) => D::List(item(inner)),
        D::LargeList(inner) => D::LargeList(item(inner)),
        D::ListView(inner) => D::ListView(item(inner)),
        D::LargeListView(inner) => D::LargeListView(item(inner)),
        D::FixedSizeList(inner, width) => D::FixedSizeList(item(inner), *width),
        D::Map(entries, sorted) => D::Map(item(entries), *sorted),
        D::Struct(fields) => D::Struct(map_leaves(fields, leaf)),
        _ => return leaf(field),
    };
    field.clone().with_data_type(data_type)
}
