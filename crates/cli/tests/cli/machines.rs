//! Commands that `coframe-flight` runs.

use std::{os::unix::fs::PermissionsExt, process::Output};

use crate::common::{Scratch, flights, scratch};

/// Runs the command with a program `coframe-flight` that is this script.
fn with_program(scratch: &Scratch, script: &str, args: &[&str]) -> Output {
    let program = scratch.file("coframe-flight", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:{}", scratch.path("").display(), std::env::var("PATH").unwrap());
    scratch.command(args).env("PATH", path).output().unwrap()
}

#[test]
fn other_machines_are_the_matter_of_another_program_which_gets_the_command_line() {
    let scratch = scratch();
    for args in [
        &["serve", "--address", "127.0.0.1:0"][..],
        &["--json", "pull", "http://127.0.0.1:1", "x", "--as", "y z"],
        &["push", "--help"],
        &["--remote", "http://127.0.0.1:1", "ls"],
        &["head", "x", "--remote=http://127.0.0.1:1", "--token-file", "t"],
        &["doctor", "--remote", "http://127.0.0.1:1"],
    ] {
        let output = with_program(&scratch, "printf '%s\\n' \"$@\"; exit 3", args);
        let got = String::from_utf8(output.stdout).unwrap();
        let got: Vec<&str> = got.lines().collect();
        assert!(output.status.code() == Some(3) && got.ends_with(args), "{args:?}: {got:?}");
    }
}

#[test]
fn without_the_other_program_the_error_names_how_to_install_it() {
    let scratch = scratch();
    for args in [&["serve"][..], &["ls", "--remote", "http://127.0.0.1:1"]] {
        let output = scratch.command(args).env("PATH", "").output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        let install = "cargo install --path crates/flight --features command";
        assert!(output.status.code() == Some(2) && message.contains(install), "{message}");
        assert_eq!(message.lines().count(), 1);
    }
    // After `--` it is a name, and not one of a frame.
    assert!(scratch.fails(2, &["show", "--", "--remote"]).contains("`--remote` is not a frame name"));
}

#[test]
fn ls_shows_where_a_mirror_came_from() {
    let scratch = scratch();
    scratch.ok(&["publish", &flights(), "--name", "flights"]);
    assert!(!scratch.ok(&["ls"]).contains("FROM"));
    let store = scratch.store();
    let options = coframe::MirrorOptions::new().origin("https://host:8815");
    let mut mirror = store.mirror_with("copy", &options).unwrap();
    mirror.write(&store.open("flights").unwrap().segment_bytes()).unwrap();
    mirror.publish().unwrap();
    let shown = scratch.ok(&["ls"]);
    assert!(shown.contains("FROM") && shown.contains("https://host:8815"), "{shown}");
    let frames = &scratch.json(&["ls"])["frames"];
    assert_eq!((&frames[0]["origin"], &frames[1]["origin"]), (&"https://host:8815".into(), &serde_json::Value::Null));
}
