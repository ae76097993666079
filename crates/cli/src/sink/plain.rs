//! Columns in the types that text writers know.

use std::sync::Arc;

use coframe::arrow::{
    array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::{
    failure::{Failure, Result},
    types,
};

/// The schema that `plain` brings batches to.
pub(crate) fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| plain_field(field)).collect::<Vec<_>>()))
}

fn plain_field(field: &Field) -> Field {
    let data_type = match field.data_type() {
        _ if types::wide_integer(field).is_some() => DataType::Utf8,
        // Categories are texts.
        DataType::Dictionary(_, values) if types::is_flat(values) => values.as_ref().clone(),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// The batch with 128-bit integers as digits, and categories as their texts.
pub(crate) fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
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
    if let Some(signed) = types::wide_integer(from) {
        let bytes = column.as_fixed_size_binary();
        let digits = bytes.iter().map(|value| {
            let value: [u8; 16] = value?.try_into().ok()?;
            Some(if signed { i128::from_le_bytes(value).to_string() } else { u128::from_le_bytes(value).to_string() })
        });
        return Ok(Arc::new(digits.collect::<StringArray>()));
    }
    if from.data_type() == to {
        return Ok(column.clone());
    }
    let name = from.name();
    cast(column, to)
        .map_err(|error| Failure::failed(format_args!("column `{name}` cannot be written as text: {error}")))
}
