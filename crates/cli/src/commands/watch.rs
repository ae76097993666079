//! `coframe watch`: a line for each version.

use std::time::SystemTime;

use coframe::{Name, Store};
use serde::Serialize;

use super::versions::Versions;
use crate::{context::Context, failure::Result, output};

/// Print a line for the latest version of a name, and for each new one
#[derive(clap::Args)]
pub(crate) struct Watch {
    name: Name,

    /// Print only versions above this one
    #[arg(long, default_value_t = 0, value_name = "VERSION")]
    newer_than: u64,

    /// End after this many lines
    #[arg(long, value_name = "LINES")]
    count: Option<usize>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    version: u64,
    rows: usize,
    bytes: usize,
    created: Option<u64>,
}

impl Watch {
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut versions = Versions::above(self.newer_than, context)?;
        let mut lines = 0;
        while self.count.is_none_or(|count| lines < count) {
            let Some(version) = versions.next(self.name.as_str(), output::FOR_EVER)? else { continue };
            // A version that is superseded already is followed by a newer one.
            if self.print(&versions.store, version, context.json)? {
                lines += 1;
            }
        }
        Ok(())
    }

    /// Prints one version. Returns false if it was removed.
    fn print(&self, store: &Store, version: u64, json: bool) -> Result<bool> {
        let name = self.name.as_str();
        let frame = match store.open_version(name, version) {
            Ok(frame) => frame,
            Err(error) if error.is_superseded() || error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let (rows, bytes) = (frame.num_rows(), frame.size_bytes());
        if json {
            let created = frame.created().map(output::milliseconds);
            output::print_json(&Line { name, version, rows, bytes, created })?;
        } else {
            let clock = clock(frame.created());
            let (rows, bytes) = (output::plural(rows, "row"), output::size(bytes as u64));
            output::print_line(format_args!("{clock} {name}@{version} {rows} {bytes}"))?;
        }
        Ok(true)
    }
}

/// Returns the time of day of a publish, in UTC.
fn clock(created: Option<SystemTime>) -> String {
    let Some(created) = created else { return "--:--:--Z".to_owned() };
    let seconds = output::milliseconds(created) / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
