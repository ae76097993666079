//! How the command documents its arguments.

use crate::common::scratch;

#[test]
fn help_lists_the_commands_under_headings() {
    let scratch = scratch();
    let help = scratch.ok(&["--help"]);
    for heading in ["Files:\n  publish      ", "\nNames:\n  cp ", "\nOptions:\n", "\nExamples:\n"] {
        assert!(help.contains(heading), "{heading}:\n{help}");
    }
    assert!(!help.contains('\u{1b}') && help.contains("[alias: list]"), "{help}");
    let help = scratch.ok(&["publish", "--help"]);
    for heading in ["\nReading files:\n", "\nCSV and NDJSON:\n"] {
        assert!(help.contains(heading), "{heading}:\n{help}");
    }
}

#[test]
fn wrong_arguments_are_one_line_with_the_usage() {
    let scratch = scratch();
    for (args, parts) in [
        (&["verfy"][..], &["unrecognized subcommand 'verfy'; a similar subcommand exists: 'verify'; usage: "][..]),
        (&["head", "t", "--row", "1"], &["unexpected argument '--row' found; a similar", "; usage: coframe head "]),
        (&["publish"], &["required arguments were not provided: <FILE>...; usage: coframe publish"]),
        (&["head", "t", "-n", "x"], &["invalid value 'x' for '--rows <ROWS>': ", "; --help lists the arguments"]),
        (&["sql", "select 1", "--csv", "--ndjson"], &["cannot be used with", "; usage: "]),
    ] {
        let line = scratch.fails(2, args);
        assert!(parts.iter().all(|part| line.contains(part)), "{args:?}: {line}");
    }
}
