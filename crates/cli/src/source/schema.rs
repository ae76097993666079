//! One schema for several files.

use std::sync::Arc;

use coframe::arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use super::{Format, int96, metadata::Common, options::TextOptions};
use crate::failure::{Failure, Result};

/// The number of columns that an error lists.
const LISTED: usize = 30;

/// Schemas of files, while they are compared.
pub(super) struct Merge {
    /// The label of the first file, and the fields so far.
    fields: Option<(String, Vec<Field>)>,
    inferred: bool,
    /// Whether all files so far are CSV, whose values can be text together, whatever their types are.
    is_csv: bool,
    /// The label of a file that records its types.
    typed: Option<String>,
    metadata: Common,
}

impl Merge {
    pub(super) fn new() -> Self {
        Self { fields: None, inferred: false, is_csv: true, typed: None, metadata: Common::default() }
    }

    /// Adds a file. Types inferred from text are widened to hold both; other types must be equal.
    pub(super) fn add(&mut self, label: &str, schema: Schema, format: Format) -> Result {
        self.metadata.add(schema.metadata());
        let inferred = format.is_text();
        self.inferred |= inferred;
        self.is_csv &= format == Format::Csv;
        if !inferred {
            self.typed.get_or_insert_with(|| label.to_owned());
        }
        let may_widen = self.typed.is_none();
        let fields = schema.fields().iter().map(|field| plain(field));
        let Some((first, known)) = &mut self.fields else {
            self.fields = Some((label.to_owned(), fields.collect()));
            return Ok(());
        };
        let names = |fields: &[Field]| fields.iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let found: Vec<Field> = fields.collect();
        if let Some((expected, found)) = known.iter().zip(&found).find(|(a, b)| a.name() != b.name()) {
            return Err(Failure::failed(format_args!(
                "{label} has a column `{}` where {first} has `{}`; {}",
                found.name(),
                expected.name(),
                one_each(first, label)
            )));
        }
        if known.len() != found.len() {
            let (longer, shorter) = if known.len() > found.len() { (&*known, &found) } else { (&found, &*known) };
            let extra = names(&longer[shorter.len()..]).join("`, `");
            let (with, without) =
                if known.len() > found.len() { (first.as_str(), label) } else { (label, first.as_str()) };
            return Err(Failure::failed(format_args!(
                "{with} has the column `{extra}`, which {without} lacks; {}",
                one_each(first, label)
            )));
        }
        for (known, found) in known.iter_mut().zip(found) {
            let nullable = known.is_nullable() || found.is_nullable();
            let wide = if may_widen { widened(known.data_type(), found.data_type()) } else { None };
            let any_text = may_widen && self.is_csv;
            match wide {
                Some(wide) => known.set_data_type(wide),
                None if known.data_type() == found.data_type() => {}
                None if any_text => known.set_data_type(DataType::Utf8),
                None => {
                    return Err(Failure::failed(format_args!(
                        "column `{}` is {} in {label} and {} in {first}; make them the same, or publish two frames",
                        found.name(),
                        found.data_type(),
                        known.data_type()
                    )));
                }
            }
            if meaning(known) != meaning(&found) {
                return Err(Failure::failed(format_args!(
                    "column `{}` has other categories, or another extension type, in {label} than in {first}; make them \
                     the same, or publish two frames",
                    found.name()
                )));
            }
            *known = int96::merge(known, &found);
            known.set_nullable(nullable);
        }
        Ok(())
    }

