//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    commands::{
        adopt, completions, describe, doctor, export, list, manage, publish, rows, show, sql, top, verify, wait,
    },
    context::Context,
    failure::Result,
};

const EXAMPLES: &str = "\
Examples:
  coframe publish 'flights-*.parquet' --name flights
  coframe ls
  coframe head flights --columns carrier,dep_delay
  coframe sql 'select carrier, avg(dep_delay) from flights group by carrier'
  coframe export flights flights.csv

Exit codes: 0 done, 1 failed, 2 usage, 3 not there (yet).
Data goes to standard output, everything else to standard error.";

/// Look into a store of shared dataframes, fill it, query it, clean it.
#[derive(Parser)]
#[command(name = "coframe", version, after_help = EXAMPLES, propagate_version = true, max_term_width = 110)]
pub(crate) struct Args {
    #[expect(clippy::doc_markdown, reason = "this is the text of the help")]
    /// Directory of the store [env: COFRAME_STORE] [default: /dev/shm/coframe-<uid>]
    #[arg(long, global = true, value_name = "PATH")]
    store: Option<PathBuf>,

    /// Print JSON (docs/CLI.md lists the keys)
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Publish(Box<publish::Publish>),
    #[command(visible_alias = "list")]
    Ls(list::Ls),
    Show(show::Show),
    Head(rows::Head),
    Tail(rows::Tail),
    Sample(rows::Sample),
    Describe(describe::Describe),
    Sql(sql::Sql),
    Export(export::Export),
    Cp(manage::Cp),
    Rm(manage::Rm),
    Sweep(manage::Sweep),
    Adopt(adopt::Adopt),
    Wait(wait::Wait),
    Watch(wait::Watch),
    Verify(verify::Verify),
    Top(top::Top),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

impl Args {
    pub(crate) fn run(self) -> Result {
        let context = Context::new(self.store, self.json);
        match self.command {
            Command::Publish(command) => command.run(&context),
            Command::Ls(command) => command.run(&context),
            Command::Show(command) => command.run(&context),
            Command::Head(command) => command.run(&context),
            Command::Tail(command) => command.run(&context),
            Command::Sample(command) => command.run(&context),
            Command::Describe(command) => command.run(&context),
            Command::Sql(command) => command.run(&context),
            Command::Export(command) => command.run(&context),
            Command::Cp(command) => command.run(&context),
            Command::Rm(command) => command.run(&context),
            Command::Sweep(command) => command.run(&context),
            Command::Adopt(command) => command.run(&context),
            Command::Wait(command) => command.run(&context),
            Command::Watch(command) => command.run(&context),
            Command::Verify(command) => command.run(&context),
            Command::Top(command) => command.run(&context),
            Command::Doctor(command) => command.run(&context),
            Command::Completions(command) => command.run(&context, &mut Args::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
