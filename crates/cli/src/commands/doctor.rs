//! `coframe doctor`: what is wrong with a store, and what mends it.

mod checks;

use serde::Serialize;

use self::checks::Finding;
use crate::{
    context::Context,
    failure::{Failure, Result},
    output::{self, Style},
};

/// Check the store and its surroundings; each finding comes with the command that mends it
///
/// Size and free space, huge pages (tried, not read from a setting), running as root, permissions, systemd,
/// leftovers, damaged frames. Exits with 1 when there is a problem; warnings are none.
#[derive(clap::Args)]
pub(crate) struct Doctor {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Problem,
}

#[derive(Serialize)]
struct Report {
    store: String,
    findings: Vec<Finding>,
}

impl Doctor {
    #[expect(clippy::unused_self, reason = "every command runs alike")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let findings = checks::all(&context.path);
        let problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
        if context.json {
            output::print_json(&Report { store: context.path.display().to_string(), findings })?;
        } else {
            output::print(&findings.iter().map(text).collect::<Vec<_>>().join("\n"))?;
        }
        match problems {
            0 => Ok(()),
            _ => Err(Failure::Reported),
        }
    }
}

fn text(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => output::paint("ok      ", Style::Green),
        Level::Warning => output::paint("warning ", Style::Yellow),
        Level::Problem => output::paint("problem ", Style::Red),
    };
    let fix = finding.fix.as_ref().map(|fix| format!("\n        mend it: {fix}")).unwrap_or_default();
    format!("{level}{:<12} {}{fix}", finding.check, finding.found)
}
