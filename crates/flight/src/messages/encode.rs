//! Encodes batches where the messages of the file cannot be sent: for a part of a batch's rows, and for casts.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
    ipc::{
        MetadataVersion,
        writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions},
    },
};
use tonic::Status;

use super::Data;
use crate::error;

/// arrow's encoder, and the dictionaries that it has sent.
pub(super) struct Encoder {
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
    schema: EncodedData,
}

impl Encoder {
    pub(super) fn new(schema: &Schema) -> Self {
        // These values are valid; the default has an alignment of 64 as well.
        let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5).unwrap_or_default();
        let mut dictionaries = DictionaryTracker::new(false);
        let generator = IpcDataGenerator::default();
        let schema = generator.schema_to_bytes_with_dictionary_tracker(schema, &mut dictionaries, &options);
        Self { generator, dictionaries, options, context: IpcWriteContext::default(), schema }
    }

    pub(super) fn schema(&self) -> bytes::Bytes {
        self.schema.ipc_message.clone().into()
    }

    /// The dictionaries that are new, and the batch.
    pub(super) fn encode(&mut self, batch: &RecordBatch) -> Result<(Vec<Data>, Data), Status> {
        // arrow loses where unions in a part of a list start, and takes no run-end encoded array without rows.
        let batch = coframe::encodable(&compact(batch).map_err(internal)?).map_err(|e| error::status(&e))?;
        let encoded = self.generator.encode(&batch, &mut self.dictionaries, &self.options, &mut self.context);
        let (dictionaries, batch) = encoded.map_err(internal)?;
        Ok((dictionaries.into_iter().map(data).collect(), data(batch)))
    }
}

fn data(EncodedData { ipc_message, arrow_data }: EncodedData) -> Data {
    Data { header: ipc_message.into(), body: vec![arrow_data.into()] }
}

fn internal(error: ArrowError) -> Status {
    Status::internal(error::text(format_args!("the rows cannot be encoded: {error}")))
}

/// Views with the bytes of their own rows only: the encoder sends every data buffer whole.
fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => column.clone(),
        }
    });
    rebuilt(batch.schema(), columns.collect(), batch.num_rows())
}

fn rebuilt(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

/// The schema without views, nested ones and values of dictionaries included. Metadata stays.
pub(super) fn classic_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(classic_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn classic_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(classic_type(field.data_type())))
}

fn classic_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        DataType::ListView(item) | DataType::LargeListView(item) | DataType::LargeList(item) => {
            DataType::LargeList(classic_field(item))
        }
        DataType::List(item) => DataType::List(classic_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(classic_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(classic_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(classic_field(entries), *sorted),
        DataType::Dictionary(key, value) => DataType::Dictionary(key.clone(), Box::new(classic_type(value))),
        DataType::Union(fields, mode) => {
            DataType::Union(fields.iter().map(|(id, field)| (id, classic_field(field))).collect(), *mode)
        }
        DataType::RunEndEncoded(ends, values) => DataType::RunEndEncoded(ends.clone(), classic_field(values)),
        other => other.clone(),
    }
}

pub(super) fn cast_to(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Status> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        cast_column(column, field.data_type()).map_err(|e| {
            let name = field.name();
            let text = format_args!("column `{name}` has no classic layout: {e}; ask for the layout `keep`");
            Status::unimplemented(error::text(text))
        })
    });
    rebuilt(schema.clone(), columns.collect::<Result<_, _>>()?, batch.num_rows()).map_err(internal)
}

/// arrow names the children of run-end encoded columns itself where it casts them.
fn cast_column(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if has_lists_of_zero_items(column.data_type()) {
        return Err(ArrowError::NotYetImplemented("arrow casts lists of 0 items to no rows".to_owned()));
    }
    let column = cast(column, data_type)?;
    if column.data_type() == data_type {
        return Ok(column);
    }
    let renamed = column.to_data().into_builder().data_type(data_type.clone());
    Ok(make_array(renamed.build()?))
}

/// Whether a column has lists of zero items.
fn has_lists_of_zero_items(data_type: &DataType) -> bool {
    let inner = |field: &FieldRef| has_lists_of_zero_items(field.data_type());
    match data_type {
        DataType::FixedSizeList(_, 0) => true,
        DataType::FixedSizeList(item, _)
        | DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => inner(item),
        DataType::Struct(fields) => fields.iter().any(inner),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| inner(field)),
        DataType::Dictionary(_, values) => has_lists_of_zero_items(values),
        _ => false,
    }
}
