//! `coframe wait` and `watch`: versions as they come.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use coframe::{Name, Store};
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Failure, Result},
    output,
};

/// How often to check whether the store was removed and created again.
const LOOK: Duration = Duration::from_secs(1);

/// The versions of a name, also when the store is removed and created again: its versions start at 1 then.
struct Versions<'a> {
    context: &'a Context,
    store: Store,
    made: Option<(u64, u64)>,
    seen: u64,
}

impl<'a> Versions<'a> {
    fn above(seen: u64, context: &'a Context) -> Result<Self> {
        let store = context.store_or_new()?;
        let made = made(store.path());
        Ok(Self { context, store, made, seen })
    }

    fn next(&mut self, name: &str, timeout: Duration) -> Result<Option<u64>> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(version) = self.store.wait(name, self.seen, left.min(LOOK))? {
                self.seen = version;
                return Ok(Some(version));
            }
            let made = made(&self.context.path);
            if made.is_some() && made != self.made {
                *self = Self::above(0, self.context)?;
            } else if left <= LOOK {
                return Ok(None);
            }
        }
    }
}

/// What distinguishes a store from another one at the same path: the file that counts its versions.
fn made(store: &Path) -> Option<(u64, u64)> {
    let counter = store.join("store").metadata().ok()?;
    Some((counter.dev(), counter.ino()))
}

/// Wait for a version of a name, and print its number
///
/// Exits with 3 after the timeout.
#[derive(clap::Args)]
pub(crate) struct Wait {
    name: Name,

    /// Wait for a version above this one
    #[arg(long, default_value_t = 0, value_name = "VERSION")]
    newer_than: u64,

    /// Timeout: 500ms, 10s, 2m, 1h [default: none]
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
        let mut versions = Versions::above(self.newer_than, context)?;
        let name = self.name.as_str();
        let Some(version) = versions.next(name, self.timeout.unwrap_or(output::FOR_EVER))? else {
            let newer = if self.newer_than == 0 { String::new() } else { format!(" above {}", self.newer_than) };
            return Err(Failure::missing(format_args!(
                "no version of `{name}`{newer} was published in time; wait longer (--timeout), or check its publisher"
            )));
        };
        if context.json {
            return output::print_json(&Waited { name, version });
        }
        output::print_line(version)
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
        let mut versions = Versions::above(self.newer_than, context)?;
        let mut lines = 0;
        while self.count.is_none_or(|count| lines < count) {
            let Some(version) = versions.next(self.name.as_str(), output::FOR_EVER)? else { continue };
            // One that is superseded already has a newer one, which comes next.
            if self.print(&versions.store, version, context.json)? {
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

/// The time of day of a publish, in UTC.
fn clock(created: Option<SystemTime>) -> String {
    let Some(created) = created else { return "--:--:--Z".to_owned() };
    let seconds = output::milliseconds(created) / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
