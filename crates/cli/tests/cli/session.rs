//! The sessions in the documentation print what the command prints.

use std::{env, fs, os::unix::fs::symlink, path::Path, process::Command};

use regex::Regex;

use crate::common::{Scratch, scratch};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A command line of a session, and the lines that follow it.
struct Step {
    command: String,
    output: Vec<String>,
}

/// The steps in all `console` blocks of a document.
fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_inside = false;
    for line in document.lines() {
        if line.starts_with("```") {
            is_inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_inside) {
            steps.push(Step { command: command.to_owned(), output: Vec::new() });
        } else if let Some(step) = steps.last_mut().filter(|_| is_inside) {
            // A quote that is open goes on in the next line.
            if step.command.matches('\'').count() % 2 == 1 {
                step.command = format!("{}\n{line}", step.command);
            } else {
                step.output.push(line.to_owned());
            }
        }
    }
    steps
}

fn run(scratch: &Scratch, command: &str, columns: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_coframe")).parent().unwrap().to_owned();
    let path = [binary].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())).collect::<Vec<_>>();
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("exec 2>&1\n{command}")]).current_dir(scratch.path(""));
    shell
        .env("PATH", env::join_paths(path).unwrap())
        .env("COFRAME_STORE", scratch.store_path())
        .env("COLUMNS", columns);
    shell.env_remove("NO_COLOR");
    let output = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    output.replace(scratch.store_path().to_str().unwrap(), "/dev/shm/demo")
}

/// The text without what differs from run to run.
fn lasting(text: &str) -> String {
    let patterns = [
        (r" in \d+\.\d\d s \([^)]*/s\)", " in TIME"),
        (r" +\d+s\b", " AGE"),
        (r"[\d.]+ .?B of [\d.]+ .?B free", "ROOM"),
        (r"\bid=[0-9a-f]{32}", "id=ID"),
        (r"\d\d:\d\d:\d\dZ", "CLOCK"),
    ];
    let replace = |text: String, (pattern, with): &(&str, &str)| {
        Regex::new(pattern).unwrap().replace_all(&text, *with).into_owned()
    };
    patterns.iter().fold(text.to_owned(), replace)
}

/// Whether the output is as documented; a line `...` stands for any lines.
#[track_caller]
fn assert_as_documented(step: &Step, found: &str) {
    let (found, expected) = (lasting(found), lasting(&step.output.join("\n")));
    let (found, expected) = (found.lines().collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
    let matches = match expected.iter().position(|line| *line == "...") {
        None => found == expected,
        Some(cut) => found.starts_with(&expected[..cut]) && found.ends_with(&expected[cut + 1..]),
    };
    assert!(matches, "$ {}\n{}\n-- documented:\n{}", step.command, found.join("\n"), expected.join("\n"));
}

/// Runs the sessions of a page in one store and a terminal of this width, and compares what they print.
#[track_caller]
fn assert_sessions_are_as_documented(page: &str, least: usize, columns: &str) {
    let steps = steps(&fs::read_to_string(format!("{ROOT}/{page}")).unwrap());
    assert!(steps.len() >= least, "only {} commands in {page}: the search is broken", steps.len());
    let scratch = scratch();
    symlink(fs::canonicalize(format!("{ROOT}/testdata")).unwrap(), scratch.path("testdata")).unwrap();
    for step in &steps {
        assert_as_documented(step, &run(&scratch, &step.command, columns));
    }
}

#[test]
fn the_session_in_the_documentation_prints_what_the_command_prints() {
    assert_sessions_are_as_documented("docs/CLI.md", 21, "100");
}

#[test]
fn the_session_in_the_readme_is_what_the_command_prints() {
    assert_sessions_are_as_documented("README.md", 4, "120");
}
