//! CSV: types inferred from the first rows, then read row by row.

use std::io::BufRead;

use coframe::arrow::{
    array::{AsArray, RecordBatch},
    csv::{
        ReaderBuilder,
        reader::{BufReader as CsvReader, Format as CsvFormat},
    },
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};
use regex::Regex;

use super::{
    Batches, MORE, ReadOptions, brief,
    input::{Input, Progress, damaged},
    quotes::{OPEN_QUOTE, OneColumn, Quotes},
    text::{self, Seen},
};
use crate::failure::{Failure, Result};

/// Rows of a batch at most, and its bytes at about.
const ROWS: usize = 8192;
const BYTES: usize = 16 << 20;
/// Rows that are looked at in one go, before it is known how long they are.
const LOOK: usize = 256;

pub(super) fn schema(input: &mut Input, options: &ReadOptions) -> Result<Schema> {
    let (format, delimiter) = (format(input, options)?, delimiter(input, options));
    // All rows of a pipe are looked at in a temporary file, not in memory.
    if options.limit().is_none() {
        input.file()?;
    }
    let label = input.label.clone();
    let names = input.look(|text| format.infer_schema(text, Some(0)))?;
    let (names, _) = names.map_err(|error| explain(&label, &error))?;
    if names.fields().is_empty() {
        return Err(Failure::failed(format_args!("{label} is empty: there is no line that names columns")));
    }
    let limit = options.limit().unwrap_or(usize::MAX);
    let looked = input.look(|text| look(text, &names, &format, delimiter, limit))?;
    let (seen, bytes) = looked.map_err(|error| explain(&label, &error))?;
    input.row_bytes = bytes;
    let field = |(field, seen): (&FieldRef, Seen)| field.as_ref().clone().with_data_type(seen.data_type());
    Ok(Schema::new(names.fields().iter().zip(seen).map(field).collect::<Vec<_>>()))
}

/// What the values of each column are in the first rows, and the bytes of a row in memory, on average.
fn look(
    text: &mut dyn BufRead,
    names: &Schema,
    format: &CsvFormat,
    delimiter: u8,
    limit: usize,
) -> std::result::Result<(Vec<Seen>, usize), ArrowError> {
    let builder = ReaderBuilder::new(all_text(names)).with_format(format.clone()).with_batch_size(limit.min(LOOK));
    let mut seen = vec![Seen::default(); names.fields().len()];
    let (mut rows, mut bytes) = (0, 0);
    for batch in builder.build_buffered(followed(text, names, delimiter))? {
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(limit - rows));
        rows += batch.num_rows();
        for (column, seen) in batch.columns().iter().zip(&mut seen) {
            bytes += 16 * column.len();
            for value in column.as_string::<i32>().iter().flatten() {
                bytes += value.len();
                seen.add(value);
            }
        }
        if rows >= limit {
            break;
        }
    }
    Ok((seen, bytes / rows.max(1)))
}

/// The text with its quotes followed, and with all rows where there is one column.
fn followed<'a>(text: impl BufRead + 'a, schema: &Schema, delimiter: u8) -> Box<dyn BufRead + 'a> {
    let text = Quotes::new(text, delimiter);
    if schema.fields().len() == 1 { Box::new(OneColumn::new(text)) } else { Box::new(text) }
}

