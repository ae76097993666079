//! Writes Parquet, in row groups that readers can hold in memory one at a time.

use std::{io::Write, sync::Arc};

use clap::ValueEnum;
use coframe::arrow::{
    array::{RecordBatch, RecordBatchOptions, RecordBatchReader},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Schema, TimeUnit},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};

use super::{check, has_columns, parts};
use crate::failure::{Failure, Result};

/// How Parquet is compressed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Codec {
    #[default]
    Zstd,
    Snappy,
    None,
}

const GROUP_ROWS: usize = 1 << 19;
const PART_ROWS: usize = 1 << 16;

pub(super) fn write<W: Write + Send>(batches: impl RecordBatchReader, codec: Codec, out: W, what: &str) -> Result {
    let compression = match codec {
        Codec::Zstd => Compression::ZSTD(ZstdLevel::default()),
        Codec::Snappy => Compression::SNAPPY,
        Codec::None => Compression::UNCOMPRESSED,
    };
    let properties = WriterProperties::builder().set_compression(compression);
    let given = batches.schema();
    let fields: Vec<FieldRef> = given.fields().iter().map(writable).collect();
    // Arrow's readers find it in Arrow's schema; others, such as those of GeoParquet, among the entries of the file.
    let metadata = given.metadata().clone();
    let mut entries: Vec<KeyValue> =
        metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let properties = properties.set_key_value_metadata(Some(entries));
    let properties = properties.set_max_row_group_row_count(Some(GROUP_ROWS)).build();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    has_columns(&schema, "Parquet")?;
    check(&schema, "Parquet", row)?;
    let failed = |error: ParquetError| Failure::writing(what, &error);
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(failed)?;
    for batch in batches {
        let batch = conform(&batch.map_err(|error| Failure::writing(what, &error))?, &schema)?;
        for part in parts(&batch, PART_ROWS) {
            writer.write(&part).map_err(failed)?;
        }
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// Tries to write a row.
pub(super) fn row(row: &RecordBatch) -> bool {
    let trial = ArrowWriter::try_new(std::io::sink(), row.schema(), None);
    trial.is_ok_and(|mut trial| trial.write(row).is_ok() && trial.close().is_ok())
}

/// Returns the field in types that the writer supports: it panics on dictionaries whose values are views, and Parquet
/// lacks a unit of seconds, so times in seconds would become numbers.
pub(super) fn writable(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Dictionary(key, values) => match values.as_ref() {
            DataType::Utf8View => DataType::Dictionary(key.clone(), Box::new(DataType::Utf8)),
            DataType::BinaryView => DataType::Dictionary(key.clone(), Box::new(DataType::Binary)),
            _ => return field.clone(),
        },
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        // With the type of a whole day it would be a number.
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::List(item) => DataType::List(writable(item)),
        DataType::LargeList(item) => DataType::LargeList(writable(item)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(writable(item), *width),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(writable).collect()),
        _ => return field.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

fn conform(batch: &RecordBatch, schema: &Arc<Schema>) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        // A value that does not fit must not become null.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, field.data_type(), &options).map_err(|error| {
            let (name, data_type) = (field.name(), field.data_type());
            Failure::failed(format_args!(
                "column `{name}` cannot be written as {data_type}, which Parquet has: {error}"
            ))
        })
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_>>()?, &options)
        .map_err(|error| Failure::failed(format_args!("a batch does not fit its schema: {error}")))
}
