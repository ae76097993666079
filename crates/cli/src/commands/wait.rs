//! `coframe wait`: blocks until a version exists.

use std::time::Duration;

use coframe::Name;
use serde::Serialize;

use super::versions::Versions;
use crate::{
    context::Context,
    failure::{Failure, Result},
    output,
};

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
