//! The `coframe` command: publish, list, query and remove shared dataframes.
//!
//! `main` maps results to exit codes; each command is a file in `commands`.

mod args;
mod categorical;
mod commands;
mod context;
mod failure;
mod names;
mod output;
mod programs;
mod sink;
mod source;
mod stdout;
mod table;
mod text;
mod types;

use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    if let Err(failure) = commands::machines::divert() {
        return failure.report();
    }
    let args = match args::Args::read() {
        Ok(args) => args,
        Err(failure) => return failure.report(),
    };
    std::panic::set_hook(Box::new(failure::note_panic));
    match std::panic::catch_unwind(|| args.run()) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        Err(panic) => Failure::from_panic(panic.as_ref()).report(),
    }
}
