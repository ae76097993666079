//! `coframe doctor`: checks a store and prints the repair of each finding.

mod checks;

use serde::Serialize;

use self::checks::{Finding, Level};
use crate::{
    context::Context,
    failure::{Failure, Result},
    output::{self, Style},
    text::Text,
};

/// Check the store and its surroundings; each finding comes with the command that repairs it
///
/// Size and free space, huge pages (tried, not read from a setting), running as root, permissions, systemd,
/// leftovers, damaged frames. Exits with 1 when there is a problem, and with 0 after warnings.
#[derive(clap::Args)]
pub(crate) struct Doctor {}

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
            output::print(&Text::lines(findings.iter().map(text)))?;
        }
        match problems {
            0 => Ok(()),
            _ => Err(Failure::Reported),
        }
    }
}

fn text(finding: &Finding) -> Text {
    let level = match finding.level {
        Level::Ok => Text::new("ok      ").styled(Style::Green),
        Level::Warning => Text::new("warning ").styled(Style::Yellow),
        Level::Problem => Text::new("problem ").styled(Style::Red),
    };
    let found = level.then(Text::new(format_args!("{:<12} {}", finding.check, finding.found)));
    let fix = finding.fix.as_ref().map(|fix| Text::new(format_args!("        repair: {fix}")));
    Text::lines([found].into_iter().chain(fix))
}
