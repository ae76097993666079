//! Commands that read from a remote store.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use clap::Args;
use coframe::arrow::util::pretty::pretty_format_batches;
use coframe_flight::{Error, ReadOptions, Result, Stat};
use serde_json::json;

use super::Common;

/// Longest wait without --timeout.
const FOR_EVER: Duration = Duration::from_secs(u64::MAX / 4);

/// List the frames of a server
#[derive(Args)]
pub(crate) struct Ls {}

/// Show one frame of a server
#[derive(Args)]
pub(crate) struct Show {
    /// Name of the frame
    name: String,
}

/// Print the first rows of a frame of a server
#[derive(Args)]
pub(crate) struct Head {
    /// Name of the frame
    name: String,
    /// How many rows
    #[arg(short = 'n', long, default_value_t = 10)]
    rows: usize,
    /// Columns, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    columns: Option<Vec<String>>,
}

/// Wait for a newer version of a frame of a server
#[derive(Args)]
pub(crate) struct Wait {
    /// Name of the frame
    name: String,
    /// Wait for a version above this one; 0: until the name exists
    #[arg(long, default_value_t = 0, value_name = "VERSION")]
    newer_than: u64,
    /// Timeout: 500ms, 10s, 2m, 1h [default: none]
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
}

/// Check a server: connection, token, round trip, and what it serves
#[derive(Args)]
pub(crate) struct Doctor {}

/// Reads `500ms`, `10s`, `2m`, `1h`, or a number of seconds, as `coframe wait` does.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let found = seconds.or_else(|| humantime::parse_duration(text).ok());
    found
        .map(|found| found.min(FOR_EVER))
        .ok_or_else(|| format!("`{text}` is not a duration; write for example 500ms, 10s, 2m or 1h"))
}

pub(crate) fn line(value: &serde_json::Value) -> String {
    format!("{value}\n")
}

fn entry(stat: &Stat) -> serde_json::Value {
    json!({
        "name": stat.name,
        "version": stat.version,
        "id": stat.id.map(|id| format!("{id:032x}")),
        "rows": stat.rows,
        "columns": stat.columns,
        "bytes": stat.bytes,
        "created": stat.created,
        "metadata": stat.metadata,
    })
}

impl Ls {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, common: &Common) -> Result<String> {
        let remote = common.remote()?;
        let stats = remote.list()?;
        if common.json {
            let frames: Vec<_> = stats.iter().map(entry).collect();
            return Ok(line(&json!({ "url": remote.url(), "frames": frames })));
        }
        let width = stats.iter().map(|stat| stat.name.len()).max().unwrap_or(0).max(4);
        let mut text =
            format!("{:width$}  {:>8}  {:>12}  {:>8}  {:>15}\n", "NAME", "VERSION", "ROWS", "COLUMNS", "BYTES");
        for Stat { name, version, rows, columns, bytes, .. } in &stats {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:width$}  {version:>8}  {rows:>12}  {columns:>8}  {bytes:>15}");
        }
        Ok(text)
    }
}

impl Show {
    pub(crate) fn run(&self, common: &Common) -> Result<String> {
        let remote = common.remote()?;
        let stat = remote.stat(&self.name)?;
        let (schema, _) = remote.read(&self.name, &ReadOptions::new().version(stat.version).rows(0..0))?;
        let fields = schema.fields().iter();
        if common.json {
            let columns: Vec<_> = fields
                .map(|field| json!({ "name": field.name(), "type": field.data_type().to_string(), "nullable": field.is_nullable() }))
                .collect();
            let mut value = entry(&stat);
            if let Some(object) = value.as_object_mut() {
                object.insert("schema".to_owned(), columns.into());
            }
            return Ok(line(&value));
        }
        let Stat { name, version, rows, bytes, id, .. } = &stat;
        let id = id.map_or("none".to_owned(), |id| format!("{id:032x}"));
        let mut text = format!("{name}@{version} of {}\n{rows} rows, {bytes} bytes, segment {id}\n", remote.url());
        for field in fields {
            let _ = writeln!(text, "  {}: {}", field.name(), field.data_type());
        }
        Ok(text)
    }
}

impl Head {
    pub(crate) fn run(&self, common: &Common) -> Result<String> {
        if common.json {
            return Err(Error::from_display("`head --json`", "the rows of a server have no JSON; pull the frame"));
        }
        let remote = common.remote()?;
        let stat = remote.stat(&self.name)?;
        let rows = self.rows.min(usize::try_from(stat.rows).unwrap_or(usize::MAX));
        let mut options = ReadOptions::new().version(stat.version).rows(0..rows);
        if let Some(columns) = &self.columns {
            options = options.columns(columns);
        }
        let (_, batches) = remote.read(&self.name, &options)?;
        let table = pretty_format_batches(&batches).map_err(|e| Error::from_display("cannot print the rows", e))?;
        Ok(format!("{table}\n"))
    }
}

impl Wait {
    pub(crate) fn run(&self, common: &Common) -> Result<String> {
        match common.remote()?.wait(&self.name, self.newer_than, self.timeout.unwrap_or(FOR_EVER))? {
            Some(version) if common.json => Ok(line(&json!({ "name": self.name, "version": version }))),
            Some(version) => Ok(format!("{}@{version}\n", self.name)),
            None => {
                eprintln!("coframe: no version of `{}` above {} in time", self.name, self.newer_than);
                std::process::exit(3);
            }
        }
    }
}

impl Doctor {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(crate) fn run(&self, common: &Common) -> Result<String> {
        let start = Instant::now();
        let remote = common.remote()?;
        let connected = start.elapsed();
        let start = Instant::now();
        let stats = remote.list()?;
        let listed = start.elapsed();
        let bytes: u64 = stats.iter().map(|stat| stat.bytes).sum();
        let foreign = stats.iter().filter(|stat| stat.id.is_none()).count();
        let millis = |elapsed: Duration| elapsed.as_secs_f64() * 1000.0;
        if common.json {
            return Ok(line(&json!({
                "url": remote.url(), "connect_ms": millis(connected), "list_ms": millis(listed),
                "frames": stats.len(), "bytes": bytes, "not_of_coframe": foreign,
            })));
        }
        let mut text = format!(
            "connected to {} in {:.1} ms\nlisted {} frames of {bytes} bytes in {:.1} ms; the token, if any, is right\n",
            remote.url(),
            millis(connected),
            stats.len(),
            millis(listed)
        );
        if foreign > 0 {
            let _ = writeln!(text, "{foreign} of them are files of other programs, which can be read but not pulled");
        }
        Ok(text)
    }
}
