//! NDJSON: one object on each line; keys and types inferred from the first rows.

use std::{
    collections::HashMap,
    fmt,
    io::{BufRead, Read},
    ops::Range,
};

use coframe::arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    error::ArrowError,
    json::{
        ReaderBuilder,
        reader::{Decoder, infer_json_schema},
    },
};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{
    Batches, ReadOptions,
    input::{Input, Progress},
};
use crate::failure::{Failure, Result};

const ROWS: usize = 8192;
const BYTES: usize = 16 << 20;

pub(super) fn schema(input: &mut Input, options: &ReadOptions) -> Result<Schema> {
    let label = input.label.clone();
    let start = input.look(first_byte)?;
    if start == Some(b'[') {
        return Err(Failure::failed(format_args!(
            "{label} is one JSON array; NDJSON has an object on each line: convert it, for example with jq -c '.[]'"
        )));
    }
    if options.limit().is_none() {
        input.file()?;
    }
    let inferred = input.look(|text| infer_json_schema(text, options.limit()))?;
    let (schema, rows) = match inferred {
        Ok(found) => found,
        Err(error) => {
            let bad = input.look(first_bad_line)?;
            return Err(bad.map_or_else(|| no_json(&label, &error), |(line, error)| no_object(&label, line, &error)));
        }
    };
    if rows == 0 {
        return Err(Failure::failed(format_args!("{label} is empty: there is no object whose keys name columns")));
    }
    let order = input.look(|text| key_order(text, options.limit().unwrap_or(usize::MAX)))?;
    let place = |field: &Field| order.get(field.name()).copied().unwrap_or(usize::MAX);
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.sort_by_key(place);
    Ok(Schema::new(fields))
}

fn first_byte(text: &mut dyn BufRead) -> Option<u8> {
    text.bytes().map_while(std::io::Result::ok).find(|byte| !byte.is_ascii_whitespace())
}

fn no_json(label: &str, error: &ArrowError) -> Failure {
    let message = error.to_string();
    let text = message.split_once("rror: ").map_or(message.as_str(), |(_, text)| text);
    Failure::failed(format_args!("{label} is no NDJSON: {text}; it needs one object on each line, of like keys"))
}

/// Number and error of the first line that is no JSON object.
fn first_bad_line(text: &mut dyn BufRead) -> Option<(usize, String)> {
    for (number, line) in text.lines().enumerate() {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some((number + 1, error.to_string())),
        };
        if line.trim().is_empty() {
            continue;
        }
        if let Err(error) = serde_json::Deserializer::from_str(&line).deserialize_map(Keys(&mut HashMap::new())) {
            // The line is named already, and is always the first for the parser.
            let text = error.to_string();
            return Some((number + 1, text.replace(" at line 1 column ", ", column ")));
        }
    }
    None
}

fn no_object(label: &str, line: usize, error: &str) -> Failure {
    Failure::failed(format_args!("{label}, line {line}: no JSON object ({error}); mend or remove the line"))
}

/// When each key was first seen: the inference keeps no order.
fn key_order(text: &mut dyn BufRead, rows: usize) -> HashMap<String, usize> {
    let mut order = HashMap::new();
    for line in text.lines().map_while(std::io::Result::ok).take(rows) {
        // A line that is no object was refused by the inference, or is empty.
        let _ = serde_json::Deserializer::from_str(&line).deserialize_map(Keys(&mut order));
    }
    order
}

struct Keys<'a>(&'a mut HashMap<String, usize>);

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            let next = self.0.len();
            self.0.entry(key).or_insert(next);
        }
        Ok(())
    }
}

pub(super) fn batches<'a>(
    input: Input,
    schema: &SchemaRef,
    options: &ReadOptions,
    progress: &Progress,
) -> Result<Batches<'a>> {
    let label = input.label.clone();
    let reading = Reading { schema: schema.clone(), as_text: options.string.clone(), label };
    let decoder = reading.decoder(&reading.schema, true).map_err(|error| no_json(&reading.label, &error))?;
    let text = input.text(progress)?;
    Ok(Box::new(Rows { reading, decoder, text, lines: Vec::new(), bytes: Vec::new(), first: 1, failed: false }))
}

struct Reading {
    schema: SchemaRef,
    /// Columns whose numbers become text, since the user asked for it.
    as_text: Vec<String>,
    label: String,
}

impl Reading {
    /// `strict` refuses keys that the schema does not have: they would be left out silently.
    fn decoder(&self, schema: &SchemaRef, strict: bool) -> std::result::Result<Decoder, ArrowError> {
        let builder = ReaderBuilder::new(schema.clone()).with_batch_size(2 * ROWS);
        builder.with_coerce_primitive(!self.as_text.is_empty()).with_strict_mode(strict).build_decoder()
    }

