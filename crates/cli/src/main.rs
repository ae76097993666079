//! The `coframe` command: look into a store of shared dataframes, fill it, query it, clean it.
//!
//! `main` maps results to exit codes; each command is a file in `commands`.

mod args;
mod commands;
mod context;
mod failure;
mod names;
mod output;
mod sink;
mod source;
mod table;
mod types;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match args.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
