//! `coframe serve`, `pull`, `push`, and every command with `--remote`: the program `coframe-flight` runs in place of this
//! one.

use std::{
    convert::Infallible,
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
};

use crate::{
    failure::{Failure, Result},
    programs,
};

const PROGRAM: &str = "coframe-flight";
const INSTALL: &str = "crates/flight --features command";

/// Serve the frames of the store to other machines
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Serve {
    #[command(flatten)]
    passed: Passed,
}

/// Copy a frame of a server into the store
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Pull {
    #[command(flatten)]
    passed: Passed,
}

/// Publish a frame of the store on a server
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Push {
    #[command(flatten)]
    passed: Passed,
}

#[derive(clap::Args)]
struct Passed {
    /// Arguments of coframe-flight; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

impl Serve {
    pub(crate) fn run(self) -> Result {
        run(self.passed, "serve")
    }
}

impl Pull {
    pub(crate) fn run(self) -> Result {
        run(self.passed, "pull")
    }
}

impl Push {
    pub(crate) fn run(self) -> Result {
        run(self.passed, "push")
    }
}

fn run(passed: Passed, name: &str) -> Result {
    // The parser has split them; the program gets the command line as it was written.
    drop(passed.arguments);
    let never = replace(&format!("`coframe {name}`"));
    Err(never.map_or_else(|failure| failure, |never| match never {}))
}

/// Runs `coframe-flight` if the command line has `--remote`, whose other arguments only that program knows.
pub(crate) fn divert() -> Result {
    let is_remote = |argument: &OsString| argument == "--remote" || starts_with(argument, "--remote=");
    if env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| is_remote(&argument)) {
        replace("`--remote`").map(|never| match never {})?;
    }
    Ok(())
}

fn starts_with(argument: &OsStr, start: &str) -> bool {
    argument.as_encoded_bytes().starts_with(start.as_bytes())
}

/// Replaces this process, so that signals and the exit code are those of the program.
fn replace(needed_by: &str) -> std::result::Result<Infallible, Failure> {
    let error = programs::command(PROGRAM).args(env::args_os().skip(1)).exec();
    Err(programs::not_started(PROGRAM, needed_by, INSTALL, &error))
}
