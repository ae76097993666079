//! `coframe export`: writes a frame to a file.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use coframe::Frame;
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Failure, Result},
    names::{self, Target},
    output,
    sink::{self, Codec, FileTarget},
    source::{self, Format},
    text::Json,
};

/// Write a frame to a file: Parquet, CSV, NDJSON or Arrow IPC, by extension
///
/// The file is written atomically: other programs see all of it or nothing.
/// CSV and NDJSON in a file that ends in .gz are compressed with gzip.
#[derive(clap::Args)]
pub(crate) struct Export {
    /// NAME or NAME@VERSION
    name: Target,

    /// The file; `-` for standard output, with --format
    file: PathBuf,

    /// Format of the file [default: by the extension of its name]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Only these columns, in this order
    #[arg(long, value_delimiter = ',', value_name = "COL,...")]
    columns: Vec<String>,

    /// Character between the fields of CSV [default: a comma, in .tsv files a tab]
    #[arg(long, value_name = "CHAR", value_parser = source::delimiter)]
    delimiter: Option<u8>,

    /// How Parquet is compressed
    #[arg(long, value_enum, default_value_t)]
    compression: Codec,

    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Exported {
    name: String,
    version: u64,
    path: String,
    format: String,
    rows: usize,
    bytes: u64,
}

impl Export {
    pub(crate) fn run(self, context: &Context) -> Result {
        let format = self.format()?;
        if self.delimiter.is_some() && format != Format::Csv {
            return Err(Failure::usage("--delimiter is for CSV; leave it out, or name --format csv"));
        }
        if self.file.as_os_str() == "-" && context.json {
            return Err(Failure::usage("--json describes the file that export wrote; standard output has the rows"));
        }
        let frame = names::select(self.name.open(&context.store()?)?, &self.columns)?;
        if self.file.as_os_str() == "-" {
            return self.to_stdout(&frame, format);
        }
        let mut target = FileTarget::create(&self.file, self.force)?;
        let what = format!("`{}`", self.file.display());
        if self.is_packed() {
            let mut packed = GzEncoder::new(target.out(), Compression::default());
            self.write(&frame, format, &mut packed, &what)?;
            packed.finish().map_err(|error| Failure::writing(&what, &error))?;
        } else {
            self.write(&frame, format, target.out(), &what)?;
        }
        let bytes = target.finish(self.force)?;
        self.print(&frame, format, bytes, context)
    }

    fn to_stdout(&self, frame: &Frame, format: Format) -> Result {
        // Parquet's writer may be sent to a thread, which a locked standard output cannot be.
        let out = output::shared_stdout();
        match format {
            Format::Ndjson => self.write(frame, format, Json::new(out), "standard output"),
            _ => self.write(frame, format, out, "standard output"),
        }
    }

    fn write(&self, frame: &Frame, format: Format, out: impl Write + Send, what: &str) -> Result {
        if format != Format::Csv {
            return sink::write(frame.reader(), format, self.compression, out, what);
        }
        let delimiter = self.delimiter.unwrap_or(if self.is_tabs() { b'\t' } else { b',' });
        sink::csv(frame.reader(), delimiter, out, what)
    }

    /// Returns the extension of the file; the one before `.gz` if it has both.
    fn extension(&self) -> Option<String> {
        let name = if self.is_packed() { Path::new(self.file.file_stem()?) } else { &self.file };
        Some(name.extension()?.to_string_lossy().to_ascii_lowercase())
    }

    fn is_packed(&self) -> bool {
        self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
    }

    fn is_tabs(&self) -> bool {
        self.format.is_none() && self.extension().is_some_and(|extension| extension == "tsv")
    }

    fn format(&self) -> Result<Format> {
        let named = self.format.or_else(|| Format::from_extension(&self.extension()?));
        let path = self.file.display();
        let format = named.ok_or_else(|| {
            Failure::usage(format_args!(
                "cannot determine the format of `{path}`; name it .parquet, .csv, .tsv, .ndjson or .arrow, or give --format"
            ))
        })?;
        if self.is_packed() && !format.is_text() {
            return Err(Failure::usage(format_args!(
                "`{path}`: only CSV and NDJSON are compressed with gzip; leave .gz out of the name (Parquet is compressed: \
                 --compression)"
            )));
        }
        Ok(format)
    }

    fn print(&self, frame: &Frame, format: Format, bytes: u64, context: &Context) -> Result {
        let path = self.file.display().to_string();
        if context.json {
            let (name, version, rows) = (frame.name().to_string(), frame.version(), frame.num_rows());
            let format = format!("{format:?}").to_lowercase();
            return output::print_json(&Exported { name, version, path, format, rows, bytes });
        }
        output::print_line(format_args!("{path}: {}, {}", output::plural(frame.num_rows(), "row"), output::size(bytes)))
    }
}
