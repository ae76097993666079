//! CSV: types inferred from the first rows, then read row by row.

mod lines;
mod quotes;
mod records;

use std::{io::BufRead, sync::Arc};

use coframe::arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringArray},
    csv::reader::Format as CsvFormat,
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
};
use regex::Regex;

use self::{
    lines::Changes,
    quotes::OPEN_QUOTE,
    records::{Records, TOO_LARGE},
};
use super::{
    Batches, MORE, ReadOptions, brief,
    input::{Input, Progress, damaged},
    options::TextOptions,
    text_types::{self, Numbers, Seen, not_of_type},
};
use crate::failure::{Failure, Result};

/// The number of rows that are inspected in one step.
const LOOK: usize = 256;

/// How one file is read.
struct Dialect<'o> {
    options: &'o TextOptions,
    delimiter: u8,
    format: CsvFormat,
}

impl<'o> Dialect<'o> {
    fn new(input: &Input, options: &'o ReadOptions) -> Result<Self> {
        let options = &options.text;
        let tabs = input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
        let delimiter = options.delimiter.unwrap_or(if tabs { b'\t' } else { b',' });
        let format = CsvFormat::default().with_header(!options.no_header).with_delimiter(delimiter);
        Ok(Self { options, delimiter, format: with_nulls(format, &options.null)? })
    }

    /// Returns the text with its first lines skipped and its lines changed as requested.
    fn lines<'a>(&self, mut text: Box<dyn BufRead + 'a>, one_column: bool) -> std::io::Result<Box<dyn BufRead + 'a>> {
        lines::skip(&mut text, self.options.skip_rows.unwrap_or(0))?;
        let (comment, trim) = (self.options.comment, self.options.trim);
        Ok(Changes { delimiter: self.delimiter, one_column, comment, trim }.apply(text))
    }

    fn records<'a>(
        &self,
        text: Box<dyn BufRead + 'a>,
        schema: &Schema,
        rows: usize,
    ) -> std::result::Result<Records<'a>, ArrowError> {
        let text = self.lines(text, schema.fields().len() == 1)?;
        Ok(Records::new(text, schema, &self.format, self.delimiter, rows, !self.options.no_header))
    }

    fn names(&self, text: Box<dyn BufRead + '_>) -> std::result::Result<Schema, ArrowError> {
        let (names, _) = self.format.infer_schema(self.lines(text, false)?, Some(0))?;
        if !self.options.trim {
            return Ok(names);
        }
        let trimmed = |field: &Arc<Field>| field.as_ref().clone().with_name(field.name().trim());
        Ok(Schema::new(names.fields().iter().map(trimmed).collect::<Vec<_>>()))
    }

    /// Returns the types that the values of each column have in the first rows.
    fn look(&self, text: Box<dyn BufRead + '_>, names: &Schema) -> std::result::Result<Vec<Seen>, ArrowError> {
        let limit = self.options.limit().unwrap_or(usize::MAX);
        let mut seen = vec![Seen::default(); names.fields().len()];
        let mut rows = 0;
        for batch in self.records(text, names, limit.min(LOOK))? {
            let batch = batch?;
            let batch = batch.slice(0, batch.num_rows().min(limit - rows));
            rows += batch.num_rows();
            for (column, seen) in batch.columns().iter().zip(&mut seen) {
                for value in texts(column, self.options).iter().flatten() {
                    seen.add(value, self.options.decimal_comma);
                }
            }
            if rows >= limit {
                break;
            }
        }
        Ok(seen)
    }

    /// Returns another character that seems to separate the fields of the first line.
    fn other_delimiter(&self, names: &Schema) -> Option<char> {
        let counts =
            [';', '\t', '|', ','].into_iter().filter(|other| *other != char::from(self.delimiter)).map(|other| {
                let found = names.fields().iter().map(|field| field.name().matches(other).count()).sum::<usize>();
                (found, other)
            });
        let most = counts.max_by_key(|(found, _)| *found);
        most.filter(|(found, _)| *found >= names.fields().len()).map(|(_, other)| other)
    }
}

fn with_nulls(format: CsvFormat, nulls: &[String]) -> Result<CsvFormat> {
    if nulls.is_empty() {
        return Ok(format);
    }
    let texts: Vec<String> = nulls.iter().map(|text| regex::escape(text)).collect();
    let regex = Regex::new(&format!("^(?:|{})$", texts.join("|"))).map_err(Failure::usage)?;
    Ok(format.with_null_regex(regex))
}

/// Returns the strings of a column, without white space around them if that was requested.
fn texts(column: &ArrayRef, options: &TextOptions) -> StringArray {
    let texts = column.as_string::<i32>();
    if !options.trim {
        return texts.clone();
    }
    let is_null = |text: &str| text.is_empty() || options.null.iter().any(|null| null == text);
    texts.iter().map(|text| text.map(str::trim).filter(|text| !is_null(text))).collect()
}

