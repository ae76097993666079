//! What README shows of the command is what the command prints.

use std::{fs, path::Path, process::Command};

use crate::common::{Scratch, scratch};

/// The commands of a page's blocks of code that start with `$ coframe`, each with the lines that follow it.
fn sessions(page: &str) -> Vec<(String, Vec<String>)> {
    let blocks = page.split("```text\n").skip(1).filter_map(|block| block.split("\n```").next());
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for block in blocks.filter(|block| block.starts_with("$ coframe ")) {
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command.to_owned(), Vec::new()));
                continue;
            }
            let (command, output) = commands.last_mut().expect("a block starts with a command");
            if command.matches('\'').count() % 2 == 1 {
                command.push('\n');
                command.push_str(line);
            } else {
                output.push(line.to_owned());
            }
        }
    }
    commands
}

/// A line without what differs between two runs: times, speeds, ages and the size of the file system.
fn lasting(line: &str) -> String {
    let line = if line.contains('@') { line.split(" in ").next() } else { line.split(';').next() };
    let is_age =
        |word: &str| word.strip_suffix('s').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let words = line.unwrap_or_default().split_whitespace();
    words.map(|word| if is_age(word) { "AGE" } else { word }).collect::<Vec<_>>().join(" ")
}

fn run(scratch: &Scratch, command: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new("bash")
        .args(["-c", &format!("coframe() {{ \"$COFRAME_BIN\" \"$@\"; }}; {command}")])
        .current_dir(root)
        .env("COFRAME_BIN", env!("CARGO_BIN_EXE_coframe"))
        .env("COFRAME_STORE", scratch.store_path())
        .env("COLUMNS", "120")
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_session_in_the_readme_is_what_the_command_prints() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let scratch = scratch();
    let commands = sessions(&page);
    assert!(commands.len() >= 4, "only {} commands found: the search is broken", commands.len());
    for (command, shown) in commands {
        let printed = run(&scratch, &command);
        let printed: Vec<_> = printed.lines().map(lasting).collect();
        let shown: Vec<_> = shown.iter().map(|line| lasting(line)).collect();
        assert_eq!(printed, shown, "README.md: {command}");
    }
}
