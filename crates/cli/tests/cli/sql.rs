//! Which tables and columns a query of `coframe sql` reads.

use coframe::arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    compute::concat_batches,
    ipc::writer::StreamWriter,
};
use polars::prelude::df;

use crate::common::{Scratch, scratch};

/// Frames `t` (100, 5), `u` (7) and `a.b` (1).
fn frames() -> Scratch {
    let scratch = scratch();
    let store = scratch.store();
    store.publish("t", &df!("v" => [100, 5]).unwrap()).unwrap();
    store.publish("u", &df!("v" => [7]).unwrap()).unwrap();
    store.publish("a.b", &df!("v" => [1]).unwrap()).unwrap();
    scratch
}

#[test]
fn a_name_means_the_innermost_table_that_has_it() {
    let scratch = frames();
    for (query, expected) in [
        ("with t as (select 1 as v) select v from t", "1"),
        ("with t as (select v + 1 as v from t) select t.v from t order by v", "6 101"),
        ("with u as (select 5 as v) select v from t where v in (select v from u) order by v", "5"),
        ("with x as (with t as (select 2 as v) select v from t) select x.v + t.v as v from x cross join t", "102 7"),
        ("with x as (select 3 as v), t as (select v from x), x2 as (select v from t) select v from x2", "3"),
        ("select t.v from u as t", "7"),
        ("select t.v + u.v as v from u as t cross join t as u order by v", "12 107"),
        ("select x.v from (select 9 as v) as t cross join t as x order by v", "5 100"),
        ("with t as (select 1 as v) select y.v from (select 2 as v) as t cross join t as y", "1"),
        ("explain select v from t", "any"),
    ] {
        let out = scratch.ok(&["sql", query, "--csv"]);
        let found = out.lines().skip(1).collect::<Vec<_>>().join(" ");
        assert!(found == expected || expected == "any", "{query}: {found}");
    }
}

#[test]
fn the_set_operations_and_joins_of_sql_work() {
    let scratch = frames();
    for (query, expected) in [
        ("select v from t except select v from u order by v", "5 100"),
        ("select v from t intersect select v from t order by v", "5 100"),
        ("select v from t semi join u using (v)", ""),
        ("select v from t anti join u using (v) order by v", "5 100"),
        ("select v from t union all select v from u order by v", "5 7 100"),
    ] {
        let out = scratch.ok(&["sql", query, "--csv"]);
        assert_eq!(out.lines().skip(1).collect::<Vec<_>>().join(" "), expected, "{query}");
    }
}

#[test]
fn what_would_be_read_from_another_table_is_refused() {
    let scratch = frames();
    for (code, query, part) in [
        // Polars would read a frame `a`, if there were one.
        (2, "select * from a.b", "quote a name that has a dot in it"),
        (2, "(select v from u) union all table t", "select * from t"),
        (2, "select 1 as v; select 2 as v", "one statement, not 2"),
        (1, "select v from (with t as (select 1 as v) select v from t) as x", "WITH only at the start"),
        (3, "select v from (select 9 as v) as d cross join d", "`d`"),
        (3, "select * from nix", "the store has a.b, t, u"),
        (3, "select * from \"t@7\"", "frame `t@7` not found"),
        (1, "select v from t where", "the query failed"),
    ] {
        let line = scratch.fails(code, &["sql", query]);
        assert!(line.contains(part), "{query}: {line}");
    }
    assert_eq!(scratch.ok(&["sql", "select v from \"a.b\"", "--csv"]), "v\n1\n");
}

