//! How files are read: the options of the command line.

use std::str::FromStr;

use coframe::arrow::datatypes::{DataType, TimeUnit};

use super::Format;
use crate::failure::{Failure, Result};

/// How files become columns.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Reading files")]
pub(crate) struct ReadOptions {
    /// Format of the files [default: by content or extension]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// Publish only these columns, in this order
    #[arg(long, value_delimiter = ',', value_name = "COL,...")]
    pub(crate) columns: Vec<String>,

    /// Leave these columns out
    #[arg(long, value_delimiter = ',', value_name = "COL,...", conflicts_with = "columns")]
    pub(crate) exclude: Vec<String>,

    #[command(flatten)]
    pub(crate) text: TextOptions,
}

/// How text becomes columns.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "CSV and NDJSON")]
pub(crate) struct TextOptions {
    /// Rows of CSV and NDJSON from which types are inferred; 0 reads the whole file twice [default: 10000]
    #[arg(long, value_name = "ROWS")]
    pub(crate) infer_rows: Option<usize>,

    /// Read this column of CSV or NDJSON as text; may be repeated
    #[arg(long, value_name = "COL")]
    pub(crate) string: Vec<String>,

    /// Read this column of CSV or NDJSON as a type; may be repeated
    ///
    /// bool, i8 to i64, u8 to u64, f32, f64 (rounded where a float must), decimal[20,2], str, cat, date, datetime[us] (or
    /// s, ms, ns). A value that is not of the type is an error.
    #[arg(long = "type", value_name = "COL=TYPE", value_parser = column_type)]
    pub(crate) types: Vec<(String, ColumnType)>,

    /// A text that means null in CSV, as an empty field does; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) null: Vec<String>,

    /// Character between the fields of CSV [default: a comma, in .tsv files a tab]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,

    /// The first line of CSV is data; columns are named by numbers
    #[arg(long)]
    pub(crate) no_header: bool,

    /// Remove white space around the names and values of CSV
    #[arg(long)]
    pub(crate) trim: bool,

    /// Lines before the header of CSV that are skipped
    #[arg(long, value_name = "LINES")]
    pub(crate) skip_rows: Option<usize>,

    /// Skip the lines of CSV that start with this character
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) comment: Option<u8>,

    /// Numbers in CSV have a comma before their fraction: 1,5
    #[arg(long)]
    pub(crate) decimal_comma: bool,
}

/// Reads one ASCII character; `\t` and `tab` are a tab.
pub(crate) fn delimiter(text: &str) -> std::result::Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | b'"') => Ok(*byte),
        b"\\t" | b"tab" => Ok(b'\t'),
        _ => Err("expected one ASCII character other than a quote or a line break, or \\t".to_owned()),
    }
}

/// The type that the user named for a text column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ColumnType {
    Plain(DataType),
    Categories,
}

fn column_type(text: &str) -> std::result::Result<(String, ColumnType), String> {
    let (column, name) = text.rsplit_once('=').ok_or("expected COL=TYPE, for example price=decimal[12,2]")?;
    Ok((column.to_owned(), name.parse()?))
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let data_type = match text {
            "cat" => return Ok(Self::Categories),
            "bool" => DataType::Boolean,
            "i8" => DataType::Int8,
            "i16" => DataType::Int16,
            "i32" => DataType::Int32,
            "i64" => DataType::Int64,
            "u8" => DataType::UInt8,
            "u16" => DataType::UInt16,
            "u32" => DataType::UInt32,
            "u64" => DataType::UInt64,
            "f32" => DataType::Float32,
            "f64" => DataType::Float64,
            "str" => DataType::Utf8,
            "date" => DataType::Date32,
            "datetime" | "datetime[us]" | "datetime[µs]" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "datetime[s]" => DataType::Timestamp(TimeUnit::Second, None),
            "datetime[ms]" => DataType::Timestamp(TimeUnit::Millisecond, None),
            "datetime[ns]" => DataType::Timestamp(TimeUnit::Nanosecond, None),
            other => return decimal(other).map(Self::Plain),
        };
        Ok(Self::Plain(data_type))
    }
}

