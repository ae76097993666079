//! Other programs of coframe, which are installed separately so that this one need not be compiled with their libraries.

use std::{env, io, path::PathBuf, process::Command};

use crate::failure::Failure;

/// The program next to this one, else the one in PATH.
pub(crate) fn command(program: &str) -> Command {
    let beside = env::current_exe().ok().map(|command| command.with_file_name(program)).filter(|path| path.is_file());
    Command::new(beside.unwrap_or_else(|| PathBuf::from(program)))
}

/// Why a program did not start, and how to install it if it is missing. `needed_by` is what was asked for.
pub(crate) fn not_started(program: &str, needed_by: &str, install: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::usage(format_args!(
            "{needed_by} needs the program `{program}`, which is not installed; install it from a checkout with \
             `cargo install --path {install}`"
        )),
        _ => Failure::failed(format_args!("could not start `{program}`: {error}")),
    }
}
