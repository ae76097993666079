//! Records of CSV as strings, in batches that are bounded in rows and in bytes.

use std::io::BufRead;

use coframe::arrow::{
    array::{Array, RecordBatch, RecordBatchOptions},
    csv::{
        ReaderBuilder,
        reader::{Decoder, Format},
    },
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    error::ArrowError,
};

use super::quotes::Quotes;

/// The maximum number of rows of a batch.
const ROWS: usize = 8192;
/// The bytes of text after which a batch ends, at the end of the record.
const BYTES: usize = 16 << 20;
/// The bytes that the reader needs for any field.
const FIELD: usize = 16;
/// Arrow counts the bytes of a text column in 31 bits.
const LARGEST: usize = i32::MAX as usize;

/// The start of the error about a record that is too large; its line number follows.
pub(in crate::source) const TOO_LARGE: &str = "more than 2 GB in one record, line ";

pub(in crate::source) struct Records<'a> {
    text: Quotes<Box<dyn BufRead + 'a>>,
    decoder: Decoder,
    /// The bytes since the last batch.
    bytes: usize,
    /// The line of the next batch, counted in records.
    line: usize,
}

impl<'a> Records<'a> {
    /// Reads records with the columns of a schema, all as text. `rows` also bounds a batch.
    pub(in crate::source) fn new(
        text: Box<dyn BufRead + 'a>,
        schema: &Schema,
        format: &Format,
        delimiter: u8,
        rows: usize,
        has_header: bool,
    ) -> Self {
        let fitting = BYTES / (FIELD * schema.fields().len().max(1));
        let builder = ReaderBuilder::new(all_text(schema)).with_format(format.clone());
        let decoder = builder.with_batch_size(fitting.clamp(16, ROWS).min(rows.max(1))).build_decoder();
        Self { text: Quotes::new(text, delimiter), decoder, bytes: 0, line: if has_header { 2 } else { 1 } }
    }

    fn read(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        self.bytes = 0;
        loop {
            let is_full = self.bytes >= BYTES;
            if is_full && self.text.is_record_start() || self.decoder.capacity() == 0 {
                if let Some(batch) = self.decoder.flush()? {
                    return Ok(Some(batch));
                }
                // Lines without a record.
                self.bytes = 0;
            }
            let bytes = self.text.fill_buf()?;
            if bytes.is_empty() {
                self.decoder.decode(bytes)?;
                return self.decoder.flush();
            }
            let len = bytes.len();
            // The buffer belongs to the reader, which must not be borrowed twice.
            let bytes = bytes.to_vec();
            let part = if is_full { self.text.to_record_end(&bytes) } else { &bytes[..len] };
            let read = self.decoder.decode(part)?;
            self.text.consume(read);
            self.bytes += read;
            if self.bytes > LARGEST {
                return Err(ArrowError::CsvError(format!("{TOO_LARGE}{}", self.line)));
            }
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.read().transpose()?;
        Some(batch.and_then(|batch| {
            self.line += batch.num_rows();
            without_spare_room(batch)
        }))
    }
}

/// Returns the batch in buffers that are as large as its values; those of the reader are up to twice as large.
fn without_spare_room(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (schema, mut columns, rows) = batch.into_parts();
    for column in &mut columns {
        column.shrink_to_fit();
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

/// Returns the schema with every column as text, in which all are read first.
fn all_text(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| field.as_ref().clone().with_data_type(DataType::Utf8);
    SchemaRef::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use coframe::arrow::datatypes::Field;

    use super::*;

    fn rows(text: &str, rows: usize) -> Vec<usize> {
        let schema = Schema::new(vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Utf8, true)]);
        let text = Box::new(std::io::BufReader::with_capacity(1000, text.as_bytes()));
        let format = Format::default().with_header(true);
        let records = Records::new(text, &schema, &format, b',', rows, true);
        records.map(|batch| batch.unwrap().num_rows()).collect()
    }

    #[test]
    fn a_batch_ends_at_its_rows_or_with_the_record_that_fills_its_bytes() {
        let small = "1,2\r\n".repeat(100);
        assert_eq!(rows(&format!("a,b\r\n{small}"), 64), [64, 36]);
        let large = format!("\"{}\n\",x\r\n", "y".repeat(1 << 20)).repeat(40);
        let found = rows(&format!("a,b\r\n{small}{large}{small}"), 1000);
        assert_eq!(found.iter().sum::<usize>(), 240);
        // 16 rows fill a batch, and the one that started in the same piece of the text is completed.
        assert!(matches!(found[..], [116..=117, 16..=17, _]), "{found:?}");
    }
}
