//! `coframe sweep`: removes what dead processes left.

use serde::Serialize;

use crate::{context::Context, failure::Result, output};

/// Remove what dead processes left, and superseded versions that no process uses
#[derive(clap::Args)]
pub(crate) struct Sweep {}

#[derive(Serialize)]
struct SweptLine {
    segments: usize,
    sessions: usize,
    bytes: u64,
    problems: Vec<String>,
}

impl Sweep {
    #[expect(clippy::unused_self, reason = "every command runs alike")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let swept = context.store()?.sweep()?;
        if context.json {
            let (segments, sessions, bytes) = (swept.segments, swept.sessions, swept.bytes);
            return output::print_json(&SweptLine { segments, sessions, bytes, problems: swept.problems });
        }
        for problem in &swept.problems {
            output::note(format!("skipped: {problem}"));
        }
        let (segments, sessions) =
            (output::plural(swept.segments, "segment"), output::plural(swept.sessions, "session"));
        let bytes = output::size(swept.bytes);
        output::print_line(format_args!("removed {segments} ({bytes}) and {sessions} of dead processes"))
    }
}
