//! `coframe describe`: one line for each column.

mod quantiles;
mod statistics;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use coframe::{Frame, arrow::datatypes::Field};
use serde::Serialize;

use self::{statistics::Statistics, values::shown};
use crate::{
    context::Context,
    failure::{Failure, Result},
    names::{self, Target},
    output, table,
    text::Text,
    types,
};

/// Describe each column: counts, extremes, mean, quantiles, distinct values, and a small histogram
///
/// The histogram has ten bins of equal width from the least to the greatest value; for strings and categories it shows
/// the most frequent ones instead. A quartile between two numbers is interpolated. Reads one column at a time.
#[derive(clap::Args)]
pub(crate) struct Describe {
    /// NAME or NAME@VERSION
    name: Target,

    /// Only these columns, in this order
    #[arg(long, value_delimiter = ',', value_name = "COL,...")]
    columns: Vec<String>,
}

#[derive(Serialize)]
struct Described {
    name: String,
    version: u64,
    rows: usize,
    columns: Vec<Statistics>,
}

impl Describe {
    pub(crate) fn run(self, context: &Context) -> Result {
        let frame = names::select(self.name.open(&context.store()?)?, &self.columns)?;
        let columns = frame.schema().fields().iter().enumerate();
        let columns = columns.map(|(position, field)| describe(&frame, position, field)).collect::<Result<_>>()?;
        let described =
            Described { name: frame.name().to_string(), version: frame.version(), rows: frame.num_rows(), columns };
        if context.json {
            return output::print_json(&described);
        }
        output::print(&text(&described))
    }
}

/// Describes one column. If Polars cannot read it, the others are described anyway.
fn describe(frame: &Frame, position: usize, field: &Field) -> Result<Statistics> {
    let measure = || -> Result<Statistics> {
        if types::is_duplicate(frame, field.name()) {
            return Err(Failure::failed("two columns have this name"));
        }
        Statistics::new(&frame.select([field.name()])?.to_polars()?, types::short(field))
    };
    let measured = catch_unwind(AssertUnwindSafe(measure));
    let error = match measured.unwrap_or_else(|panic| Err(Failure::from_panic(panic.as_ref()))) {
        Err(Failure::Failed(error)) => error,
        done => return done,
    };
    let nulls = frame.batches().iter().map(|batch| batch.column(position).logical_null_count()).sum();
    let name = field.name().clone();
    Ok(Statistics::unreadable(name, types::short(field), frame.num_rows() - nulls, nulls, error))
}

const HEADER: [&str; 12] =
    ["COLUMN", "TYPE", "COUNT", "NULLS", "DISTINCT", "MIN", "25%", "50%", "75%", "MAX", "MEAN", "HISTOGRAM"];

fn text(described: &Described) -> Text {
    let rows = described.columns.iter().map(row).collect();
    output::columns(&HEADER, rows, &[2, 3, 4, 5, 6, 7, 8, 9, 10])
}

fn row(column: &Statistics) -> Vec<String> {
    // A time to the second, without its zone, which the type shows.
    let widest = if column.r#type.starts_with("datetime") { 19 } else { usize::MAX };
    // Strings are cut. Numbers are not, because they would be other numbers.
    let text = matches!(column.r#type.as_str(), "str" | "cat" | "enum");
    let short = |value: &serde_json::Value| {
        let value: String = shown(value).chars().take(widest).collect();
        if text { table::cut(&value, 19) } else { value }
    };
    let count = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), output::thousands);
    vec![
        table::cut(&column.name, 30),
        column.r#type.clone(),
        output::thousands(column.count),
        output::thousands(column.nulls),
        count(column.distinct),
        short(&column.min),
        short(&column.q25),
        short(&column.median),
        short(&column.q75),
        short(&column.max),
        short(&column.mean),
        column.picture(),
    ]
}
