//! `coframe publish`: publishes files as a frame.

use std::time::Instant;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use coframe::{
    Frame, PublishMode, PublishOptions, Store, StringLayout,
    arrow::array::{ArrayRef, RecordBatch},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{
    categorical::{Categorical, Categories, LOOK},
    context::Context,
    failure::{Failure, Result},
    output,
    source::{ReadOptions, Source},
};

/// The approximate size of a record batch in bytes. Two of them are in memory while small batches are coalesced.
const BATCH: usize = 64 << 20;
/// Rows of a record batch.
const ROWS: std::ops::RangeInclusive<usize> = 1024..=1 << 20;

const EXAMPLES: &str = "\
Examples:
  coframe publish flights.parquet
  coframe publish 'logs/*.csv.gz' --name logs --auto-categorical
  psql -c 'copy t to stdout csv header' | coframe publish - --format csv --name t";

/// Publish files as one frame: Parquet, CSV, NDJSON, Arrow IPC
///
/// Reads a batch at a time, so memory does not grow with the files. Several files, or a pattern in quotes, become one
/// frame; their columns must agree. Files ending in .gz are unpacked. On any error the store is unchanged.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Publish {
    /// Files or patterns; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// Name of the frame [default: the file's, without its extension]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    read: ReadOptions,

    #[command(flatten)]
    categories: Categories,

    /// Types of strings and lists in the frame [default: view, as in Polars; for Arrow IPC keep]
    #[arg(long, value_parser = layouts())]
    layout: Option<StringLayout>,

    /// Number of old versions to keep even when unused
    #[arg(long, default_value_t = 0, value_name = "VERSIONS")]
    keep: u32,

    /// Record the least and the greatest value of each column in each record batch, for engines that skip batches
    #[arg(long)]
    statistics: bool,

    /// Attach an entry of metadata to the version; may be repeated
    #[arg(long = "metadata", value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,

    /// Publish only if the name does not exist [default: overwrite]
    #[arg(long, conflicts_with = "update")]
    create: bool,

    /// Publish only if this is the latest version
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    update: Option<u64>,
}

