//! CSV: types inferred from the first rows, then read row by row.

use coframe::arrow::{
    csv::{
        ReaderBuilder,
        reader::{BufReader as CsvReader, Format as CsvFormat},
    },
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
};
use regex::Regex;

use super::{
    Batches, ReadOptions,
    input::{Input, Progress},
};
use crate::failure::{Failure, Result};

const ROWS: usize = 8192;

pub(super) fn schema(input: &mut Input, options: &ReadOptions) -> Result<Schema> {
    let format = format(input, options)?;
    let look = |text: &mut dyn std::io::BufRead| {
        let schema = format.infer_schema(text, options.limit());
        schema.map(|(schema, _)| schema)
    };
    // All rows of a pipe are looked at in a temporary file, not in memory.
    if options.limit().is_none() {
        input.file()?;
    }
    let label = input.label.clone();
    let schema = input.look(|text| look(text))?.map_err(|error| explain(&label, None, &error))?;
    if schema.fields().is_empty() {
        return Err(Failure::failed(format_args!("{label} is empty: there is no line that names columns")));
    }
    Ok(schema)
}

fn format(input: &Input, options: &ReadOptions) -> Result<CsvFormat> {
    let tabs = input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
    let delimiter = options.delimiter.unwrap_or(if tabs { b'\t' } else { b',' });
    let format = CsvFormat::default().with_header(!options.no_header).with_delimiter(delimiter);
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
    let format = format(&input, options)?;
    let reader = ReaderBuilder::new(schema.clone()).with_format(format).with_batch_size(ROWS);
    let reader = reader.build_buffered(input.text(progress)?).map_err(|error| explain(&label, None, &error))?;
    Ok(Box::new(Rows { reader, schema: schema.clone(), label }))
}

struct Rows {
    reader: CsvReader<Box<dyn std::io::BufRead>>,
    schema: SchemaRef,
    label: String,
}

impl Iterator for Rows {
    type Item = Result<coframe::arrow::array::RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| explain(&self.label, Some(&self.schema), &error)))
    }
}

/// Puts the reader's message in the terms of the file: its name, the line, the column's name, what to do.
fn explain(label: &str, schema: Option<&SchemaRef>, error: &ArrowError) -> Failure {
    let message = error.to_string();
    let text = message.split_once("rror: ").map_or(message.as_str(), |(_, text)| text);
    if let Some(wrong) = Wrong::parse(text) {
        let name = schema.and_then(|schema| schema.fields().get(wrong.column)).map_or("?", |field| field.name());
        return Failure::failed(format_args!(
            "{label}, line {}, column `{name}`: `{}` is no {}, which the rows before it were; read more rows for the \
             types (--infer-rows 0), or the column as text (--string {name})",
            wrong.line, wrong.value, wrong.data_type
        ));
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

/// A value that does not fit its column.
struct Wrong<'a> {
    value: &'a str,
    data_type: &'a str,
    column: usize,
    line: usize,
}

impl<'a> Wrong<'a> {
    /// Reads `Error while parsing value 'x' as type 'Int64' for column 3 at line 7. Row data: ...`.
    fn parse(text: &'a str) -> Option<Self> {
        let (value, rest) = text.split_once("parsing value '")?.1.split_once("' as type '")?;
        let (data_type, rest) = rest.split_once("' for column ")?;
        let (column, rest) = rest.split_once(" at line ")?;
        // The reader counts from zero.
        let line = rest.split_once('.')?.0.parse::<usize>().ok()? + 1;
        Some(Self { value, data_type, column: column.parse().ok()?, line })
    }
}
