//! `coframe describe`: each column in a line.

mod statistics;

use serde::Serialize;

use self::statistics::Statistics;
use crate::{context::Context, failure::Result, names::Target, output, table};

/// Describe each column: counts, extremes, mean, quantiles, distinct values, and a small histogram
///
/// The histogram has ten bins of equal width from the least to the greatest value; of texts and categories it shows the
/// most frequent ones instead. Reads one column at a time.
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
        let mut frame = self.name.open(&context.store()?)?;
        if !self.columns.is_empty() {
            frame = frame.select(&self.columns)?;
        }
        let mut columns = Vec::new();
        for field in frame.schema().fields() {
            let df = frame.select([field.name()])?.to_polars()?;
            columns.push(Statistics::of(&df, crate::types::short(field))?);
        }
        let described =
            Described { name: frame.name().to_string(), version: frame.version(), rows: frame.rows(), columns };
        if context.json {
            return output::print_json(&described);
        }
        output::print(&text(&described))
    }
}

const HEADER: [&str; 12] =
    ["COLUMN", "TYPE", "COUNT", "NULLS", "DISTINCT", "MIN", "25%", "50%", "75%", "MAX", "MEAN", "HISTOGRAM"];

fn text(described: &Described) -> String {
    let rows = described.columns.iter().map(row).collect();
    output::columns(&HEADER, rows, &[2, 3, 4, 5, 6, 7, 8, 9, 10])
}

fn row(column: &Statistics) -> Vec<String> {
    // A time to the second, without its zone, which stands in the type.
    let widest = if column.r#type.starts_with("datetime") { 19 } else { usize::MAX };
    let short = |value: &serde_json::Value| table::cut(&shown(value).chars().take(widest).collect::<String>(), 19);
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

/// A value for people: six digits of a number are enough.
fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => {
                let text = format!("{value:.3}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}