/// The library's layouts, by name.
fn layouts() -> impl TypedValueParser<Value = StringLayout> {
    let name = |name: &'static str, help: &'static str| PossibleValue::new(name).help(help);
    PossibleValuesParser::new([
        name("keep", "Strings and lists as the file has them"),
        name("view", "Strings as views, lists with offsets of 64 bits: shared with Polars"),
        name("offset", "Strings with offsets: for readers that do not support views"),
    ])
    .try_map(|name| name.parse::<StringLayout>())
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A version that was published, for the output.
#[derive(Serialize)]
pub(crate) struct PublishReport {
    name: String,
    version: u64,
    rows: usize,
    columns: usize,
    bytes: usize,
    seconds: f64,
    handle: String,
}

impl PublishReport {
    pub(crate) fn new(frame: &Frame, started: Instant) -> Self {
        Self {
            name: frame.name().to_string(),
            version: frame.version(),
            rows: frame.num_rows(),
            columns: frame.num_columns(),
            bytes: frame.size_bytes(),
            seconds: started.elapsed().as_secs_f64(),
            handle: frame.handle().to_string(),
        }
    }

    pub(crate) fn print(&self, context: &Context) -> Result {
        if context.json {
            return output::print_json(self);
        }
        let (rows, columns) = (output::plural(self.rows, "row"), output::plural(self.columns, "column"));
        let rate = output::size((self.bytes as f64 / self.seconds.max(1e-9)) as u64);
        let (name, version, bytes, seconds) = (&self.name, self.version, output::size(self.bytes as u64), self.seconds);
        output::print_line(format_args!("{name}@{version}: {rows}, {columns}, {bytes} in {seconds:.2} s ({rate}/s)"))
    }
}

impl Publish {
    pub(crate) fn run(self, context: &Context) -> Result {
        let started = Instant::now();
        let mut source = Source::open(&self.files, self.read.clone())?;
        let notes = std::mem::take(&mut source.notes);
        let name = self.name_of(&source)?;
        let store = context.store_or_new()?;
        let bar = bar(source.bytes(), context.json);
        let published = self.publish(&store, &name, source, &bar);
        bar.finish_and_clear();
        PublishReport::new(&published?, started).print(context)?;
        for note in notes {
            output::note(format_args!("coframe: {note}"));
        }
        Ok(())
    }

    fn name_of(&self, source: &Source) -> Result<String> {
        let name = self.name.clone().or_else(|| source.name());
        let name = name.ok_or_else(|| Failure::usage("these files do not name the frame; name it with --name"))?;
        match name.parse::<coframe::Name>() {
            Ok(_) => Ok(name),
            Err(error) => Err(Failure::usage(format_args!("{error}; name the frame with --name"))),
        }
    }

    fn publish(&self, store: &Store, name: &str, source: Source, bar: &ProgressBar) -> Result<Frame> {
        let arrow = source.is_arrow();
        let schema = source.schema.clone();
        let mut batches = source.batches(bar);
        let first = first(&mut batches, if self.categories.auto_categorical { LOOK } else { 1 })?;
        let layout = self.layout.unwrap_or(if arrow { StringLayout::Keep } else { StringLayout::View });
        let keep = arrow || matches!(layout, StringLayout::Keep);
        let mut categories = self.categories.clone();
        // Columns that are left out need no categories.
        let named = self.read.text.categories().filter(|name| schema.field_with_name(name).is_ok());
        categories.categorical.extend(named.cloned());
        let mut categorical = Categorical::choose(&schema, &categories, &first, keep)?;
        let options = self.options(layout, &first);
        let mut writer = store.writer_with(name, categorical.schema.clone(), &options)?;
        for batch in first.into_iter().map(Ok).chain(batches) {
            writer.write(&categorical.apply(&batch?)?)?;
        }
        Ok(writer.publish()?)
    }

    fn options(&self, layout: StringLayout, first: &[RecordBatch]) -> PublishOptions {
        let mut options =
            PublishOptions::new().layout(layout).keep(self.keep).batch_rows(batch_rows(first)).batch_bytes(BATCH);
        options = options.statistics(self.statistics);
        for (key, value) in &self.metadata {
            options = options.metadata(key, value);
        }
        let mode = if self.create { PublishMode::Create } else { PublishMode::Overwrite };
        options.mode(self.update.map_or(mode, PublishMode::Update))
    }
}

/// Returns the first batches, until they have this many rows, or are as large as a batch of the frame.
fn first(batches: &mut impl Iterator<Item = Result<RecordBatch>>, rows: usize) -> Result<Vec<RecordBatch>> {
    let mut first: Vec<RecordBatch> = Vec::new();
    let (mut found, mut bytes) = (0, 0);
    while found < rows && bytes < BATCH {
        let Some(batch) = batches.next().transpose()? else { break };
        found += batch.num_rows();
        bytes += batch.columns().iter().map(bytes_of).sum::<usize>();
        first.push(batch);
    }
    Ok(first)
}

/// Returns the number of rows for a record batch of the right size, estimated from the first ones.
fn batch_rows(first: &[RecordBatch]) -> usize {
    let rows: usize = first.iter().map(RecordBatch::num_rows).sum();
    let bytes: usize = first.iter().flat_map(RecordBatch::columns).map(bytes_of).sum();
    let each = (bytes / rows.max(1)).max(1);
    (BATCH / each).clamp(*ROWS.start(), *ROWS.end())
}

fn bytes_of(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or(0)
}

/// Returns a progress bar on the terminal; a hidden one if the output is not a terminal.
fn bar(bytes: Option<u64>, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
    let bar = ProgressBar::with_draw_target(bytes, target);
    let template = match bytes {
        Some(_) => "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}",
        None => "{spinner} {bytes}  {bytes_per_sec}  {elapsed}",
    };
    // The templates are fixed. A wrong one would only leave the default style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
