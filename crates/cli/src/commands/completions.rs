//! `coframe completions`: a script for the shell.

use std::io::Write;

use clap_complete::Shell;
use serde::Serialize;

use crate::{context::Context, failure::Result, output};

/// Print a completion script for a shell
///
/// For bash: coframe completions bash > ~/.local/share/bash-completion/completions/coframe
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

impl Completions {
    /// `command`: the arguments of the whole program.
    pub(crate) fn run(self, context: &Context, command: &mut clap::Command) -> Result {
        let mut bytes = Vec::new();
        clap_complete::generate(self.shell, command, "coframe", &mut bytes);
        let script = String::from_utf8_lossy(&bytes).into_owned();
        if context.json {
            return output::print_json(&Script { shell: self.shell.to_string(), script });
        }
        // Not escaped: the script contains only this program's text, and needs its tabs.
        let mut out = output::stdout();
        writeln!(out, "{}", script.trim_end())?;
        Ok(out.flush()?)
    }
}
