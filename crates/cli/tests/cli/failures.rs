//! Bad input, full stores, signals and closed pipes: one line, the right exit code, the store as it was.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use coframe::polars::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Reaper, Scratch, flights, scratch};

/// A store with one frame, which must be there unchanged afterwards.
fn with_frame() -> Scratch {
    let scratch = scratch();
    scratch.store().publish("t", &df!("a" => [1, 2]).unwrap()).unwrap();
    scratch
}

#[track_caller]
fn assert_as_it_was(scratch: &Scratch) {
    assert_eq!(scratch.entries(), ["t.arrow", "t@1.arrow"]);
    assert_eq!(scratch.store().open("t").unwrap().num_rows(), 2);
}

#[test]
fn a_broken_csv_row_is_named_by_file_and_line() {
    let scratch = with_frame();
    for (text, found) in [("a,b\n1,2\n3\n4,5\n", "found 1"), ("a,b\n1,2\n3,4,5\n", "found 3")] {
        let file = scratch.file("broken.csv", text);
        // Found while types are inferred, and found later.
        for rows in ["10", "1"] {
            let line = scratch.fails(1, &["publish", &file, "--name", "t", "--infer-rows", rows]);
            assert_eq!(
                line,
                format!(
                    "`{file}`, line 3: expected 2 fields, {found}; correct or remove the line, or name the delimiter (--delimiter)"
                )
            );
        }
    }
    let file = scratch.file("twice.csv", "a,b,a\n1,2,3\n");
    let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
    assert!(line.ends_with("has two columns named `a`; rename one in the first line"), "{line}");
    let file = scratch.file("latin.csv", b"a\nx\n\xFF\n");
    let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
    assert_eq!(line, format!("`{file}`, line 3: the text is not UTF-8; convert it, for example with iconv"));
    assert_as_it_was(&scratch);
}

/// Twenty thousand lines, which is more than the inference reads.
fn lines(line: impl Fn(usize) -> String) -> String {
    let mut lines: Vec<String> = (0..20_000).map(line).collect();
    lines.push(String::new());
    lines.join("\n")
}

#[test]
fn a_type_that_changes_half_way_is_named_by_line_and_column() {
    let scratch = with_frame();
    let rows = lines(|n| format!("{n},{n}"));
    let file = scratch.file("change.csv", format!("a,b\n{rows}1,oh\n"));
    let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
    assert!(line.starts_with(&format!("`{file}`, line 20002, column `b`: `oh` cannot be read as Int64")), "{line}");
    assert!(line.ends_with("(--infer-rows 0), or the column as text (--string b)"), "{line}");
    assert_as_it_was(&scratch);
    scratch.ok(&["publish", &file, "--name", "text", "--string", "b"]);
    scratch.ok(&["publish", &file, "--name", "all", "--infer-rows", "0"]);
    assert_eq!(scratch.store().open("all").unwrap().num_rows(), 20_001);

    let rows = lines(|n| format!("{{\"a\":{n},\"b\":{n}}}"));
    let file = scratch.file("change.ndjson", format!("{rows}{{\"a\":1,\"b\":\"oh\"}}\n"));
    let line = scratch.fails(1, &["publish", &file, "--name", "u"]);
    assert!(
        line.starts_with(&format!("`{file}`, line 20001, column `b`: `\"oh\"` cannot be Int64 without a loss, ")),
        "{line}"
    );
    let file = scratch.file("keys.ndjson", format!("{rows}{{\"a\":1,\"c\":2}}\n"));
    let line = scratch.fails(1, &["publish", &file, "--name", "u"]);
    assert!(line.starts_with(&format!("`{file}`, line 20001: no inspected row has the key `c`; read more")), "{line}");
    let file = scratch.file("broken.ndjson", "{\"a\":1}\n{\"a\":\n");
    let line = scratch.fails(1, &["publish", &file, "--name", "u"]);
    assert!(line.starts_with(&format!("`{file}`, line 2: not one JSON object (")), "{line}");
}

#[test]
fn files_that_are_cut_short_are_refused_wherever_they_end() {
    let scratch = with_frame();
    let parquet = fs::read(flights()).unwrap();
    let arrow = fs::read(scratch.store_path().join("t.arrow")).unwrap();
    for (name, bytes) in [("cut.parquet", &parquet), ("cut.arrow", &arrow)] {
        for part in [9, 50, 99] {
            let file = scratch.file(name, &bytes[..bytes.len() * part / 100]);
            let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
            assert!(line.starts_with(&format!("`{file}` ")), "{line}");
        }
    }
    // The footer is whole, and pages are not.
    let mut damaged = parquet.clone();
    damaged[1_000_000..1_100_000].fill(0xAA);
    let file = scratch.file("damaged.parquet", damaged);
    let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
    assert!(line.starts_with(&format!("`{file}` is not a complete Parquet file")), "{line}");
    assert_as_it_was(&scratch);
}

