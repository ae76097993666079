//! Decodes a chunk of lines, and explains why it cannot be decoded.

use std::str::from_utf8;

use coframe::arrow::{
    array::{Array, AsArray, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

use super::{
    before::Before,
    chunks::Chunk,
    decode::{Decoder, Refused},
    error::{self, no_object},
    misfit, trimmed,
};
use crate::{
    failure::{Failure, Result},
    source::{
        brief,
        text_types::{self, Numbers, not_of_type},
    },
};

/// How the lines of a file become rows.
pub(super) struct Reading {
    /// The schema that is decoded.
    pub(super) schema: SchemaRef,
    /// The schema of the result: columns that got their type from elsewhere are not text any more.
    pub(super) typed: SchemaRef,
    /// The columns whose numbers become text because the user asked for it.
    pub(super) as_text: Vec<String>,
    /// Whether some rows were not inspected for the types.
    pub(super) more: bool,
    pub(super) label: String,
}

pub(super) enum Wrong {
    /// The line that contains this byte is wrong.
    At(usize),
    Failed(Failure),
}

impl Reading {
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(&self.schema, &self.as_text)
    }

    /// Decodes a chunk. After an error the decoder must not be used again.
    pub(super) fn decode(&self, decoder: &mut Decoder, chunk: &Chunk) -> std::result::Result<RecordBatch, Wrong> {
        let (text, is_whole) = match from_utf8(&chunk.bytes) {
            Ok(text) => (text, true),
            Err(error) => (from_utf8(&chunk.bytes[..error.valid_up_to()]).unwrap_or_default(), false),
        };
        let batch = decoder.decode(text).map_err(|refused| match refused {
            Refused::At(byte) => Wrong::At(byte),
            Refused::Columns(error) => Wrong::Failed(self.failed(chunk, &error)),
        })?;
        if !is_whole {
            return Err(Wrong::At(text.len()));
        }
        self.typed(&batch, chunk).map_err(Wrong::Failed)
    }

    /// Returns the batch with the types that columns got from elsewhere.
    fn typed(&self, batch: &RecordBatch, chunk: &Chunk) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.typed.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            let texts = column.as_string::<i32>();
            let numbers = Numbers { comma: false, rounded: true };
            text_types::column(texts, field.data_type(), numbers).map_err(|row| {
                let line = chunk.line_of(row);
                not_of_type(&self.label, line, field.name(), &brief(texts.value(row)), field.data_type())
            })
        });
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.typed.clone(), columns, &options)
            .map_err(|error| self.failed(chunk, &error))
    }

    /// Returns the error of the line that contains a byte, or of one before it. `before`: the rows before the chunk.
    pub(super) fn explain(&self, chunk: &Chunk, byte: usize, before: &mut Before) -> Failure {
        let (number, line) = chunk.line_at(byte);
        let earlier = Chunk { bytes: chunk.bytes[..line.start].to_vec(), line: chunk.line };
        match self.decode(&mut self.decoder(), &earlier) {
            Ok(rows) => before.add(&rows),
            Err(Wrong::Failed(failure)) => return failure,
            Err(Wrong::At(_)) => {}
        }
        let fields = self.schema.fields();
        match misfit::of_line(trimmed(&chunk.bytes[line]), fields, &self.as_text) {
            Err(error) => no_object(&self.label, number, &error.to_string()),
            Ok(Some(misfit)) => {
                let column = fields.find(&misfit.column).map_or(0, |(position, _)| position);
                let is_open = !self.as_text.contains(&misfit.column);
                let more = self.more && is_open && before.may_be_widened(column, &misfit);
                error::misfit(&self.label, number, &misfit, more)
            }
            Ok(None) => self.failed(chunk, &"a value is longer than 2 GB"),
        }
    }

    fn failed(&self, chunk: &Chunk, error: &dyn std::fmt::Display) -> Failure {
        let (label, line) = (&self.label, chunk.line);
        Failure::failed(format_args!("{label}, from line {line}: could not read the lines: {error}; correct them"))
    }
}