    /// Refuses numbers that the decoder would cut or round, and texts that it would take for numbers. What is no JSON
    /// object on one line is left to the decoder.
    fn check(&self, line: &[u8], number: usize) -> Result {
        let Ok(Value::Object(row)) = serde_json::from_slice::<Value>(line) else { return Ok(()) };
        for field in self.schema.fields() {
            let as_text = self.as_text.contains(field.name());
            let lost = row.get(field.name()).and_then(|value| lossy(value, field.data_type(), as_text));
            let Some(wrong) = lost else { continue };
            let (label, name, data_type) = (&self.label, field.name(), field.data_type());
            return Err(Failure::failed(format_args!(
                "{label}, line {number}, column `{name}`: failed to parse {wrong} as {data_type} without a loss, where \
                 other rows have {data_type}; read more rows for the types (--infer-rows 0), or the column as text \
                 (--string {name})"
            )));
        }
        Ok(())
    }

    /// Decodes lines on their own, to find which one is wrong.
    fn error_of(&self, schema: &SchemaRef, strict: bool, line: &[u8]) -> Option<ArrowError> {
        let mut decoder = self.decoder(schema, strict).ok()?;
        decoder.decode(line).err().or_else(|| decoder.flush().err())
    }

    /// The error of the first line that has one: line, column, and what to do.
    fn explain(&self, lines: &[Range<usize>], bytes: &[u8], first: usize, error: &ArrowError) -> Failure {
        for (number, line) in lines.iter().enumerate() {
            let line = &bytes[line.clone()];
            let Some(error) = self.error_of(&self.schema, true, line) else { continue };
            return self.explain_line(first + number, line, &error);
        }
        no_json(&self.label, error)
    }

    fn explain_line(&self, number: usize, line: &[u8], error: &ArrowError) -> Failure {
        let alone = |field: &&coframe::arrow::datatypes::FieldRef| {
            let schema = SchemaRef::new(Schema::new(vec![field.as_ref().clone()]));
            self.error_of(&schema, false, line).is_some()
        };
        let label = &self.label;
        let is_json = serde_json::from_slice::<IgnoredAny>(line).is_ok();
        let message = error.to_string();
        let text = message.split_once("rror: ").map_or(message.as_str(), |(_, text)| text);
        if !is_json {
            return no_object(label, number, text);
        }
        let Some(field) = self.schema.fields().iter().find(alone) else {
            return Failure::failed(format_args!(
                "{label}, line {number}: {text}; read more rows for the keys and types (--infer-rows 0)"
            ));
        };
        let (name, data_type) = (field.name(), field.data_type());
        let text = text.split_once("': ").map_or(text, |(_, text)| text);
        // Where texts were seen among the first rows, more rows do not help.
        let more = if *data_type == DataType::Utf8 { "" } else { "more rows for the types (--infer-rows 0), or " };
        Failure::failed(format_args!(
            "{label}, line {number}, column `{name}`: {text}, where other rows have {data_type}; read {more}the column \
             as text (--string {name})"
        ))
    }
}

/// A value, or one inside of it, that is not what the type holds. `as_text`: any value may become text.
fn lossy<'a>(value: &'a Value, data_type: &DataType, as_text: bool) -> Option<&'a Value> {
    let fits = match (data_type, value) {
        (DataType::List(item), Value::Array(values)) => {
            return values.iter().find_map(|value| lossy(value, item.data_type(), as_text));
        }
        (DataType::Struct(fields), Value::Object(values)) => {
            let field = |field: &'_ FieldRef| lossy(values.get(field.name())?, field.data_type(), as_text);
            return fields.iter().find_map(field);
        }
        (DataType::Int64, Value::Number(number)) => number.is_i64(),
        (DataType::Float64, Value::Number(number)) => number.is_f64() || is_exact(number),
        (DataType::Int64 | DataType::Float64, Value::String(_)) => false,
        (DataType::Utf8, Value::Number(_) | Value::Bool(_)) => as_text,
        _ => true,
    };
    (!fits).then_some(value)
}

/// Whether a float holds the integer.
fn is_exact(number: &serde_json::Number) -> bool {
    let integer = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    integer.zip(number.as_f64()).is_some_and(|(integer, float)| float as i128 == integer)
}

struct Rows {
    reading: Reading,
    decoder: Decoder,
    text: Box<dyn BufRead>,
    /// The text of the rows in the decoder, kept to say which line is wrong.
    bytes: Vec<u8>,
    lines: Vec<Range<usize>>,
    /// Number of the first of those lines.
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
        loop {
            let start = self.bytes.len();
            let read = self.text.read_until(b'\n', &mut self.bytes);
            let read = read.map_err(|e| Failure::failed(format_args!("could not read {}: {e}", self.reading.label)))?;
            if read == 0 {
                break;
            }
            self.lines.push(start..self.bytes.len());
            self.reading.check(&self.bytes[start..], self.first + self.lines.len() - 1)?;
            self.decoder.decode(&self.bytes[start..]).map_err(|error| self.wrong(&error))?;
            let full = self.lines.len() >= ROWS || self.bytes.len() >= BYTES;
            if full && !self.decoder.has_partial_record() {
                break;
            }
        }
        self.decoder.flush().map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &ArrowError) -> Failure {
        self.reading.explain(&self.lines, &self.bytes, self.first, error)
    }
}