#[test]
fn missing_files_and_files_of_unknown_format_are_refused() {
    let scratch = with_frame();
    let missing = scratch.path("nix.csv").to_str().unwrap().to_owned();
    let line = scratch.fails(1, &["publish", &missing]);
    assert!(line.starts_with(&format!("could not open `{missing}`: No such file")), "{line}");
    let pattern = scratch.path("*.nix").to_str().unwrap().to_owned();
    assert!(scratch.fails(1, &["publish", &pattern]).starts_with("no file matches"));
    let file = scratch.file("what", "a\n1\n");
    assert!(scratch.fails(2, &["publish", &file]).contains("name it with --format"));
    let file = scratch.file("a.parquet", "a\n1\n");
    assert!(scratch.fails(1, &["publish", &file]).contains("starts like neither a Parquet nor an Arrow IPC file"));
    let file = scratch.file("empty.csv", "");
    assert!(scratch.fails(1, &["publish", &file]).contains("is empty"));
    let file = scratch.file("array.json", "[{\"a\":1}]");
    assert!(scratch.fails(1, &["publish", &file]).contains("is one JSON array"));
    let file = scratch.file("-bad name.csv", "a\n1\n");
    assert!(scratch.fails(2, &["publish", &file]).contains("is not a frame name"));
    assert_as_it_was(&scratch);
}

#[test]
fn an_error_of_a_full_store_advises_and_leaves_the_store_unchanged() {
    let scratch = with_frame();
    let file = flights();
    let output = scratch.command(&["publish", &file, "--name", "t"]).env("COFRAME_FAILPOINT", "full:write").output();
    let output = output.unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.starts_with("coframe: no space left in the store `") && line.contains("remove frames"), "{line}");
    assert_as_it_was(&scratch);
}

#[test]
fn ctrl_c_during_publish_leaves_nothing() {
    let scratch = with_frame();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut command = scratch.command(&["publish", "-", "--format", "csv", "--name", "t"]);
        let mut child = Reaper(command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut stdin = child.0.stdin.take().unwrap();
        stdin.write_all(b"a,b\n").unwrap();
        // More than the inference reads, and than pipes and buffers hold: it is at work.
        for _ in 0..200_000 {
            stdin.write_all(b"1,text that takes some room\n").unwrap();
        }
        kill_process(Pid::from_child(&child.0), signal).unwrap();
        let status = child.0.wait().unwrap();
        let found = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(found, Some(signal.as_raw()), "{status}");
        assert_as_it_was(&scratch);
    }
}

/// Bytes of files without a name that a process has open in the store.
fn draft_bytes(scratch: &Scratch, pid: u32) -> u64 {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|descriptor| descriptor.unwrap().path());
    let store = scratch.store_path();
    let is_draft = |path: &std::path::PathBuf| fs::read_link(path).is_ok_and(|link| link.starts_with(&store));
    descriptors.filter(is_draft).filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
}

#[test]
fn ctrl_c_leaves_nothing_of_a_frame_that_is_written_and_not_yet_named() {
    let scratch = with_frame();
    for (step, signal) in [("before-seal", Signal::INT), ("sealed", Signal::INT), ("sealed", Signal::TERM)] {
        let mut command = scratch.command(&["publish", &flights(), "--name", "t"]);
        let child = command.env("COFRAME_FAILPOINT", format!("stop:{step}")).stderr(Stdio::null()).spawn().unwrap();
        let mut child = Reaper(child);
        let pid = Pid::from_child(&child.0);
        let stat = format!("/proc/{}/stat", child.0.id());
        while !fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(child.0.try_wait().unwrap().is_none(), "the publish was over before {step}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let written = draft_bytes(&scratch, child.0.id());
        assert!(written > 20 << 20, "{step}: {written}");
        kill_process(pid, signal).unwrap();
        kill_process(pid, Signal::CONT).unwrap();
        let status = child.0.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(signal.as_raw()), "{status}");
        assert_as_it_was(&scratch);
    }
}