/// Returns the columns of a file. Adds to `notes` what the user should know once the file is published.
pub(in crate::source) fn schema(input: &mut Input, options: &ReadOptions, notes: &mut Vec<String>) -> Result<Schema> {
    let dialect = Dialect::new(input, options)?;
    // All rows of a pipe are inspected in a temporary file, not in memory.
    if options.text.limit().is_none() {
        input.file()?;
    }
    let label = input.label.clone();
    let names = input.look(|text| dialect.names(Box::new(text)))?.map_err(|error| explain(&label, &error, None))?;
    if names.fields().is_empty() {
        return Err(Failure::failed(format_args!("{label} is empty: it has no line that names columns")));
    }
    let other = dialect.other_delimiter(&names);
    let seen = input.look(|text| dialect.look(Box::new(text), &names))?;
    let seen = seen.map_err(|error| explain(&label, &error, other))?;
    if let (Some(other), [only]) = (other, &names.fields()[..]) {
        let next = "if that is not intended, publish it again with the delimiter";
        notes.push(format!("{label} has one column, `{}`; {next}: --delimiter '{}'", only.name(), shown(other)));
    }
    let typed = |(field, seen): (&Arc<Field>, Seen)| field.as_ref().clone().with_data_type(seen.data_type());
    Ok(Schema::new(names.fields().iter().zip(seen).map(typed).collect::<Vec<_>>()))
}

pub(in crate::source) fn batches<'a>(
    mut input: Input,
    schema: &SchemaRef,
    options: &ReadOptions,
    progress: &Progress,
) -> Result<Batches<'a>> {
    let label = input.label.clone();
    let dialect = Dialect::new(&input, options)?;
    let names = input.look(|text| dialect.names(Box::new(text)))?.map_err(|error| explain(&label, &error, None))?;
    let other = dialect.other_delimiter(&names);
    let records = dialect.records(input.text(progress)?, schema, usize::MAX);
    let records = records.map_err(|error| explain(&label, &error, other))?;
    let skipped = options.text.skip_rows.unwrap_or(0);
    let line = skipped + if options.text.no_header { 1 } else { 2 };
    Ok(Box::new(Rows { records, schema: schema.clone(), label, line, other, options: options.text.clone() }))
}

struct Rows {
    records: Records<'static>,
    schema: SchemaRef,
    label: String,
    /// Of the next row.
    line: usize,
    other: Option<char>,
    options: TextOptions,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.records.next()?.map_err(|error| explain(&self.label, &error, self.other));
        Some(batch.and_then(|batch| self.typed(&batch)))
    }
}

impl Rows {
    fn typed(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            let texts = texts(column, &self.options);
            let named = self.options.type_of(field.name()).is_some();
            let numbers = Numbers { comma: self.options.decimal_comma, rounded: named };
            text_types::column(&texts, field.data_type(), numbers)
                .map_err(|row| self.wrong(field, self.line + row, texts.value(row)))
        });
        let columns = columns.collect::<Result<_>>()?;
        self.line += batch.num_rows();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| explain(&self.label, &error, None))
    }

    fn wrong(&self, field: &Field, line: usize, value: &str) -> Failure {
        let (label, name, data_type) = (&self.label, field.name(), field.data_type());
        let value = brief(value);
        if self.options.type_of(name).is_some() {
            return not_of_type(label, line, name, &value, data_type);
        }
        let more = if self.options.limit().is_some() { MORE } else { "" };
        Failure::failed(format_args!(
            "{label}, line {line}, column `{name}`: `{value}` cannot be read as {data_type}, the type of the rows before; \
             read {more}the column as text (--string {name})"
        ))
    }
}

fn shown(delimiter: char) -> String {
    if delimiter == '\t' { "\\t".to_owned() } else { delimiter.to_string() }
}

/// Rewrites the reader's message for the user: the name of the file, the line, and what to do. `other` is a character
/// that seems to separate fields.
fn explain(label: &str, error: &ArrowError, other: Option<char>) -> Failure {
    let message = error.to_string();
    let text = message.split_once("rror: ").map_or(message.as_str(), |(_, text)| text);
    if let Some((_, line)) = text.split_once(OPEN_QUOTE) {
        return Failure::failed(format_args!(
            "{label}, line {line}: a quote opens here that is never closed; correct the line"
        ));
    }
    if let Some((_, line)) = text.split_once(TOO_LARGE) {
        return Failure::failed(format_args!(
            "{label}, near line {line}: one row has more than 2 GB of text; check its quotes"
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
        _ => return Failure::failed(format_args!("{label}{line} is not CSV: {text}; correct the line")),
    };
    let more = if text.contains("got more than") { "more than " } else { "" };
    let next = match other {
        Some(other) => format!("name the delimiter (--delimiter '{}'), or correct the line", shown(other)),
        None => "correct or remove the line, or name the delimiter (--delimiter)".to_owned(),
    };
    Failure::failed(format_args!("{label}{line}: expected {expected} fields, found {more}{found}; {next}"))
}

/// Returns the number after the last `line ` of a message.
fn line_of(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once("line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty())
}
