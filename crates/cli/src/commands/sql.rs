//! `coframe sql`: a query over the frames of the store.

mod query;
mod tables;

use std::{fs, io, path::PathBuf, time::Instant};

use coframe::{
    TableReader,
    arrow::array::{RecordBatch, RecordBatchReader},
};
use polars::prelude::DataFrame;

use self::query::Query;
use super::publish::Published;
use crate::{
    context::Context,
    failure::{Failure, Result},
    output, sink,
    sink::{Codec, FileTarget},
    source::{self, Format},
    text::Json,
};

const EXAMPLES: &str = "\
Examples:
  coframe sql 'select carrier, avg(dep_delay) as delay from flights group by carrier order by delay'
  coframe sql 'select * from \"trades-1\" where price > 10' --parquet dear.parquet";

/// Query the frames of the store by name, with Polars SQL
///
/// A frame is a table of its name; quote names that SQL does not take, and versions: "trades-1", "flights@12". Only
/// the frames that the query names are opened, without a copy.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sql {
    /// The query
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    query: Option<String>,

    /// Read the query from a file; `-` for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print CSV
    #[arg(long, group = "result", conflicts_with = "json")]
    csv: bool,

    /// Character between the fields of CSV [default: a comma]
    #[arg(long, requires = "csv", value_name = "CHAR", value_parser = source::delimiter)]
    delimiter: Option<u8>,

    /// Print one JSON object for each row
    #[arg(long, group = "result", conflicts_with = "json")]
    ndjson: bool,

    /// Write the result to a Parquet file
    #[arg(long, group = "result", value_name = "FILE")]
    parquet: Option<PathBuf>,

    /// Publish the result as a frame
    #[arg(long, group = "result", value_name = "NAME")]
    publish: Option<coframe::Name>,

    /// Overwrite an existing file
    #[arg(long, requires = "parquet")]
    force: bool,

    /// Rows of the table that is printed; other results are whole
    #[arg(short = 'n', long, default_value_t = 50)]
    rows: usize,
}

impl Sql {
    pub(crate) fn run(self, context: &Context) -> Result {
        let begun = Instant::now();
        let query = self.query()?;
        only_asks(&query)?;
        let store = context.store()?;
        let df = tables::run(&store, &Query::parse(&query)?)?;
        if let Some(name) = &self.publish {
            let frame = store.publish(name.as_str(), &df)?;
            return Published::new(&frame, begun).print(context);
        }
        let reader = TableReader::new(&df)?;
        if let Some(path) = &self.parquet {
            let mut target = FileTarget::create(path, self.force)?;
            let what = format!("`{}`", path.display());
            sink::write(reader, Format::Parquet, Codec::default(), target.out(), &what)?;
            let bytes = target.finish(self.force)?;
            return wrote(path, df.height(), bytes, context);
        }
        match (self.csv, self.ndjson) {
            (true, _) => sink::csv(reader, self.delimiter.unwrap_or(b','), output::stdout(), "standard output"),
            (_, true) => sink::ndjson(reader, Json::new(output::stdout()), "standard output"),
            _ if context.json => sink::rows_json(reader, output::stdout()),
            _ => self.table(&df),
        }
    }

    fn query(&self) -> Result<String> {
        let path = match (&self.query, &self.file) {
            (Some(query), _) => return Ok(query.clone()),
            (None, Some(path)) => path,
            (None, None) => return Ok(String::new()),
        };
        let read = if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
        read.map_err(|error| {
            Failure::failed(format_args!("could not read the query from `{}`: {error}", path.display()))
        })
    }

    fn table(&self, df: &DataFrame) -> Result {
        let head = df.head(Some(self.rows));
        let reader = TableReader::new(&head)?;
        let schema = reader.schema();
        let batches: Vec<RecordBatch> = reader.collect::<std::result::Result<_, _>>().map_err(Failure::failed)?;
        super::rows::print(&schema, &batches, super::rows::Form::Table)?;
        if df.height() > self.rows {
            let all = output::thousands(df.height());
            output::note(format_args!("{} of {all} rows; -n names how many, --csv prints all", self.rows));
        }
        Ok(())
    }
}

/// Refuses a statement that would change tables: it would change nothing in the store, and look as if it had.
fn only_asks(query: &str) -> Result {
    let word: String = first_words(query).chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    match word.to_ascii_lowercase().as_str() {
        "select" | "with" | "show" | "explain" | "values" | "from" => Ok(()),
        "" => Err(Failure::usage("the query is empty; write for example 'select * from NAME'")),
        _ => Err(Failure::usage(format_args!(
            "`{word}` is not a query: sql takes select, with, from, values, show and explain; remove frames with coframe rm, \
             publish a result with sql --publish NAME"
        ))),
    }
}

/// The query from its first word on, behind comments and parentheses.
fn first_words(query: &str) -> &str {
    let query = query.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let comment = query.strip_prefix("--").map(|rest| rest.split_once('\n').map_or("", |(_, rest)| rest));
    let comment = comment.or_else(|| query.strip_prefix("/*").map(|rest| rest.split_once("*/").map_or("", |(_, r)| r)));
    comment.map_or(query, first_words)
}

fn wrote(path: &std::path::Path, rows: usize, bytes: u64, context: &Context) -> Result {
    let path = path.display().to_string();
    if context.json {
        let written = serde_json::json!({ "path": path, "format": "parquet", "rows": rows, "bytes": bytes });
        return output::print_json(&written);
    }
    output::print_line(format_args!("{path}: {}, {}", output::plural(rows, "row"), output::size(bytes)))
}
