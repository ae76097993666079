//! `coframe wait` and `watch`: versions as they come.

use std::time::{Duration, SystemTime};

use coframe::{Name, Store};
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Failure, Result},
    output,
};

/// Longer than any process lives.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Wait for a version of a name, and print its number
///
/// Exits with 3 when the time is over.
#[derive(clap::Args)]
pub(crate) struct Wait {
    name: Name,

    /// Wait for a version above this one
    #[arg(long, default_value_t = 0, value_name = "VERSION")]
    newer_than: u64,

    /// How long at most: 500ms, 10s, 2m, 1h [default: without end]
    #[arg(long, value_parser = output::duration)]
    timeout: Option<Duration>,
}

#[derive(Serialize)]
struct Waited<'a> {
    name: &'a str,
    version: u64,
}

impl Wait {
    pub(crate) fn run(self, context: &Context) -> Result {
        let store = context.store_or_new()?;
        let name = self.name.as_str();
        let Some(version) = store.wait(name, self.newer_than, self.timeout.unwrap_or(FOR_EVER))? else {
            let newer = if self.newer_than == 0 { String::new() } else { format!(" above {}", self.newer_than) };
            return Err(Failure::missing(format_args!(
                "no version of `{name}`{newer} was published in time; wait again, or look who publishes it"
            )));
        };
        if context.json {
            return output::print_json(&Waited { name, version });
        }
        output::print(&version.to_string())
    }
}

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
        let store = context.store_or_new()?;
        let mut seen = self.newer_than;
        let mut lines = 0;
        while self.count.is_none_or(|count| lines < count) {
            let Some(version) = store.wait(self.name.as_str(), seen, FOR_EVER)? else { continue };
            seen = version;
            // One that is superseded already has a newer one, which comes next.
            if self.print(&store, version, context.json)? {
                lines += 1;
            }
        }
        Ok(())
    }

    /// Prints one version; false when it is gone.
    fn print(&self, store: &Store, version: u64, json: bool) -> Result<bool> {
        let name = self.name.as_str();
        let frame = match store.open_version(name, version) {
            Ok(frame) => frame,
            Err(error) if error.is_superseded() || error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let (rows, bytes) = (frame.rows(), frame.bytes());
        if json {
            let created = frame.created().map(output::milliseconds);
            output::print_json(&Line { name, version, rows, bytes, created })?;
        } else {
            let clock = clock(frame.created());
            let (rows, bytes) = (output::plural(rows, "row"), output::size(bytes as u64));
            output::print(&format!("{clock} {name}@{version} {rows} {bytes}"))?;
        }
        Ok(true)
    }
}

/// The time of day of a publish, in UTC.
fn clock(created: Option<SystemTime>) -> String {
    let Some(created) = created else { return "--:--:--Z".to_owned() };
    let seconds = output::milliseconds(created) / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
