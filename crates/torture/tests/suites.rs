//! The short forms of the suites, for the gate. ci/deep.sh runs the long ones.

use std::process::Command;

#[test]
fn three_hundred_kills_lose_nothing_tear_nothing_and_leave_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_coframe-torture")).args(["kill", "--kills", "300"]).output().unwrap();
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    // It contains the seed, which repeats a failure.
    eprintln!("{printed}");
    assert!(output.status.success() && printed.contains("held after"));
}

fn held(suite: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_coframe-torture")).arg(suite).output().unwrap();
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    eprintln!("{printed}");
    assert!(output.status.success() && printed.contains(": held"));
}

#[test]
fn what_runs_out_is_an_error_and_loses_nothing() {
    held("exhaust");
}

#[test]
fn what_others_plant_or_make_up_is_refused() {
    held("intrude");
}
