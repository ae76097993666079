//! NDJSON: one object on each line.

mod error;
mod infer;

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{BufRead, Read},
    mem,
    ops::Range,
};

use coframe::arrow::{
    array::{Array, AsArray, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef},
    error::ArrowError,
    json::{ReaderBuilder, reader::Decoder},
};

use self::{
    error::{no_object, wrong_type},
    infer::infer,
};
use super::{
    Batches, MORE, ReadOptions, brief,
    exact::{self, members},
    input::{Input, Progress},
    options::TextOptions,
    text_types::{self, Numbers, not_of_type},
};
use crate::failure::{Failure, Result};

const ROWS: usize = 8192;
const BYTES: usize = 16 << 20;
/// The bytes that a value takes in memory at least, even if its key is missing.
const VALUE: usize = 16;

pub(in crate::source) fn schema(input: &mut Input, options: &ReadOptions) -> Result<Schema> {
    let label = input.label.clone();
    let start = input.look(|text| first_byte(text))?;
    if start == Some(b'[') {
        return Err(Failure::failed(format_args!(
            "{label} is one JSON array; NDJSON has an object on each line: convert it, for example with jq -c '.[]'"
        )));
    }
    // All rows of a pipe are inspected in a temporary file, not in memory.
    if options.text.limit().is_none() {
        input.file()?;
    }
    let rows = options.text.limit().unwrap_or(usize::MAX);
    input.look(|text| infer(text, rows, &options.text.read_as_text(), &label))?
}

fn first_byte(text: &mut dyn BufRead) -> Option<u8> {
    text.bytes().map_while(std::io::Result::ok).find(|byte| !byte.is_ascii_whitespace())
}

fn no_json(label: &str, error: &ArrowError) -> Failure {
    let message = error.to_string();
    let text = message.split_once("rror: ").map_or(message.as_str(), |(_, text)| text);
    Failure::failed(format_args!("{label} is not NDJSON: {text}; it needs one object on each line, with the same keys"))
}

pub(in crate::source) fn batches<'a>(
    input: Input,
    schema: &SchemaRef,
    options: &ReadOptions,
    progress: &Progress,
) -> Result<Batches<'a>> {
    let label = input.label.clone();
    let (as_text, more) = (options.text.read_as_text(), options.text.limit().is_some());
    let typed = schema.clone();
    let schema = texts(schema, &options.text);
    let names = schema.fields().iter().enumerate();
    let positions = names.map(|(position, field)| (field.name().clone(), position)).collect();
    let reading = Reading { schema, positions, typed, as_text, more, label };
    let decoder = reading.decoder(&reading.schema, true).map_err(|error| no_json(&reading.label, &error))?;
    let text = input.text(progress)?;
    let most = (BYTES / (VALUE * leaves(reading.schema.fields())).max(1)).clamp(16, ROWS);
    Ok(Box::new(Rows { reading, decoder, text, most, lines: Vec::new(), bytes: Vec::new(), first: 1, failed: false }))
}

/// Counts the columns that hold values, including nested ones.
fn leaves(fields: &Fields) -> usize {
    let leaf = |field: &FieldRef| match field.data_type() {
        DataType::Struct(fields) => leaves(fields),
        _ => 1,
    };
    fields.iter().map(leaf).sum()
}

