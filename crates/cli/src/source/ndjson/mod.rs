//! NDJSON: one object on each line. Threads decode lines while others are read and published.

mod before;
mod chunks;
mod cursor;
mod decode;
mod error;
mod infer;
mod members;
mod misfit;
mod reading;
#[cfg(test)]
mod tests;
mod threads;

use std::{
    io::{BufRead, Read},
    sync::Arc,
};

use coframe::arrow::{
    array::RecordBatch,
    datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef},
};

use self::{
    before::Before,
    chunks::Chunks,
    infer::infer,
    reading::{Reading, Wrong},
    threads::Threads,
};
use super::{
    Batches, ReadOptions,
    input::{Input, Progress},
    options::TextOptions,
};
use crate::failure::{Failure, Result};

const ROWS: usize = 1 << 15;
/// The bytes that a value takes in memory at least, even if its key is missing.
const VALUE: usize = 16;
/// The bytes that the values of a batch take in memory at most, if their keys are missing.
const MISSING: usize = 16 << 20;

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

/// Returns the text without white space at its end.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    &text[..end]
}

pub(in crate::source) fn batches<'a>(
    input: Input,
    schema: &SchemaRef,
    options: &ReadOptions,
    progress: &Progress,
) -> Result<Batches<'a>> {
    let decoded = texts(schema, &options.text);
    let most = (MISSING / (VALUE * leaves(decoded.fields())).max(1)).clamp(16, ROWS);
    let label = input.label.clone();
    let chunks = Chunks::new(input.text(progress)?, most, label.clone());
    let reading = Arc::new(Reading {
        schema: decoded,
        typed: schema.clone(),
        as_text: options.text.read_as_text(),
        more: options.text.limit().is_some(),
        label,
    });
    let before = Before::new(schema.fields().len());
    Ok(Box::new(Rows { threads: Threads::new(&reading, chunks), reading, before, has_failed: false }))
}

/// Counts the columns that hold values, including nested ones.
fn leaves(fields: &Fields) -> usize {
    fields.iter().map(leaves_of).sum()
}

fn leaves_of(field: &FieldRef) -> usize {
    match field.data_type() {
        DataType::Struct(fields) => leaves(fields),
        DataType::List(item) => leaves_of(item).max(1),
        _ => 1,
    }
}

/// Returns the schema in which columns are text if their values are strings that the user, or a CSV file of the same
/// frame, gave another type.
fn texts(schema: &SchemaRef, options: &TextOptions) -> SchemaRef {
    let field = |field: &FieldRef| match (options.type_of(field.name()), field.data_type()) {
        (Some(_), _) | (None, DataType::Date32 | DataType::Timestamp(..)) => {
            field.as_ref().clone().with_data_type(DataType::Utf8)
        }
        (None, _) => field.as_ref().clone(),
    };
    SchemaRef::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

struct Rows {
    reading: Arc<Reading>,
    threads: Threads,
    before: Before,
    has_failed: bool,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let batch = self.batch();
        self.has_failed = batch.is_err();
        batch.transpose()
    }
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some((chunk, decoded)) = self.threads.next()? else { return Ok(None) };
        let batch = decoded.map_err(|wrong| match wrong {
            Wrong::At(byte) => self.reading.explain(&chunk, byte, &mut self.before),
            Wrong::Failed(failure) => failure,
        })?;
        self.before.add(&batch);
        self.threads.reuse(chunk);
        Ok(Some(batch))
    }
}
