//! The format of a file: by its content for Parquet and Arrow, by its name for text.

use clap::ValueEnum;

use super::{gzip::GZIP, input::Input};
use crate::failure::{Failure, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Parquet,
    /// Arrow IPC, file or stream
    Arrow,
    /// CSV; with a tab between fields in .tsv files
    Csv,
    /// One JSON object on each line
    Ndjson,
}

impl Format {
    pub(crate) fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "arrows" | "ipc" | "feather" => Self::Arrow,
            "csv" | "tsv" => Self::Csv,
            "ndjson" | "jsonl" | "json" => Self::Ndjson,
            _ => return None,
        })
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Ndjson)
    }
}

/// Returns the format of a file: as requested, else by its first bytes, else by the extension of its name.
pub(super) fn detect(input: &mut Input, asked: Option<Format>) -> Result<Format> {
    if let Some(format) = asked {
        return Ok(format);
    }
    let start = input.peek(8)?;
    if start.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    if start.starts_with(b"ARROW1") || start.starts_with(&[0xFF; 4]) {
        return Ok(Format::Arrow);
    }
    // Feather version 1, which the reader of Arrow files refuses by that name. The zeros distinguish it from a CSV
    // header.
    if start.starts_with(b"FEA1\0\0\0\0") {
        return Ok(Format::Arrow);
    }
    let label = &input.label;
    if start.starts_with(b"\x28\xB5\x2F\xFD") || start.starts_with(b"PK\x03\x04") {
        return Err(Failure::failed(format_args!("{label} is a zstd or zip archive; unpack it first (or use gzip)")));
    }
    match input.extension().and_then(|extension| Format::from_extension(&extension)) {
        Some(format @ (Format::Csv | Format::Ndjson)) => Ok(format),
        Some(_) if start.starts_with(&GZIP) => Err(Failure::failed(format_args!(
            "{label} is compressed with gzip, which is read only for text formats; unpack it first"
        ))),
        Some(_) => Err(Failure::failed(format_args!(
            "{label} starts like neither a Parquet nor an Arrow IPC file; get an undamaged copy, or name its --format"
        ))),
        None => Err(Failure::usage(format_args!(
            "cannot determine the format of {label}; name it with --format csv, ndjson, parquet or arrow"
        ))),
    }
}
