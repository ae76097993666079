//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, builder::styling::Style, error::ErrorKind};

use crate::{
    commands::{
        adopt, completions, cp, describe, doctor, export, head, ls, machines, mv, publish, rm, sample, show, sql,
        sweep, tail, top, verify, wait, watch,
    },
    context::Context,
    failure::{Failure, Result},
};

const EXAMPLES: &str = "\
Examples:
  coframe publish 'flights-*.parquet' --name flights
  coframe ls
  coframe head flights --columns carrier,dep_delay
  coframe sql 'select carrier, avg(dep_delay) from flights group by carrier'
  coframe export flights flights.csv

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, or not in time.
Data goes to standard output, everything else to standard error.";

/// The commands under headings, as `--help` lists them.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Files", &["publish", "export"]),
    ("Look", &["ls", "show", "head", "tail", "sample", "describe", "sql", "top"]),
    ("Names", &["cp", "mv", "rm", "sweep"]),
    ("Versions", &["wait", "watch"]),
    ("Machines", &["serve", "pull", "push"]),
    ("Checks", &["verify", "doctor", "adopt"]),
    ("Shell", &["completions"]),
];

/// Publish, list, query and remove shared dataframes
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

    // For the help: `machines::divert` finds it before the parser does.
    /// Server that ls, show, head, wait and doctor read from, with the program coframe-flight
    #[arg(long, global = true, value_name = "URL")]
    remote: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Publish(Box<publish::Publish>),
    #[command(visible_alias = "list")]
    Ls(ls::Ls),
    Show(show::Show),
    Head(head::Head),
    Tail(tail::Tail),
    Sample(sample::Sample),
    Describe(describe::Describe),
    Sql(sql::Sql),
    Export(export::Export),
    Cp(cp::Cp),
    Mv(mv::Mv),
    Rm(rm::Rm),
    Sweep(sweep::Sweep),
    Adopt(adopt::Adopt),
    Wait(wait::Wait),
    Watch(watch::Watch),
    Serve(machines::Serve),
    Pull(machines::Pull),
    Push(machines::Push),
    Verify(verify::Verify),
    Top(top::Top),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

impl Args {
    /// Reads the command line. Prints help and the version here, and then ends the process.
    pub(crate) fn read() -> Result<Self> {
        let template = format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}{{after-help}}",
            groups(&Self::command()),
            heading("Options")
        );
        let matches = Self::command().help_template(template).try_get_matches();
        matches.and_then(|matches| Self::from_arg_matches(&matches)).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => Failure::usage(one_line(&error.render().to_string())),
        })
    }

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
            Command::Mv(command) => command.run(&context),
            Command::Rm(command) => command.run(&context),
            Command::Sweep(command) => command.run(&context),
            Command::Adopt(command) => command.run(&context),
            Command::Wait(command) => command.run(&context),
            Command::Watch(command) => command.run(&context),
            Command::Serve(command) => command.run(),
            Command::Pull(command) => command.run(),
            Command::Push(command) => command.run(),
            Command::Verify(command) => command.run(&context),
            Command::Top(command) => command.run(&context),
            Command::Doctor(command) => command.run(&context),
            Command::Completions(command) => command.run(&context, &mut Args::command()),
        }
    }
}

fn heading(text: &str) -> String {
    let style = Style::new().bold().underline();
    format!("{style}{text}:{style:#}")
}

/// Returns the commands with their descriptions, under their headings.
fn groups(command: &clap::Command) -> String {
    let about = |name: &&str| {
        let command = command.find_subcommand(name)?;
        let aliases: Vec<&str> = command.get_visible_aliases().collect();
        let aliases = if aliases.is_empty() { String::new() } else { format!(" [alias: {}]", aliases.join(", ")) };
        let style = Style::new().bold();
        Some(format!("  {style}{name:<11}{style:#}  {}{aliases}\n", command.get_about()?))
    };
    let group = |(title, names): &(&str, &[&str])| {
        format!("{}\n{}\n", heading(title), names.iter().filter_map(about).collect::<String>())
    };
    GROUPS.iter().map(group).collect()
}

/// Returns an error of the parser on one line: what is wrong, what may be meant, and the usage.
fn one_line(error: &str) -> String {
    let error = error.strip_prefix("error: ").unwrap_or(error);
    let (wrong, rest) = error.split_once("\nUsage: ").map_or((error, None), |(wrong, rest)| (wrong, Some(rest)));
    let lines = wrong.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more"));
    let wrong = lines.collect::<Vec<_>>().join(" ").replace(" tip: ", "; ");
    match rest.and_then(|rest| rest.lines().next()) {
        Some(usage) => format!("{wrong}; usage: {usage}"),
        None => format!("{wrong}; --help lists the arguments"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_is_listed_under_one_heading() {
        let command = Args::command();
        let commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(listed.len(), commands.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), commands.into_iter().collect());
    }
}
