//! The schema of a table from Arrow's C data interface. Polars exports its 128-bit integers with formats that Arrow
//! does not define.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
    error::ArrowError,
    ffi::FFI_ArrowSchema,
};

use crate::error::{Error, Result};
use crate::ipc::wide::{INT128, UINT128, tag_extension};

/// Polars' formats of 128-bit integers, and their marks in a segment.
const WIDE: [(&str, &str); 2] = [("_pli128", INT128), ("_plu128", UINT128)];

/// `what` is the table, for errors.
pub(in crate::ipc) fn table_schema(schema: &FFI_ArrowSchema, what: &str) -> Result<SchemaRef> {
    let format = schema.format();
    if format != "+s" {
        let expected =
            format_args!("it has arrays of format `{format}`; expected a table, which is a struct of columns");
        return Err(Error::invalid(what, expected));
    }
    let fields: Fields = schema.children().map(field_of).collect::<Result<_>>()?;
    let metadata = schema.metadata().map_err(|e| Error::arrow(format_args!("read the metadata of {what}"), e))?;
    Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
}

/// The field of a column, including Polars' own formats, at any depth.
fn field_of(schema: &FFI_ArrowSchema) -> Result<Field> {
    let format = schema.format();
    let unsupported = |detail: &dyn std::fmt::Display| {
        let what = format!("column `{}` of an Arrow C schema ({detail})", name_of(schema));
        Error::unsupported(what, "cast it to a type that Arrow has")
    };
    if let Some((_, extension)) = WIDE.iter().find(|(polars, _)| *polars == format) {
        let mut metadata = HashMap::new();
        tag_extension(&mut metadata, extension);
        return Ok(Field::new(name_of(schema), DataType::FixedSizeBinary(16), true).with_metadata(metadata));
    }
    if !schema.children().any(has_wide) {
        return Field::try_from(schema).map_err(|e| unsupported(&e));
    }
    let child = || field_of(schema.child(0)).map(Arc::new);
    let data_type = match format {
        "+s" => DataType::Struct(schema.children().map(field_of).collect::<Result<_>>()?),
        "+l" => DataType::List(child()?),
        "+L" => DataType::LargeList(child()?),
        _ => match format.strip_prefix("+w:").and_then(|width| width.parse().ok()) {
            Some(width) => DataType::FixedSizeList(child()?, width),
            None => return Err(unsupported(&format_args!("format `{format}` with 128-bit integers"))),
        },
    };
    let metadata = schema.metadata().map_err(|e: ArrowError| unsupported(&e))?;
    Ok(Field::new(name_of(schema), data_type, schema.nullable()).with_metadata(metadata))
}

fn has_wide(schema: &FFI_ArrowSchema) -> bool {
    WIDE.iter().any(|(polars, _)| *polars == schema.format()) || schema.children().any(has_wide)
}

fn name_of(schema: &FFI_ArrowSchema) -> &str {
    schema.name().unwrap_or_default()
}
