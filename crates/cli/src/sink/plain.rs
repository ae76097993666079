//! Converts columns to types that text writers support.

use std::{collections::HashMap, sync::Arc};

use coframe::arrow::{
    array::{
        Array, ArrayRef, AsArray, FixedSizeListArray, LargeListArray, ListArray, RecordBatch, RecordBatchOptions,
        StringArray, StructArray,
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};

use super::leaves::check_times;

use crate::{
    failure::{Failure, Result},
    types,
};

/// Returns the schema of the batches that `plain` returns.
pub(crate) fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| plain_field(field)).collect::<Vec<_>>()))
}

fn plain_field(field: &Field) -> Field {
    let inner = |item: &FieldRef| Arc::new(plain_field(item));
    let data_type = match field.data_type() {
        _ if types::wide_integer(field).is_some() => DataType::Utf8,
        // Categories are strings.
        DataType::Dictionary(_, values) if types::is_flat(values) => values.as_ref().clone(),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(inner(item), *width),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    };
    let is_text = types::wide_integer(field).is_some();
    // As strings they no longer match their extension type.
    let metadata = if is_text { HashMap::new() } else { field.metadata().clone() };
    field.clone().with_data_type(data_type).with_metadata(metadata)
}

/// Returns the batch with 128-bit integers as digits, and categories as strings. Refuses times that text cannot
/// express.
pub(crate) fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        check_times(field.name(), column)?;
    }
    plain_for_display(batch)
}

/// Works as [`plain`], but allows times that text cannot express.
pub(crate) fn plain_for_display(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = plain_schema(&batch.schema());
    let old = batch.schema();
    let columns = batch.columns().iter().zip(old.fields()).zip(schema.fields());
    let columns = columns.map(|((column, from), to)| plain_column(column, from, to.data_type()));
    let columns = columns.collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(|error| Failure::failed(format_args!("a batch does not fit its schema: {error}")))
}

fn plain_column(column: &ArrayRef, from: &Field, to: &DataType) -> Result<ArrayRef> {
    plain_array(column, from, to)
        .map_err(|error| Failure::failed(format_args!("column `{}` cannot be written as text: {error}", from.name())))
}

fn plain_array(array: &ArrayRef, from: &Field, to: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    if let Some(signed) = types::wide_integer(from) {
        return Ok(digits(array, signed));
    }
    if from.data_type() == to {
        return Ok(array.clone());
    }
    let inner = |items: &ArrayRef, from: &FieldRef, to: &FieldRef| plain_array(items, from, to.data_type());
    Ok(match (from.data_type(), to) {
        (DataType::List(from), DataType::List(to)) => {
            let list = array.as_list::<i32>();
            let values = inner(list.values(), from, to)?;
            Arc::new(ListArray::try_new(to.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (DataType::LargeList(from), DataType::LargeList(to)) => {
            let list = array.as_list::<i64>();
            let values = inner(list.values(), from, to)?;
            Arc::new(LargeListArray::try_new(to.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (DataType::FixedSizeList(from, width), DataType::FixedSizeList(to, _)) => {
            let list = array.as_fixed_size_list();
            let values = inner(list.values(), from, to)?;
            Arc::new(FixedSizeListArray::try_new(to.clone(), *width, values, list.nulls().cloned())?)
        }
        (DataType::Struct(from), DataType::Struct(to)) => {
            let parent = array.as_struct();
            let columns = parent.columns().iter().zip(from.iter().zip(to));
            let columns =
                columns.map(|(column, (from, to))| inner(column, from, to)).collect::<std::result::Result<_, _>>()?;
            Arc::new(StructArray::try_new_with_length(to.clone(), columns, parent.nulls().cloned(), parent.len())?)
        }
        _ => cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?,
    })
}

/// Returns 128-bit integers as strings.
fn digits(array: &ArrayRef, signed: bool) -> ArrayRef {
    let digits = array.as_fixed_size_binary().iter().map(|value| {
        let value: [u8; 16] = value?.try_into().ok()?;
        Some(if signed { i128::from_le_bytes(value).to_string() } else { u128::from_le_bytes(value).to_string() })
    });
    Arc::new(digits.collect::<StringArray>())
}