/// The schema with every column as text, as which all are read first.
fn all_text(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| field.as_ref().clone().with_data_type(DataType::Utf8);
    SchemaRef::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn delimiter(input: &Input, options: &ReadOptions) -> u8 {
    let tabs = input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
    options.delimiter.unwrap_or(if tabs { b'\t' } else { b',' })
}

fn format(input: &Input, options: &ReadOptions) -> Result<CsvFormat> {
    let format = CsvFormat::default().with_header(!options.no_header).with_delimiter(delimiter(input, options));
    if options.null.is_empty() {
        return Ok(format);
    }
    let texts: Vec<String> = options.null.iter().map(|text| regex::escape(text)).collect();
    let regex = Regex::new(&format!("^(?:|{})$", texts.join("|"))).map_err(Failure::usage)?;
    Ok(format.with_null_regex(regex))
}

pub(super) fn batches<'a>(
    input: Input,
    schema: &SchemaRef,
    options: &ReadOptions,
    progress: &Progress,
) -> Result<Batches<'a>> {
    let label = input.label.clone();
    let (format, delimiter) = (format(&input, options)?, delimiter(&input, options));
    let rows = (BYTES / input.row_bytes.max(1)).clamp(16, ROWS);
    let reader = ReaderBuilder::new(all_text(schema)).with_format(format).with_batch_size(rows);
    let text = followed(input.text(progress)?, schema, delimiter);
    let reader = reader.build_buffered(text).map_err(|error| explain(&label, &error))?;
    let line = if options.no_header { 1 } else { 2 };
    let more = options.limit().is_some();
    Ok(Box::new(Rows { reader, schema: schema.clone(), label, line, more }))
}

struct Rows {
    reader: CsvReader<Box<dyn BufRead>>,
    schema: SchemaRef,
    label: String,
    /// Of the next row.
    line: usize,
    /// Whether there are rows that were not looked at for the types.
    more: bool,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.map_err(|error| explain(&self.label, &error));
        let batch = batch.and_then(|batch| self.typed(&batch));
        Some(batch)
    }
}

impl Rows {
    fn typed(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            let texts = column.as_string::<i32>();
            text::column(texts, field.data_type()).map_err(|row| self.wrong(field, self.line + row, texts.value(row)))
        });
        let columns = columns.collect::<Result<_>>()?;
        self.line += batch.num_rows();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| explain(&self.label, &error))
    }

    fn wrong(&self, field: &Field, line: usize, value: &str) -> Failure {
        let (label, name, data_type) = (&self.label, field.name(), field.data_type());
        let (value, more) = (brief(value), if self.more { MORE } else { "" });
        Failure::failed(format_args!(
            "{label}, line {line}, column `{name}`: `{value}` is no {data_type} without a loss, which the rows before it \
             were; read {more}the column as text (--string {name})"
        ))
    }
}

/// Puts the reader's message in the terms of the file: its name, the line, what to do.
fn explain(label: &str, error: &ArrowError) -> Failure {
    let message = error.to_string();
    let text = message.split_once("rror: ").map_or(message.as_str(), |(_, text)| text);
    if let Some((_, line)) = text.split_once(OPEN_QUOTE) {
        return Failure::failed(format_args!(
            "{label}, line {line}: a quote opens here that is never closed; mend the line"
        ));
    }
    if matches!(error, ArrowError::IoError(..)) && !text.contains("UTF-8") {
        return damaged(label, &text);
    }
    let line = line_of(text).map_or(String::new(), |line| format!(", line {line}"));
    if text.contains("UTF-8") {
        return Failure::failed(format_args!(
            "{label}{line}: the text is not UTF-8; convert it, for example with iconv"
        ));
    }
    let counts: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty()).collect();
    let (expected, found) = match counts[..] {
        // `incorrect number of fields for line 3, expected 2 got more than 2`, or `got 1`
        [_, expected, found] if text.starts_with("incorrect number of fields") => (expected, found),
        // `Encountered unequal lengths between records on CSV file. Expected 2 records, found 1 records at line 3`
        [expected, found, _] if text.starts_with("Encountered unequal lengths") => (expected, found),
        _ => return Failure::failed(format_args!("{label}{line} is no CSV: {text}; mend the line")),
    };
    let more = if text.contains("got more than") { "more than " } else { "" };
    Failure::failed(format_args!(
        "{label}{line}: expected {expected} fields, found {more}{found}; mend or remove the line"
    ))
}

/// The number after the last `line ` of a message.
fn line_of(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once("line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty())
}
