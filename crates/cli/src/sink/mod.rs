//! Writes record batches as files and text: Parquet, CSV, NDJSON, Arrow IPC.

mod leaves;
mod parquet;
mod plain;
mod target;

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use coframe::arrow::{
    array::{RecordBatch, RecordBatchReader, new_null_array},
    csv,
    datatypes::{Field, Schema, SchemaRef},
    ipc,
    json::{ArrayWriter, LineDelimitedWriter, Writer, WriterBuilder, writer::JsonFormat},
};
use serde::Serialize;

pub(crate) use parquet::Codec;
pub(crate) use plain::{plain, plain_for_display, plain_schema};
pub(crate) use target::FileTarget;

use self::leaves::NotFinite;
use crate::{
    failure::{Failure, Result},
    source::Format,
    text::Json,
    types,
};

/// The number of rows that are converted to text in one step.
const TEXT_ROWS: usize = 8192;

/// Writes all batches in a format. `what` names the target in errors.
pub(crate) fn write<W: Write + Send>(
    batches: impl RecordBatchReader,
    format: Format,
    codec: Codec,
    out: W,
    what: &str,
) -> Result {
    match format {
        Format::Parquet => parquet::write(batches, codec, out, what),
        Format::Arrow => arrow(batches, out, what),
        Format::Csv => csv(batches, b',', out, what),
        Format::Ndjson => ndjson(batches, out, what),
    }
}

fn arrow(batches: impl RecordBatchReader, out: impl Write, what: &str) -> Result {
    let failed = |error| Failure::writing(what, &error);
    let mut writer = ipc::writer::FileWriter::try_new(out, &batches.schema()).map_err(failed)?;
    for batch in batches {
        writer.write(&batch.map_err(failed)?).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

pub(crate) fn csv(batches: impl RecordBatchReader, delimiter: u8, mut out: impl Write, what: &str) -> Result {
    let schema = plain_schema(&batches.schema());
    has_columns(&schema, "CSV")?;
    if let Some(field) = schema.fields().iter().find(|field| !types::is_flat(field.data_type())) {
        let next = match (holds(field, json_row), holds(&parquet::writable(field), parquet::row)) {
            (true, true) => "NDJSON or Parquet",
            (true, false) => "NDJSON",
            (false, true) => "Parquet",
            (false, false) => "Arrow IPC",
        };
        return Err(Failure::failed(format_args!(
            "column `{}` is {}, which CSV cannot hold; write {next}, or leave the column out (--columns)",
            field.name(),
            field.data_type()
        )));
    }
    let failed = |error| Failure::writing(what, &error);
    let mut writer = csv::WriterBuilder::new().with_delimiter(delimiter).build(&mut out);
    // The header is written with the first batch, so a table without rows has one too.
    writer.write(&RecordBatch::new_empty(schema)).map_err(failed)?;
    for batch in batches {
        for part in parts(&batch.map_err(failed)?, TEXT_ROWS) {
            writer.write(&plain(&part)?).map_err(failed)?;
        }
    }
    drop(writer);
    out.flush().map_err(|error| Failure::writing(what, &error))
}

/// Refuses a table without columns, whose number of rows a format would lose.
fn has_columns(schema: &SchemaRef, format: &str) -> Result {
    if schema.fields().is_empty() {
        return Err(Failure::failed(format_args!("{format} keeps no rows without columns; write Arrow IPC or NDJSON")));
    }
    Ok(())
}

/// Refuses a column whose type a writer does not support, by its name, before anything is written. `write` tries a row,
/// and returns whether it succeeded.
fn check(schema: &SchemaRef, format: &str, write: fn(&RecordBatch) -> bool) -> Result {
    let Some(field) = schema.fields().iter().find(|field| !holds(field, write)) else { return Ok(()) };
    Err(Failure::failed(format_args!(
        "column `{}` is {}, which {format} cannot hold; write Arrow IPC, or leave the column out (--columns)",
        field.name(),
        field.data_type()
    )))
}

/// Returns whether a writer supports the type of a column.
fn holds(field: &Field, write: fn(&RecordBatch) -> bool) -> bool {
    let alone = Arc::new(Schema::new(vec![field.clone().with_nullable(true)]));
    let row = RecordBatch::try_new(alone, vec![new_null_array(field.data_type(), 1)]);
    // The writer of Parquet panics on some types.
    catch_unwind(AssertUnwindSafe(|| row.is_ok_and(|row| write(&row)))).unwrap_or(false)
}

/// Tries to write a row as JSON.
fn json_row(row: &RecordBatch) -> bool {
    let mut trial: LineDelimitedWriter<_> = WriterBuilder::new().with_explicit_nulls(true).build(std::io::sink());
    trial.write(row).is_ok()
}

pub(crate) fn ndjson(batches: impl RecordBatchReader, mut out: impl Write, what: &str) -> Result {
    let writer: LineDelimitedWriter<_> = WriterBuilder::new().with_explicit_nulls(true).build(&mut out);
    json(batches, writer, what)?;
    out.flush().map_err(|error| Failure::writing(what, &error))
}

fn json<W: Write, F: JsonFormat>(batches: impl RecordBatchReader, mut writer: Writer<W, F>, what: &str) -> Result {
    check(&plain_schema(&batches.schema()), "JSON", json_row)?;
    let failed = |error| Failure::writing(what, &error);
    let mut not_finite = NotFinite::default();
    for batch in batches {
        for part in parts(&batch.map_err(failed)?, TEXT_ROWS) {
            not_finite.gather(&part);
            writer.write(&plain(&part)?).map_err(failed)?;
        }
    }
    writer.finish().map_err(failed)?;
    not_finite.report();
    Ok(())
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    r#type: String,
}

/// One object: `columns` with names and types, and `rows` with an object for each row.
pub(crate) fn rows_json(batches: impl RecordBatchReader, mut out: impl Write) -> Result {
    let schema = batches.schema();
    let column = |field: &'_ coframe::arrow::datatypes::FieldRef| types::short(field);
    let columns: Vec<Column<'_>> =
        schema.fields().iter().map(|field| Column { name: field.name(), r#type: column(field) }).collect();
    let mut out = Json::new(&mut out);
    write!(out, "{{\"columns\":")?;
    serde_json::to_writer(&mut out, &columns)?;
    write!(out, ",\"rows\":")?;
    let writer: ArrayWriter<_> = WriterBuilder::new().with_explicit_nulls(true).build(&mut out);
    json(batches, writer, "standard output")?;
    writeln!(out, "}}")?;
    Ok(out.flush()?)
}

/// Cuts a batch into slices, so that the text of each is small.
fn parts(batch: &RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(rows);
    starts.map(move |start| batch.slice(start, rows.min(batch.num_rows() - start)))
}
