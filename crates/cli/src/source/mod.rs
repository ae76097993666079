//! Files as record batches: several of them, of one schema, a batch at a time.

mod categorical;
mod csv;
mod exact;
mod format;
mod infer;
mod input;
mod ipc;
mod json;
mod parquet;
mod quotes;
mod schema;
mod text;

use std::path::PathBuf;

use coframe::arrow::{array::RecordBatch, datatypes::SchemaRef};

pub(crate) use categorical::{Categorical, Categories, LOOK};
pub(crate) use format::Format;
pub(crate) use input::Progress;

use crate::failure::{Failure, Result};
use input::Input;

/// What may help where a value does not have the type of the rows that were looked at.
const MORE: &str = "more rows for the types (--infer-rows 0), or ";

/// A value as it stands in an error: its first 80 characters.
fn brief(value: &str) -> String {
    let end = value.char_indices().nth(80).map_or(value.len(), |(end, _)| end);
    if end < value.len() { format!("{}...", &value[..end]) } else { value.to_owned() }
}

/// Batches of one file.
type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;

/// How text becomes columns, and how a file is read at all.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReadOptions {
    /// Format of the files; otherwise their content or extension tells
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// Rows of CSV and NDJSON from which types are inferred; 0 reads the whole file twice [default: 10000]
    #[arg(long, value_name = "ROWS")]
    pub(crate) infer_rows: Option<usize>,

    /// Read this column of CSV or NDJSON as text; may be repeated
    #[arg(long, value_name = "COL")]
    pub(crate) string: Vec<String>,

    /// A text that means null in CSV, besides nothing at all; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) null: Vec<String>,

    /// What separates the fields of CSV [default: a comma, in .tsv files a tab]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,

    /// The first line of CSV is data; columns get numbers for names
    #[arg(long)]
    pub(crate) no_header: bool,
}

fn delimiter(text: &str) -> std::result::Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" | b"tab" => Ok(b'\t'),
        _ => Err("expected one ASCII character, or \\t".to_owned()),
    }
}

impl ReadOptions {
    /// How many rows to look at; `None` for all of them.
    fn limit(&self) -> Option<usize> {
        Some(self.infer_rows.unwrap_or(10_000)).filter(|rows| *rows > 0)
    }

    /// Refuses what would change nothing, since no file is of the format that it is for.
    fn check(&self, formats: &[Format]) -> Result {
        let text = ("CSV or NDJSON", formats.iter().any(|format| format.is_text()));
        let csv = ("CSV", formats.contains(&Format::Csv));
        let given = [
            ("--infer-rows", self.infer_rows.is_some(), text),
            ("--null", !self.null.is_empty(), csv),
            ("--delimiter", self.delimiter.is_some(), csv),
            ("--no-header", self.no_header, csv),
        ];
        let useless = given.iter().find(|(_, is_given, (_, is_there))| *is_given && !is_there);
        let Some((option, _, (expected, _))) = useless else { return Ok(()) };
        Err(Failure::usage(format_args!("{option} is for {expected}, and no file is; leave it out, or check --format")))
    }
}

/// Files that make one table, opened and of one schema.
pub(crate) struct Source {
    parts: Vec<(Input, Format)>,
    pub(crate) schema: SchemaRef,
    options: ReadOptions,
}

impl Source {
    /// Looks at every file: what it is, and which columns it has.
    pub(crate) fn open(files: &[String], options: ReadOptions) -> Result<Self> {
        let mut parts = Vec::new();
        let mut schemas = schema::Merge::new();
        for path in expand(files)? {
            let mut input = Input::open(&path)?;
            let format = format::of(&mut input, options.format)?;
            let schema = match format {
                Format::Parquet => parquet::schema(&mut input)?,
                Format::Arrow => ipc::schema(&mut input)?,
                Format::Csv => csv::schema(&mut input, &options)?,
                Format::Ndjson => json::schema(&mut input, &options)?,
            };
            schemas.add(&input.label, schema, format)?;
            parts.push((input, format));
        }
        options.check(&parts.iter().map(|(_, format)| *format).collect::<Vec<_>>())?;
        let schema = schemas.finish(&options.string)?;
        Ok(Self { parts, schema, options })
    }

    /// Whether every file is Arrow IPC, whose layout somebody chose.
    pub(crate) fn is_arrow(&self) -> bool {
        self.parts.iter().all(|(_, format)| *format == Format::Arrow)
    }

    /// Bytes of all files; `None` when one is a pipe.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.parts.iter().map(|(input, _)| input.len()).sum()
    }

    /// A name for the frame, from a single file's.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.parts[..] {
            [(input, _)] => input.stem(),
            _ => None,
        }
    }

    /// Reads everything, file after file. The first error ends it.
    pub(crate) fn batches(self, progress: &Progress) -> impl Iterator<Item = Result<RecordBatch>> {
        let Self { parts, schema, options } = self;
        parts.into_iter().flat_map(move |(input, format)| {
            let opened = match format {
                Format::Parquet => parquet::batches(input, progress),
                Format::Arrow => ipc::batches(input, progress),
                Format::Csv => csv::batches(input, &schema, &options, progress),
                Format::Ndjson => json::batches(input, &schema, &options, progress),
            };
            let schema = schema.clone();
            let batches = opened.unwrap_or_else(|failure| Box::new(std::iter::once(Err(failure))));
            batches.map(move |batch| schema::conform(&batch?, &schema))
        })
    }
}

/// Paths, with patterns replaced by what they match, in order.
fn expand(files: &[String]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    // Hidden files are often halves of others that are being written.
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