#[test]
fn columns_that_polars_cannot_take_matter_only_to_queries_that_read_them() {
    let scratch = scratch();
    let at = TimestampMicrosecondArray::from(vec![0, 1]).with_timezone("+05:30");
    let columns: [(&str, ArrayRef); 2] =
        [("n", std::sync::Arc::new(Int64Array::from(vec![3, 4]))), ("at", std::sync::Arc::new(at))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let batch = concat_batches(&batch.schema(), [&batch, &batch]).unwrap();
    scratch.store().publish("t", &batch).unwrap();
    assert_eq!(scratch.ok(&["sql", "select sum(n) as s, count(*) as c from t", "--csv"]), "s,c\n14,4\n");
    assert_eq!(scratch.ok(&["sql", "select count(*) as c from t", "--csv"]), "c\n4\n");
    for query in
        ["select * from t", "select t.* from t", "select n, t.AT from t", "from t", "select columns('n') from t"]
    {
        let line = scratch.fails(1, &["sql", query]);
        assert!(line.contains("`at`"), "{query}: {line}");
    }
}

#[test]
fn a_query_is_read_from_a_file_or_standard_input() {
    let scratch = frames();
    let file = scratch.file("q.sql", "-- the least\nselect min(v) as v\nfrom t;\n");
    assert_eq!(scratch.ok(&["sql", "-f", &file, "--csv"]), "v\n5\n");
    let ran = scratch.run_with_input(&["sql", "-f", "-", "--csv"], b"select v from u");
    assert_eq!((ran.code, ran.out.as_str()), (0, "v\n7\n"), "{}", ran.err);
    assert_eq!(scratch.run(&["sql", "select 1", "-f", &file]).code, 2);
    assert_eq!(scratch.run(&["sql"]).code, 2);
    assert!(scratch.fails(1, &["sql", "-f", "/nix.sql"]).contains("could not read the query"));
}

/// Runs the command with a program `coframe-datafusion` that is this script.
fn with_engine(scratch: &Scratch, script: &str, args: &[&str]) -> std::process::Output {
    use std::os::unix::fs::PermissionsExt;
    let program = scratch.file("coframe-datafusion", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let folder = scratch.path("");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    scratch.command(args).env("PATH", path).output().unwrap()
}

#[test]
fn another_engine_gets_the_query_and_its_rows_are_printed_or_published() {
    let scratch = frames();
    let stream = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/conformance/uint8.arrow");
    let asked = scratch.path("asked");
    let script = format!("echo \"$1\" > '{asked}'; cat >> '{asked}'; cat '{stream}'", asked = asked.display());
    let output = with_engine(&scratch, &script, &["sql", "--engine", "datafusion", "explain select 1", "--csv"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let asked = std::fs::read_to_string(asked).unwrap();
    assert_eq!(asked, format!("{}\nexplain select 1", scratch.store_path().display()));
    let rows = String::from_utf8(output.stdout).unwrap().lines().count() - 1;
    let published =
        with_engine(&scratch, &script, &["sql", "--engine", "datafusion", "select 1", "--publish", "answer"]);
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    assert_eq!(scratch.store().open("answer").unwrap().num_rows(), rows);
    let table = with_engine(&scratch, &script, &["sql", "--engine", "datafusion", "select 1", "-n", "1"]);
    assert!(String::from_utf8(table.stderr).unwrap().contains(&format!("1 of {rows} rows")));
}

#[test]
fn a_plan_is_printed_as_its_lines_and_not_cut() {
    let scratch = frames();
    let scan = format!("DataSourceExec: projection=[{}]", ["a_long_name"; 30].join(", "));
    let column = |texts: [&str; 2]| std::sync::Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let plan = format!("FilterExec: v > 5\n  {scan}\n");
    let columns = [("plan_type", column(["logical_plan", "physical_plan"])), ("plan", column(["TableScan: t", &plan]))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let stream = scratch.path("plan");
    let mut writer = StreamWriter::try_new(std::fs::File::create(&stream).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let script = format!("cat > /dev/null; cat '{}'", stream.display());
    let shown = |query: &str, option: &str| {
        let output = with_engine(&scratch, &script, &["sql", "--engine", "datafusion", query, option]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let lines = format!("logical_plan\n  TableScan: t\n\nphysical_plan\n  FilterExec: v > 5\n    {scan}\n");
    assert_eq!(shown("EXPLAIN select v from t", "--rows=50"), lines);
    // Data formats, and a query of a table with such columns, are rows.
    assert!(shown("explain select v from t", "--csv").starts_with("plan_type,plan\n"));
    assert!(shown("select * from plans", "--rows=50").contains('│'));
}

#[test]
fn an_engine_that_fails_or_is_missing_is_one_line() {
    let scratch = frames();
    let args = ["sql", "--engine", "datafusion", "select nothing"];
    for (script, message) in [
        ("cat > /dev/null; echo 'no column nothing\n  in t' >&2; exit 1", "coframe: no column nothing in t\n"),
        ("exit 3", "coframe: coframe-datafusion ended with exit status: 3\n"),
        ("kill -9 $$", "coframe: coframe-datafusion ended with signal: 9 (SIGKILL)\n"),
    ] {
        let output = with_engine(&scratch, script, &args);
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(1), message));
    }
    let output = with_engine(&scratch, "cat > /dev/null; echo 'not a stream'", &args);
    assert!(!output.status.success());
    let missing = scratch.command(&args).env("PATH", "").output().unwrap();
    let message = String::from_utf8(missing.stderr).unwrap();
    assert!(missing.status.code() == Some(2) && message.contains("cargo install --path"), "{message}");
    let refused = with_engine(&scratch, "exit 0", &["sql", "--engine", "datafusion", "drop table t"]);
    assert_eq!(refused.status.code(), Some(2));
}