    /// Returns the common schema, with some columns as text. Adds a note for metadata in which the files differ.
    pub(super) fn finish(self, options: &TextOptions, notes: &mut Vec<String>) -> Result<SchemaRef> {
        if let (Some(typed), Some((option, column))) = (&self.typed, options.named().next()) {
            let next = "it is for CSV and NDJSON alone; cast the column with `coframe sql` once it is published";
            return Err(Failure::usage(format_args!("{option} `{column}`: {typed} records its types itself; {next}")));
        }
        let (first, mut fields) = self.fields.unwrap_or_default();
        for (option, name) in options.named() {
            let position = fields.iter().position(|field| field.name() == name);
            let position = position.ok_or_else(|| no_column(option, name, fields.iter()))?;
            if let Some(data_type) = options.type_of(name) {
                fields[position].set_data_type(data_type);
            }
        }
        for field in &mut fields {
            *field = int96::settle(field).ok_or_else(|| {
                Failure::failed(format_args!(
                    "column `{}` has INT96 timestamps with nanoseconds and others outside of the years 1677 to 2262, or \
                     other timestamps, which no one unit holds; write the column in one unit",
                    field.name()
                ))
            })?;
        }
        let twice =
            fields.iter().enumerate().find(|(at, field)| fields[..*at].iter().any(|f| f.name() == field.name()));
        if let Some((_, field)) = twice {
            let name = field.name();
            let place = if self.inferred { " in the first line" } else { "" };
            return Err(Failure::failed(format_args!("{first} has two columns named `{name}`; rename one{place}")));
        }
        // A text column in which no value was inspected is text.
        for field in fields.iter_mut().filter(|field| self.inferred && field.data_type().is_null()) {
            field.set_data_type(DataType::Utf8);
        }
        let (metadata, note) = self.metadata.finish();
        notes.extend(note);
        Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
    }
}

/// Returns the error of an option that names a column which the files do not have.
pub(crate) fn no_column<'a>(option: &str, name: &str, fields: impl Iterator<Item = &'a Field>) -> Failure {
    let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
    let more = names.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = names[..names.len().min(LISTED)].join("`, `");
    Failure::usage(format_args!("{option} `{name}`: column not found; the files have `{names}`{more}"))
}

/// Returns what to do with files of different columns.
fn one_each(first: &str, other: &str) -> String {
    let command = |label: &str| format!("coframe publish {}", label.trim_matches('`'));
    format!(
        "files of one frame have the same columns in the same order: publish one frame for each, with `{}` and `{}`",
        command(first),
        command(other)
    )
}

/// Returns a field without the metadata that belongs to its file.
fn plain(field: &Field) -> Field {
    let metadata = field.metadata().iter().filter(|(key, _)| !key.starts_with("PARQUET:"));
    let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
    field.clone().with_metadata(metadata)
}

/// Returns how the metadata of a field interprets its values: the same bytes under another entry are other values.
fn meaning(field: &Field) -> [Option<&String>; 4] {
    let marks = ["_PL_ENUM_VALUES2", "_PL_CATEGORICAL2", "ARROW:extension:name", "ARROW:extension:metadata"];
    marks.map(|mark| field.metadata().get(mark))
}

/// Returns a type that holds values of both exactly; values that do not fit are found when they are read.
fn widened(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as D;
    match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (D::Null, other) | (other, D::Null) => Some(other.clone()),
        (D::Int64 | D::UInt64, D::Float64) | (D::Float64, D::Int64 | D::UInt64) => Some(D::Float64),
        (D::Int64, D::UInt64) | (D::UInt64, D::Int64) => Some(D::UInt64),
        (D::Date32, D::Timestamp(unit, None)) | (D::Timestamp(unit, None), D::Date32) => {
            Some(D::Timestamp(*unit, None))
        }
        (D::Timestamp(_, None), D::Timestamp(_, None)) => Some(D::Timestamp(TimeUnit::Nanosecond, None)),
        (D::List(a), D::List(b)) => {
            let item = widened(a.data_type(), b.data_type())?;
            Some(D::List(Field::new_list_field(item, true).into()))
        }
        (D::Struct(a), D::Struct(b)) => {
            let mut fields: Vec<Field> = a.iter().map(|field| field.as_ref().clone()).collect();
            for new in b {
                match fields.iter_mut().find(|known| known.name() == new.name()) {
                    Some(known) => known.set_data_type(widened(known.data_type(), new.data_type())?),
                    None => fields.push(new.as_ref().clone()),
                }
            }
            Some(D::Struct(fields.into()))
        }
        _ => None,
    }
}

/// Returns the batch under the common schema: types are the same, names of nested items and metadata may differ.
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
        .map_err(|error| Failure::failed(format_args!("a batch does not fit its file's schema: {error}")))
}
