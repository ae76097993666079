//! `coframe show`: everything about one frame except its rows.

mod pandas;

use std::{collections::BTreeMap, path::Path};

use coframe::{CopyReport, Frame, FrameUser, Store};
use serde::Serialize;

use crate::{context::Context, failure::Result, names::Target, output, text::Text, types};

/// Show a frame's columns with Arrow and Polars types, batches, metadata and users
///
/// SHARED and COPIED are the bytes of a column that opening shares with the store, and those that it copies.
#[derive(clap::Args)]
pub(crate) struct Show {
    /// NAME or NAME@VERSION
    name: Target,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: String,
    version: u64,
    rows: usize,
    bytes: usize,
    created: Option<u64>,
    path: String,
    handle: String,
    metadata: &'a BTreeMap<String, String>,
    /// Rows of each record batch.
    batches: Vec<usize>,
    columns: Vec<Column>,
    users: Vec<Reader>,
}

#[derive(Serialize)]
struct Column {
    name: String,
    arrow: String,
    /// `None` if Polars has no such type.
    polars: Option<String>,
    nullable: bool,
    shared: usize,
    copied: usize,
    reason: Option<String>,
}

/// A process that maps a frame.
#[derive(Clone, Serialize)]
pub(crate) struct Reader {
    pub(crate) pid: u32,
    pub(crate) command: String,
    pub(crate) version: u64,
    pub(crate) pss: Option<u64>,
}

impl Reader {
    pub(crate) fn new(user: &FrameUser) -> Self {
        Self { pid: user.pid, command: user.command.clone(), version: user.version, pss: user.pss }
    }
}

impl Show {
    pub(crate) fn run(self, context: &Context) -> Result {
        let store = context.store()?;
        // Before the frame is opened here, so that this process is not listed.
        let users = store.users(self.name.name.as_str())?;
        let frame = self.name.open(&store)?;
        let shown = shown(&store, &frame, users.iter().map(Reader::new).collect());
        if context.json {
            return output::print_json(&shown);
        }
        output::print(&text(&shown, &frame))
    }
}

fn shown<'a>(store: &Store, frame: &'a Frame, users: Vec<Reader>) -> Shown<'a> {
    let (name, version) = (frame.name().to_string(), frame.version());
    let path = store.path().join(format!("{name}@{version}.arrow"));
    Shown {
        name,
        version,
        rows: frame.num_rows(),
        bytes: frame.size_bytes(),
        created: frame.created().map(output::milliseconds),
        path: Path::new(&path).display().to_string(),
        handle: frame.handle().to_string(),
        metadata: frame.metadata(),
        batches: frame.batches().iter().map(coframe::arrow::array::RecordBatch::num_rows).collect(),
        columns: columns(frame),
        users,
    }
}

/// Returns what opening shares of each column. A column that Polars cannot read does not hide the others.
fn columns(frame: &Frame) -> Vec<Column> {
    let explain = |names: &[&String]| -> coframe::Result<CopyReport> { frame.select(names)?.copy_report() };
    let fields = frame.schema().fields();
    let refusal = |field: &coframe::arrow::datatypes::FieldRef| match explain(&[field.name()]) {
        _ if types::is_duplicate(frame, field.name()) => Some("two columns have this name".to_owned()),
        explained => explained.err().map(|error| error.to_string()),
    };
    let refusals: Vec<Option<String>> = fields.iter().map(refusal).collect();
    // Together, because columns of categories share one numbering.
    let taken = fields.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
    let together = explain(&taken.map(|(field, _)| field.name()).collect::<Vec<_>>());
    let mut explained = together.map(|explain| explain.columns).unwrap_or_default().into_iter();
    let column = |(field, refusal): (&coframe::arrow::datatypes::FieldRef, Option<String>)| {
        let one = || frame.select([field.name()]).ok()?.slice(..0).ok()?.to_polars().ok();
        let dtype = if types::is_duplicate(frame, field.name()) { None } else { one() };
        let explained = if refusal.is_none() { explained.next() } else { None };
        let (shared, copied, reason) =
            explained.map_or((0, 0, refusal), |column| (column.shared, column.copied, column.reason));
        Column {
            name: field.name().clone(),
            arrow: field.data_type().to_string(),
            polars: dtype.and_then(|df| df.dtypes().first().map(ToString::to_string)),
            nullable: field.is_nullable(),
            shared,
            copied,
            reason,
        }
    };
    fields.iter().zip(refusals).map(column).collect()
}

fn text(shown: &Shown<'_>, frame: &Frame) -> Text {
    let (rows, columns) = (output::plural(shown.rows, "row"), output::plural(shown.columns.len(), "column"));
    let bytes = output::size(shown.bytes as u64);
    let (age, batches) = (output::age(frame.created()), output::plural(shown.batches.len(), "batch"));
    let mut lines = vec![
        Text::new(format_args!("{}@{}: {rows}, {columns}, {bytes}", shown.name, shown.version)),
        Text::new(format_args!("published {age} ago, in {batches}")),
        Text::new(format_args!("path      {}", shown.path)),
        Text::new(format_args!("handle    {}", shown.handle)),
    ];
    // The package's own entries are not meant for people: one is a pickle.
    let metadata = shown.metadata.iter().filter(|(key, _)| !key.starts_with("coframe."));
    lines.extend(metadata.map(|(key, value)| Text::new(format_args!("metadata  {key}={value}"))));
    lines.extend(pandas::describe(frame).map(|text| Text::new(format_args!("pandas    {text}"))));
    let row = |column: &Column| {
        vec![
            column.name.clone(),
            column.arrow.clone(),
            column.polars.clone().unwrap_or_else(|| "-".to_owned()),
            output::size(column.shared as u64),
            output::size(column.copied as u64),
            column.reason.clone().unwrap_or_default(),
        ]
    };
    let header = ["COLUMN", "ARROW", "POLARS", "SHARED", "COPIED", "WHY"];
    let columns = output::columns(&header, shown.columns.iter().map(row).collect(), &[3, 4]);
    lines.extend([Text::default(), columns, Text::default(), users(&shown.users)]);
    Text::lines(lines)
}

fn users(users: &[Reader]) -> Text {
    if users.is_empty() {
        return Text::new("no visible process maps it");
    }
    let row = |user: &Reader| {
        let pss = user.pss.map_or_else(|| "-".to_owned(), output::size);
        vec![user.pid.to_string(), user.command.clone(), format!("@{}", user.version), pss]
    };
    output::columns(&["PID", "COMMAND", "VERSION", "PSS"], users.iter().map(row).collect(), &[0, 3])
}