/// Returns the schema in which columns are text if they get their type from strings.
fn texts(schema: &SchemaRef, options: &TextOptions) -> SchemaRef {
    let field = |field: &FieldRef| match options.type_of(field.name()) {
        Some(_) => field.as_ref().clone().with_data_type(DataType::Utf8),
        None => field.as_ref().clone(),
    };
    SchemaRef::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

struct Reading {
    /// The schema that is decoded.
    schema: SchemaRef,
    /// The positions of the columns by name.
    positions: HashMap<String, usize>,
    /// The schema of the result: columns whose type the user named are not text any more.
    typed: SchemaRef,
    /// The columns whose numbers become text because the user asked for it.
    as_text: Vec<String>,
    /// Whether some rows were not inspected for the types.
    more: bool,
    label: String,
}

impl Reading {
    /// Creates a decoder. `strict` refuses keys that the schema does not have, which would be dropped silently.
    fn decoder(&self, schema: &SchemaRef, strict: bool) -> std::result::Result<Decoder, ArrowError> {
        let builder = ReaderBuilder::new(schema.clone()).with_batch_size(2 * ROWS);
        builder.with_coerce_primitive(!self.as_text.is_empty()).with_strict_mode(strict).build_decoder()
    }

    /// Refuses lines that are not one object, and values in them that the decoder would change.
    fn check(&self, line: &[u8], number: usize) -> Result {
        let (mut wrong, mut twice) = (None, None);
        let fields = self.schema.fields();
        let mut seen = vec![false; fields.len()];
        let mut next = 0;
        let member = |key: Cow<'_, str>, value| {
            // Most rows have their keys in the same order.
            let expected = fields.get(next).filter(|field| *field.name() == key).map(|field| (next, field));
            let found = || self.positions.get(key.as_ref()).map(|position| (*position, &fields[*position]));
            let Some((position, field)) = expected.or_else(found) else { return };
            next = position + 1;
            if mem::replace(&mut seen[position], true) {
                twice = Some(field.name());
            }
            let as_text = self.as_text.contains(field.name());
            let lost = exact::lossy(value, field.data_type(), as_text);
            wrong = wrong.take().or_else(|| Some((field, lost?)));
        };
        members(line.trim_ascii_end(), member).map_err(|error| no_object(&self.label, number, &error.to_string()))?;
        if let Some(key) = twice {
            let label = &self.label;
            return Err(Failure::failed(format_args!(
                "{label}, line {number}: the key `{key}` occurs twice; correct the line"
            )));
        }
        let Some((field, lost)) = wrong else { return Ok(()) };
        Err(wrong_type(&self.label, number, field.name(), lost, field.data_type(), self.more))
    }

    /// Decodes a line on its own, to find which one is wrong.
    fn error_of(&self, schema: &SchemaRef, strict: bool, line: &[u8]) -> Option<ArrowError> {
        let mut decoder = self.decoder(schema, strict).ok()?;
        decoder.decode(line).err().or_else(|| decoder.flush().err())
    }

    /// Returns the error of the first line that has one: line, column, and what to do.
    fn explain(&self, lines: &[Range<usize>], bytes: &[u8], first: usize, error: &ArrowError) -> Failure {
        for (number, line) in lines.iter().enumerate() {
            let line = &bytes[line.clone()];
            let Some(error) = self.error_of(&self.schema, true, line) else { continue };
            return self.explain_line(first + number, line, &error);
        }
        no_json(&self.label, error)
    }

    fn explain_line(&self, number: usize, line: &[u8], error: &ArrowError) -> Failure {
        let alone = |field: &&FieldRef| {
            let schema = SchemaRef::new(Schema::new(vec![field.as_ref().clone()]));
            self.error_of(&schema, false, line).is_some()
        };
        let label = &self.label;
        let message = error.to_string();
        let text = message.split_once("rror: ").map_or(message.as_str(), |(_, text)| text);
        let Some(field) = self.schema.fields().iter().find(alone) else {
            return Failure::failed(format_args!(
                "{label}, line {number}: {text}; read more rows for the keys and types (--infer-rows 0)"
            ));
        };
        let (name, data_type) = (field.name(), field.data_type());
        let text = text.split_once("': ").map_or(text, |(_, text)| text);
        let more = if self.more { MORE } else { "" };
        Failure::failed(format_args!(
            "{label}, line {number}, column `{name}`: {text}, where other rows have {data_type}; read {more}the column \
             as text (--string {name})"
        ))
    }
}

struct Rows {
    reading: Reading,
    decoder: Decoder,
    text: Box<dyn BufRead>,
    /// The maximum number of rows of a batch.
    most: usize,
    /// The text of the rows in the decoder, kept to find the wrong line.
    bytes: Vec<u8>,
    lines: Vec<Range<usize>>,
    /// The number of the first of those lines.
    first: usize,
    failed: bool,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.batch();
        self.failed = batch.is_err();
        batch.transpose()
    }
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        self.first += self.lines.len();
        self.lines.clear();
        self.bytes.clear();
        let mut rows = 0;
        loop {
            let start = self.bytes.len();
            let read = self.text.read_until(b'\n', &mut self.bytes);
            let read = read.map_err(|e| Failure::failed(format_args!("could not read {}: {e}", self.reading.label)))?;
            if read == 0 {
                break;
            }
            self.lines.push(start..self.bytes.len());
            if !self.bytes[start..].trim_ascii().is_empty() {
                self.reading.check(&self.bytes[start..], self.first + self.lines.len() - 1)?;
                self.decoder.decode(&self.bytes[start..]).map_err(|error| self.wrong(&error))?;
                rows += 1;
            }
            let is_full = self.lines.len() >= self.most || self.bytes.len() >= BYTES;
            if is_full && rows > 0 {
                break;
            }
            if is_full {
                // Only empty lines: a batch without rows would be taken for the end.
                self.first += self.lines.len();
                self.lines.clear();
                self.bytes.clear();
            }
        }
        let batch = self.decoder.flush().map_err(|error| self.wrong(&error))?;
        batch.map(|batch| self.typed(&batch)).transpose()
    }

    /// Returns the batch with the types that the user named.
    fn typed(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.reading.typed.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            let texts = column.as_string::<i32>();
            text_types::column(texts, field.data_type(), Numbers { comma: false, rounded: true }).map_err(|row| {
                let rows = self.lines.iter().enumerate();
                let mut rows = rows.filter(|(_, line)| !self.bytes[(*line).clone()].trim_ascii().is_empty());
                let line = self.first + rows.nth(row).map_or(0, |(line, _)| line);
                not_of_type(&self.reading.label, line, field.name(), &brief(texts.value(row)), field.data_type())
            })
        });
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.reading.typed.clone(), columns, &options)
            .map_err(|error| no_json(&self.reading.label, &error))
    }

    fn wrong(&self, error: &ArrowError) -> Failure {
        self.reading.explain(&self.lines, &self.bytes, self.first, error)
    }
}