fn decimal(text: &str) -> std::result::Result<DataType, String> {
    let unknown = || {
        format!(
            "`{text}` is not a type; expected bool, i8 to i64, u8 to u64, f32, f64, decimal[PRECISION,SCALE], str, cat, \
             date or datetime[s|ms|us|ns]"
        )
    };
    let inner = text.strip_prefix("decimal[").and_then(|rest| rest.strip_suffix(']')).ok_or_else(unknown)?;
    let (precision, scale) = inner.split_once(',').ok_or_else(unknown)?;
    let precision: u8 = precision.trim().parse().map_err(|_| unknown())?;
    let scale: i8 = scale.trim().parse().map_err(|_| unknown())?;
    let fits = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    if fits {
        Ok(DataType::Decimal128(precision, scale))
    } else {
        Err(format!("`{text}`: expected a precision of 1 to 38 and a scale of 0 to the precision"))
    }
}

impl ReadOptions {
    /// Refuses options that would have no effect, because no file is of their format.
    pub(super) fn check(&self, formats: &[Format]) -> Result {
        let given = &self.text;
        let text = ("CSV or NDJSON", formats.iter().any(|format| format.is_text()));
        let csv = ("CSV", formats.contains(&Format::Csv));
        let given = [
            ("--infer-rows", given.infer_rows.is_some(), text),
            ("--null", !given.null.is_empty(), csv),
            ("--delimiter", given.delimiter.is_some(), csv),
            ("--no-header", given.no_header, csv),
            ("--trim", given.trim, csv),
            ("--skip-rows", given.skip_rows.is_some(), csv),
            ("--comment", given.comment.is_some(), csv),
            ("--decimal-comma", given.decimal_comma, csv),
        ];
        let useless = given.iter().find(|(_, is_given, (_, is_there))| *is_given && !is_there);
        let Some((option, _, (expected, _))) = useless else { return Ok(()) };
        Err(Failure::usage(format_args!("{option} is for {expected}, and no file is; leave it out, or check --format")))
    }
}

impl TextOptions {
    /// Returns how many rows to inspect for the types; `None` for all of them.
    pub(super) fn limit(&self) -> Option<usize> {
        Some(self.infer_rows.unwrap_or(10_000)).filter(|rows| *rows > 0)
    }

    /// Returns the columns that are read as text: those that were named, and those that get a type from their strings.
    pub(super) fn read_as_text(&self) -> Vec<String> {
        self.string.iter().chain(self.types.iter().map(|(name, _)| name)).cloned().collect()
    }

    /// Returns the text columns that become categories by their type.
    pub(crate) fn categories(&self) -> impl Iterator<Item = &String> {
        self.types.iter().filter(|(_, kind)| *kind == ColumnType::Categories).map(|(name, _)| name)
    }

    /// Returns the type that the user named for a column.
    pub(super) fn type_of(&self, column: &str) -> Option<DataType> {
        let named = self.types.iter().rev().find(|(name, _)| name == column).map(|(_, kind)| match kind {
            ColumnType::Plain(data_type) => data_type.clone(),
            ColumnType::Categories => DataType::Utf8,
        });
        named.or_else(|| self.string.iter().any(|name| name == column).then_some(DataType::Utf8))
    }

    /// Returns the columns for which the user named a type, with the option.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let text = self.string.iter().map(|name| ("--string", name));
        text.chain(self.types.iter().map(|(name, _)| ("--type", name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_by_the_names_that_tables_show() {
        let plain = |text: &str| match text.parse() {
            Ok(ColumnType::Plain(data_type)) => data_type,
            other => panic!("{other:?}"),
        };
        assert_eq!(plain("decimal[12,2]"), DataType::Decimal128(12, 2));
        assert_eq!(plain("datetime[ms]"), DataType::Timestamp(TimeUnit::Millisecond, None));
        assert_eq!("cat".parse(), Ok(ColumnType::Categories));
        for wrong in ["", "int", "decimal", "decimal[0,0]", "decimal[39,1]", "decimal[3,4]", "decimal[3,-1]"] {
            assert!(wrong.parse::<ColumnType>().is_err(), "{wrong} was accepted");
        }
        assert_eq!(column_type("a=b=i8").unwrap().0, "a=b");
    }
}