#[test]
fn a_killed_export_leaves_no_file() {
    let scratch = scratch();
    scratch.ok(&["publish", &flights()]);
    let path = scratch.path("out.ndjson");
    let child = scratch.command(&["export", "flights", path.to_str().unwrap()]).spawn().unwrap();
    let mut child = Reaper(child);
    // Once it has its file without a name open, it is writing.
    let descriptors = format!("/proc/{}/fd", child.0.id());
    let is_writing = || {
        let links =
            fs::read_dir(&descriptors).into_iter().flatten().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        links.into_iter().any(|link| link.starts_with(scratch.path("")))
    };
    while !is_writing() {
        assert!(child.0.try_wait().unwrap().is_none(), "the export was over before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&child.0), Signal::INT).unwrap();
    child.0.wait().unwrap();
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 0);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let scratch = scratch();
    scratch.ok(&["publish", &flights()]);
    let rows = "400000";
    let commands: [&[&str]; 6] = [
        &["head", "flights", "-n", rows, "--csv"],
        &["head", "flights", "-n", rows, "--json"],
        &["sql", "select * from flights", "--csv"],
        &["sql", "select * from flights", "--ndjson"],
        &["export", "flights", "-", "--format", "parquet"],
        &["export", "flights", "-", "--format", "arrow"],
    ];
    for args in commands {
        let mut command = scratch.command(args);
        let mut child = Reaper(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut first = [0];
        child.0.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let mut errors = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let status = child.0.wait().unwrap();
        assert_eq!((status.code(), errors.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn exit_codes_report_what_happened() {
    let scratch = with_frame();
    for args in [&["show", "nix"][..], &["head", "t@7"], &["rm", "nix"], &["sql", "select * from nix"]] {
        scratch.fails(3, args);
    }
    scratch.fails(3, &["wait", "nix", "--timeout", "10ms"]);
    scratch.fails(1, &["sql", "select nix from t"]);
    scratch.fails(1, &["sql", "select a from t group"]);
    scratch.fails(2, &["rm", "t@1"]);
    for args in [&["head"][..], &["head", "../t"], &["nix"], &["wait", "t", "--timeout", "soon"], &[]] {
        assert_eq!(scratch.run(args).code, 2, "{args:?}");
    }
    for args in [&["--version"][..], &["--help"], &["publish", "--help"]] {
        let ran = scratch.run(args);
        assert_eq!((ran.code, ran.err.as_str(), ran.out.is_empty()), (0, "", false), "{args:?}");
    }
    assert_as_it_was(&scratch);
}

#[test]
fn reading_a_missing_store_does_not_create_it() {
    let scratch = scratch();
    for args in
        [&["ls"][..], &["show", "t"], &["sweep"], &["verify", "--all"], &["top", "--json"], &["sql", "select 1"]]
    {
        let line = scratch.fails(3, args);
        assert!(line.starts_with("no store found at `"), "{line}");
    }
    assert!(!scratch.store_path().exists());
    let other = scratch.path("other").to_str().unwrap().to_owned();
    let file = scratch.file("t.csv", "a\n1\n");
    scratch.ok(&["--store", &other, "publish", &file]);
    assert!(scratch.ok(&["ls", "--store", &other]).starts_with("NAME"));
    assert!(!scratch.store_path().exists());
}

#[test]
fn output_is_not_coloured_without_a_terminal_or_with_no_color() {
    let scratch = with_frame();
    for args in [&["ls"][..], &["doctor"], &["verify", "t"], &["head", "t"]] {
        assert!(!scratch.run(args).out.contains('\x1b'), "{args:?}");
    }
    // script(1) is not everywhere, so the terminal comes from the helper of `top`'s test.
    let coloured = crate::terminal::run(scratch.command(&["ls"]));
    assert!(coloured.contains("\x1b[1mNAME"), "{coloured:?}");
    let mut command = scratch.command(&["ls"]);
    command.env("NO_COLOR", "1");
    let plain = crate::terminal::run(command);
    assert!(plain.contains("NAME") && !plain.contains("\x1b["), "{plain:?}");
}

#[test]
fn readers_of_a_line_at_a_time_get_each_line_at_once() {
    let scratch = with_frame();
    let mut command: Command = scratch.command(&["watch", "t", "--json"]);
    let mut child = Reaper(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    let first = next();
    assert_eq!((&first["name"], &first["version"], &first["rows"]), (&"t".into(), &1.into(), &2.into()));
    for version in 2..5 {
        scratch.store().publish("t", &df!("a" => [version]).unwrap()).unwrap();
        assert_eq!(next()["version"], version);
    }
}

#[test]
fn values_of_csv_are_never_cut_to_the_type_of_the_rows_before() {
    let scratch = with_frame();
    let cases = [
        ("2024-01-01", "2024-01-01 10:00:00"),
        ("2024-01-01T00:00:00", "2024-01-01T00:00:00.123456789"),
        ("2024-01-01T00:00:00", "2024-01-01T10:00:00+02:00"),
        ("1234", "01234"),
        ("1.5", "01.5"),
    ];
    for (early, late) in cases {
        let file = scratch.file("late.csv", format!("a\n{}{late}\n", lines(|_| early.to_owned())));
        let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
        assert!(line.starts_with(&format!("`{file}`, line 20002, column `a`: `{late}` cannot be read as ")), "{line}");
        assert!(line.ends_with("(--string a)"), "{line}");
    }
    assert_as_it_was(&scratch);
}

#[test]
fn a_quote_that_is_never_closed_is_named_by_its_line() {
    let scratch = with_frame();
    for rows in ["1", "0"] {
        let file = scratch.file("open.csv", "a,b\n1,\"x\"\"y\"\n2,\"oh\n3,z\n");
        let line = scratch.fails(1, &["publish", &file, "--name", "t", "--infer-rows", rows]);
        assert_eq!(line, format!("`{file}`, line 3: a quote opens here that is never closed; correct the line"));
    }
    assert_as_it_was(&scratch);
}

#[test]
fn a_line_of_ndjson_is_one_object() {
    let scratch = with_frame();
    let rows = lines(|n| format!("{{\"a\":{n}}}"));
    for (wrong, column) in [("{\"a\":1}{\"a\":2}", 8), ("[1]", 0), ("{\"a\":", 5)] {
        for rows in ["", rows.as_str()] {
            let file = scratch.file("lines.ndjson", format!("{{\"a\":0}}\n{rows}{wrong}\n{{\"a\":3}}\n"));
            let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
            let number = 2 + rows.lines().count();
            assert!(line.starts_with(&format!("`{file}`, line {number}: not one JSON object (")), "{line}");
            assert!(line.ends_with(&format!(", column {column}); correct or remove the line")), "{line}");
        }
    }
    assert_as_it_was(&scratch);
}

#[test]
fn any_number_of_empty_lines_is_skipped_and_counted() {
    let scratch = scratch();
    let empty = "\n".repeat(30_000);
    let file = scratch.file("empty.ndjson", format!("{{\"a\":1}}\n{empty}{{\"a\":2}}\n{empty}"));
    scratch.ok(&["publish", &file, "--name", "lines"]);
    assert_eq!(scratch.ok(&["head", "lines", "--csv"]), "a\n1\n2\n");
    let file = scratch.file("empty.ndjson", format!("{{\"a\":1}}\n{empty}{{\"a\":[]}}\n"));
    let line = scratch.fails(1, &["publish", &file, "--name", "t", "--infer-rows", "1"]);
    assert!(line.starts_with(&format!("`{file}`, line 30002, column `a`: ")), "{line}");
}

#[test]
fn a_duplicate_key_is_reported_with_its_line() {
    let scratch = with_frame();
    let file = scratch.file("twice.ndjson", "{\"a\":1}\n{\"a\":1,\"\\u0061\":2}\n");
    let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
    assert_eq!(line, format!("`{file}`, line 2: the key `a` occurs twice; correct the line"));
    let file = scratch.file("twice.ndjson", "{\"a\":[{\"b\":1}]}\n{\"a\":[null,{\"b\":1,\"b\":2}]}\n");
    let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
    assert_eq!(line, format!("`{file}`, line 2: the key `a[1].b` occurs twice; correct the line"));
    assert_as_it_was(&scratch);
}

#[test]
fn options_that_apply_to_no_file_are_refused() {
    let scratch = with_frame();
    let (parquet, ndjson) = (flights(), scratch.file("n.ndjson", "{\"a\":1}\n"));
    for option in [&["--null", "NA"][..], &["--delimiter", ";"], &["--no-header"]] {
        for file in [&parquet, &ndjson] {
            let line = scratch.fails(2, &[&["publish", file, "--name", "t"], option].concat());
            assert!(line.starts_with(&format!("{} is for CSV, and no file is", option[0])), "{line}");
        }
    }
    let line = scratch.fails(2, &["publish", &parquet, "--name", "t", "--infer-rows", "5"]);
    assert!(line.starts_with("--infer-rows is for CSV or NDJSON, and no file is"), "{line}");
    assert_as_it_was(&scratch);
}

#[test]
fn numbers_of_ndjson_are_never_truncated_rounded_or_read_from_strings() {
    let scratch = with_frame();
    let cases = [
        ("1", "1.5"),
        ("[1]", "[1.5]"),
        ("1", "\"1\""),
        ("1.5", "9007199254740993"),
        ("1.5", "18446744073709551615"),
        ("1.5", "18446744073709551617"),
        ("{\"b\":[1.5]}", "{\"b\":[null,1e999]}"),
    ];
    for (early, late) in cases {
        let rows = lines(|_| format!("{{\"a\":{early}}}"));
        let file = scratch.file("late.ndjson", format!("{rows}{{\"a\":{late}}}\n"));
        let line = scratch.fails(1, &["publish", &file, "--name", "t"]);
        assert!(line.starts_with(&format!("`{file}`, line 20001, column `a`: `")), "{line}");
    }
    assert_as_it_was(&scratch);
}
