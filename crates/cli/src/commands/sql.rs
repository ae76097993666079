//! `coframe sql`: queries the frames of the store.

mod engine;
mod plan;
mod query;
mod tables;

use std::{fs, io, path::PathBuf, time::Instant};

use coframe::{
    Frame, Store, TableReader,
    arrow::{
        array::{RecordBatch, RecordBatchIterator, RecordBatchReader},
        datatypes::SchemaRef,
    },
};
use polars::prelude::DataFrame;

use self::query::Query;
use super::publish::PublishReport;
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
  coframe sql 'select * from \"trades-1\" where price > 10' --parquet dear.parquet
  coframe sql --engine datafusion 'explain analyze select max(price) from \"trades-1\"'";

/// Query the frames of the store by name, with Polars SQL or DataFusion
///
/// Each frame is a table with the frame's name. Quote versions, and names that SQL does not accept unquoted:
/// "trades-1", "flights@12". Only the frames that the query names are opened, without a copy.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sql {
    /// The query
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    query: Option<String>,

    /// Read the query from a file; `-` for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// The program that computes the answer
    #[arg(long, value_enum, default_value_t = Engine::Polars)]
    engine: Engine,

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

    /// Rows of the printed table; other results are complete
    #[arg(short = 'n', long, default_value_t = 50)]
    rows: usize,
}

/// Which engine runs a query.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    /// Polars SQL, in this process
    Polars,
    /// DataFusion, in the program coframe-datafusion, which is installed separately
    #[value(name = "datafusion")]
    DataFusion,
}

/// What a query returned.
enum Answer {
    Polars(DataFrame),
    Arrow(SchemaRef, Vec<RecordBatch>),
}

impl Answer {
    fn num_rows(&self) -> usize {
        match self {
            Self::Polars(df) => df.height(),
            Self::Arrow(_, batches) => batches.iter().map(RecordBatch::num_rows).sum(),
        }
    }

    fn reader(&self) -> Result<Box<dyn RecordBatchReader + Send + '_>> {
        Ok(match self {
            Self::Polars(df) => Box::new(TableReader::new(df)?),
            Self::Arrow(schema, batches) => {
                Box::new(RecordBatchIterator::new(batches.iter().cloned().map(Ok), schema.clone()))
            }
        })
    }

    /// Returns the first rows.
    fn head(&self, rows: usize) -> Self {
        match self {
            Self::Polars(df) => Self::Polars(df.head(Some(rows))),
            Self::Arrow(schema, batches) => {
                let mut left = rows;
                let first = batches.iter().map(|batch| {
                    let taken = batch.num_rows().min(left);
                    left -= taken;
                    batch.slice(0, taken)
                });
                Self::Arrow(schema.clone(), first.filter(|batch| batch.num_rows() > 0).collect())
            }
        }
    }

    fn publish(&self, store: &Store, name: &str) -> coframe::Result<Frame> {
        match self {
            Self::Polars(df) => store.publish(name, df),
            Self::Arrow(schema, batches) => {
                store.publish(name, RecordBatchIterator::new(batches.clone().into_iter().map(Ok), schema.clone()))
            }
        }
    }
}

impl Sql {
    pub(crate) fn run(self, context: &Context) -> Result {
        let started = Instant::now();
        let query = self.query()?;
        only_asks(&query)?;
        let store = context.store()?;
        let answer = match self.engine {
            Engine::Polars => Answer::Polars(tables::run(&store, &Query::parse(&query)?)?),
            Engine::DataFusion => {
                let (schema, batches) = engine::run(&store, &query)?;
                Answer::Arrow(schema, batches)
            }
        };
        if let Some(name) = &self.publish {
            let frame = answer.publish(&store, name.as_str())?;
            return PublishReport::new(&frame, started).print(context);
        }
        let reader = answer.reader()?;
        if let Some(path) = &self.parquet {
            let mut target = FileTarget::create(path, self.force)?;
            let what = format!("`{}`", path.display());
            sink::write(reader, Format::Parquet, Codec::default(), target.out(), &what)?;
            let bytes = target.finish(self.force)?;
            return wrote(path, answer.num_rows(), bytes, context);
        }
        match (self.csv, self.ndjson) {
            (true, _) => sink::csv(reader, self.delimiter.unwrap_or(b','), output::stdout(), "standard output"),
            (_, true) => sink::ndjson(reader, Json::new(output::stdout()), "standard output"),
            _ if context.json => sink::rows_json(reader, output::stdout()),
            _ => match plan::of(&query, &answer) {
                Some(plan) => output::print(&plan),
                None => self.table(&answer),
            },
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

    fn table(&self, answer: &Answer) -> Result {
        let head = answer.head(self.rows);
        let reader = head.reader()?;
        let schema = reader.schema();
        let batches: Vec<RecordBatch> = reader.collect::<std::result::Result<_, _>>().map_err(Failure::failed)?;
        super::rows::print(&schema, &batches, super::rows::RowFormat::Table)?;
        if answer.num_rows() > self.rows {
            let all = output::thousands(answer.num_rows());
            output::note(format_args!("{} of {all} rows; -n names how many, --csv prints all", self.rows));
        }
        Ok(())
    }
}

/// Refuses a statement that would change tables: it would not change the store, but appear to.
fn only_asks(query: &str) -> Result {
    let word = first_word(query);
    match word.to_ascii_lowercase().as_str() {
        "select" | "with" | "show" | "explain" | "values" | "from" => Ok(()),
        "" => Err(Failure::usage("the query is empty; write for example 'select * from NAME'")),
        _ => Err(Failure::usage(format_args!(
            "`{word}` is not a query: sql takes select, with, from, values, show and explain; remove frames with coframe rm, \
             publish a result with sql --publish NAME"
        ))),
    }
}

fn first_word(query: &str) -> String {
    first_words(query).chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Returns the query from its first word on, after comments and parentheses.
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
