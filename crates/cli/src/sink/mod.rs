//! Record batches as files and text: Parquet, CSV, NDJSON, Arrow IPC.

mod parquet;
mod plain;
mod target;

use std::io::Write;

use coframe::arrow::{
    array::{RecordBatch, RecordBatchReader},
    csv, ipc,
    json::{ArrayWriter, LineDelimitedWriter, WriterBuilder},
};
use serde::Serialize;

pub(crate) use parquet::Codec;
pub(crate) use plain::{plain, plain_schema};
pub(crate) use target::FileTarget;

use crate::{
    failure::{Failure, Result},
    source::Format,
    types,
};

/// Rows that text is made of at a time.
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
    if let Some(field) = schema.fields().iter().find(|field| !types::is_flat(field.data_type())) {
        return Err(Failure::failed(format_args!(
            "column `{}` is {}, which CSV cannot hold; write NDJSON or Parquet, or leave the column out (--columns)",
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

pub(crate) fn ndjson(batches: impl RecordBatchReader, mut out: impl Write, what: &str) -> Result {
    let failed = |error| Failure::writing(what, &error);
    let mut writer: LineDelimitedWriter<_> = WriterBuilder::new().with_explicit_nulls(true).build(&mut out);
    for batch in batches {
        for part in parts(&batch.map_err(failed)?, TEXT_ROWS) {
            writer.write(&plain(&part)?).map_err(failed)?;
        }
    }
    writer.finish().map_err(failed)?;
    drop(writer);
    out.flush().map_err(|error| Failure::writing(what, &error))
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
    write!(out, "{{\"columns\":")?;
    serde_json::to_writer(&mut out, &columns)?;
    write!(out, ",\"rows\":")?;
    let what = "standard output";
    let failed = |error| Failure::writing(what, &error);
    let mut writer: ArrayWriter<_> = WriterBuilder::new().with_explicit_nulls(true).build(&mut out);
    for batch in batches {
        for part in parts(&batch.map_err(failed)?, TEXT_ROWS) {
            writer.write(&plain(&part)?).map_err(failed)?;
        }
    }
    writer.finish().map_err(failed)?;
    drop(writer);
    writeln!(out, "}}")?;
    Ok(out.flush()?)
}

/// Slices of a batch, so that what is made of each stays small.
fn parts(batch: &RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(rows);
    starts.map(move |start| batch.slice(start, rows.min(batch.num_rows() - start)))
}
