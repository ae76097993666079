//! Files as record batches: several of them, of one schema, a batch at a time.

mod csv;
mod exact;
mod format;
mod gzip;
mod input;
mod int96;
mod ipc;
mod leaves;
mod metadata;
mod ndjson;
mod options;
mod parquet;
mod schema;
mod text_types;
mod zones;

use std::path::PathBuf;

use coframe::arrow::{array::RecordBatch, datatypes::SchemaRef};

pub(crate) use format::Format;
pub(crate) use input::Progress;
pub(crate) use options::{ReadOptions, delimiter};
pub(crate) use schema::no_column;

use crate::failure::{Failure, Result};
use input::Input;

/// What may help if a value does not have the type of the inspected rows.
const MORE: &str = "more rows for the types (--infer-rows 0), or ";

/// Returns the first 80 characters of a value, for errors.
fn brief(value: &str) -> String {
    let end = value.char_indices().nth(80).map_or(value.len(), |(end, _)| end);
    if end < value.len() { format!("{}...", &value[..end]) } else { value.to_owned() }
}

/// Batches of one file.
type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;

/// Files that form one table, opened and of one schema.
pub(crate) struct Source {
    parts: Vec<(Input, Format)>,
    /// The schema of the chosen columns.
    pub(crate) schema: SchemaRef,
    /// The schema of all columns of the files.
    all: SchemaRef,
    chosen: Vec<usize>,
    options: ReadOptions,
    /// What the user should know once the files are published.
    pub(crate) notes: Vec<String>,
}

impl Source {
    /// Inspects every file: its format, and its columns.
    pub(crate) fn open(files: &[String], options: ReadOptions) -> Result<Self> {
        let mut parts = Vec::new();
        let mut schemas = schema::Merge::new();
        let mut notes = Vec::new();
        for path in expand(files)? {
            let mut input = Input::open(&path)?;
            let format = format::detect(&mut input, options.format)?;
            let schema = match format {
                Format::Parquet => parquet::schema(&mut input)?,
                Format::Arrow => ipc::schema(&mut input)?,
                Format::Csv => csv::schema(&mut input, &options, &mut notes)?,
                Format::Ndjson => ndjson::schema(&mut input, &options)?,
            };
            schemas.add(&input.label, schema, format)?;
            input.close()?;
            parts.push((input, format));
        }
        options.check(&parts.iter().map(|(_, format)| *format).collect::<Vec<_>>())?;
        let all = schemas.finish(&options.text, &mut notes)?;
        let chosen = choose(&all, &options)?;
        let schema = all.project(&chosen).map_err(Failure::failed)?.into();
        Ok(Self { parts, schema, all, chosen, options, notes })
    }

    /// Returns whether every file is Arrow IPC, whose layout its writer chose.
    pub(crate) fn is_arrow(&self) -> bool {
        self.parts.iter().all(|(_, format)| *format == Format::Arrow)
    }

    /// Returns the bytes of all files; `None` if one is a pipe.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.parts.iter().map(|(input, _)| input.len()).sum()
    }

    /// Returns a name for the frame, if one file has one.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.parts[..] {
            [(input, _)] => input.stem(),
            _ => None,
        }
    }

    /// Reads everything, file after file. The first error ends the iterator.
    pub(crate) fn batches(self, progress: &Progress) -> impl Iterator<Item = Result<RecordBatch>> {
        let Self { parts, all, chosen, options, .. } = self;
        parts.into_iter().flat_map(move |(input, format)| {
            let opened = match format {
                Format::Parquet => parquet::batches(input, &all, progress),
                Format::Arrow => ipc::batches(input, progress),
                Format::Csv => csv::batches(input, &all, &options, progress),
                Format::Ndjson => ndjson::batches(input, &all, &options, progress),
            };
            let (all, chosen) = (all.clone(), chosen.clone());
            let batches = opened.unwrap_or_else(|failure| Box::new(std::iter::once(Err(failure))));
            batches.map(move |batch| schema::conform(&batch?, &all)?.project(&chosen).map_err(Failure::failed))
        })
    }
}

/// Returns the positions of the columns that the user chose.
fn choose(all: &SchemaRef, options: &ReadOptions) -> Result<Vec<usize>> {
    let position = |option: &str, name: &String| {
        let fields = || all.fields().iter().map(AsRef::as_ref);
        all.index_of(name).map_err(|_| no_column(option, name, fields()))
    };
    if !options.columns.is_empty() {
        return options.columns.iter().map(|name| position("--columns", name)).collect();
    }
    let left_out = options.exclude.iter().map(|name| position("--exclude", name)).collect::<Result<Vec<_>>>()?;
    let chosen: Vec<usize> = (0..all.fields().len()).filter(|column| !left_out.contains(column)).collect();
    if chosen.is_empty() && !left_out.is_empty() {
        return Err(Failure::usage("--exclude leaves no column; leave fewer out"));
    }
    Ok(chosen)
}

/// Returns the paths, with patterns replaced by their matches, in order.
fn expand(files: &[String]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    // Hidden files are often incomplete files that are being written.
    let as_a_shell_does = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    for file in files {
        if !crate::names::is_pattern(file) || PathBuf::from(file).exists() {
            paths.push(PathBuf::from(file));
            continue;
        }
        let matches = glob::glob_with(file, as_a_shell_does)
            .map_err(|error| Failure::usage(format_args!("`{file}`: {error}")))?;
        let before = paths.len();
        for path in matches {
            paths.push(path.map_err(|error| Failure::failed(format_args!("could not read `{file}`: {error}")))?);
        }
        if paths.len() == before {
            return Err(Failure::failed(format_args!("no file matches `{file}`; check the pattern and the directory")));
        }
    }
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Failure::usage("standard input (`-`) can be read only once"));
    }
    Ok(paths)
}
