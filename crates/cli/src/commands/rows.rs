//! Rows of a frame and how they are printed, for `coframe head`, `tail`, `sample` and `sql`.

use coframe::{
    Frame,
    arrow::{
        array::{RecordBatch, RecordBatchIterator},
        datatypes::SchemaRef,
    },
};

use crate::{
    context::Context,
    failure::Result,
    names::{self, Target},
    output, sink, source, table,
    text::Json,
};

#[derive(clap::Args)]
pub(crate) struct RowOptions {
    /// NAME or NAME@VERSION
    name: Target,

    /// How many rows
    #[arg(short = 'n', long, default_value_t = 10)]
    pub(super) rows: usize,

    /// Only these columns, in this order
    #[arg(long, value_delimiter = ',', value_name = "COL,...")]
    columns: Vec<String>,

    /// Print CSV instead of a table
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Character between the fields of CSV [default: a comma]
    #[arg(long, requires = "csv", value_name = "CHAR", value_parser = source::delimiter)]
    delimiter: Option<u8>,

    /// Print one JSON object for each row
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    ndjson: bool,
}

/// The format in which rows are printed.
#[derive(Clone, Copy)]
pub(crate) enum RowFormat {
    Table,
    /// With this character between fields.
    Csv(u8),
    Ndjson,
    Json,
}

impl RowOptions {
    pub(super) fn frame(&self, context: &Context) -> Result<Frame> {
        names::select(self.name.open(&context.store()?)?, &self.columns)
    }

    pub(super) fn print(&self, frame: &Frame, batches: &[RecordBatch], context: &Context) -> Result {
        let form = match (context.json, self.csv, self.ndjson) {
            (true, ..) => RowFormat::Json,
            (_, true, _) => RowFormat::Csv(self.delimiter.unwrap_or(b',')),
            (.., true) => RowFormat::Ndjson,
            _ => RowFormat::Table,
        };
        print(frame.schema(), batches, form)
    }
}

/// Prints rows. CSV has their characters unchanged; in the other formats, characters that control a terminal are
/// escaped.
pub(crate) fn print(schema: &SchemaRef, batches: &[RecordBatch], form: RowFormat) -> Result {
    let reader = || RecordBatchIterator::new(batches.iter().cloned().map(Ok), schema.clone());
    match form {
        RowFormat::Table => {}
        RowFormat::Json => return sink::rows_json(reader(), output::stdout()),
        RowFormat::Ndjson => return sink::ndjson(reader(), Json::new(output::stdout()), "standard output"),
        RowFormat::Csv(delimiter) => return sink::csv(reader(), delimiter, output::stdout(), "standard output"),
    }
    let table = table::render(schema, batches, output::width())?;
    output::print(&table.text)?;
    let all = schema.fields().len();
    if table.shown < all {
        output::note(format_args!("{} of {all} columns fit; --columns names those to show", table.shown));
    }
    Ok(())
}
