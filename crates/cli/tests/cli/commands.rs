//! Each command, and the keys that docs/CLI.md promises.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{FileExt, PermissionsExt},
    process::Stdio,
    time::Duration,
};

use coframe::{PublishOptions, polars::prelude::*};
use serde_json::{Value, json};

use crate::common::{Reaper, Scratch, flights, scratch};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn with_flights() -> Scratch {
    let scratch = scratch();
    scratch.ok(&["publish", &flights(), "--metadata", "source=nycflights13"]);
    scratch
}

#[test]
fn every_json_has_the_keys_that_the_documentation_promises() {
    let scratch = with_flights();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CLI.md");
    let docs = fs::read_to_string(docs).unwrap();
    let section = docs.split("## JSON").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented: serde_json::Map<String, Value> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().trim_end_matches('`').to_owned();
            let keys: Vec<String> = cells.next()?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            Some((name, json!(keys)))
        })
        .collect();
    let file = scratch.path("x.csv").to_str().unwrap().to_owned();
    let commands: [(&str, &[&str]); 19] = [
        ("publish", &["publish", &flights()]),
        ("ls", &["ls"]),
        ("show", &["show", "flights"]),
        ("head", &["head", "flights"]),
        ("tail", &["tail", "flights"]),
        ("sample", &["sample", "flights"]),
        ("describe", &["describe", "flights", "--columns", "month,carrier"]),
        ("sql", &["sql", "select 1 as one"]),
        ("export", &["export", "flights", &file, "--columns", "month"]),
        ("cp", &["cp", "flights", "other"]),
        ("mv", &["mv", "other", "moved"]),
        ("sweep", &["sweep"]),
        ("adopt", &["adopt"]),
        ("wait", &["wait", "flights"]),
        ("watch", &["watch", "flights", "--count", "1"]),
        ("verify", &["verify", "--all"]),
        ("top", &["top"]),
        ("completions", &["completions", "bash"]),
        ("rm", &["rm", "moved"]),
    ];
    for (name, args) in commands {
        let mut found: Vec<String> = keys(&scratch.json(args)).into_iter().map(str::to_owned).collect();
        let mut expected: Vec<String> = serde_json::from_value(documented[name].clone()).unwrap();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
    let ran = scratch.run(&["doctor", "--json"]);
    let doctor: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json!(keys(&doctor)), json!(["findings", "store"]));
    assert_eq!(documented.len(), commands.len() + 1);
}

#[test]
fn ls_shows_sizes_users_and_superseded_versions_in_use() {
    let scratch = scratch();
    let store = scratch.store();
    let first = store.publish("t", &df!("a" => [1, 2]).unwrap()).unwrap();
    drop(store.publish("t", &df!("a" => [1, 2, 3]).unwrap()).unwrap());
    drop(store.publish("u", &df!("a" => [0.5]).unwrap()).unwrap());
    // A child that another test starts counts as a user until it executes its program.
    let listing = (0..50).map(|_| scratch.json(&["ls"])).find(|listing| listing["frames"][0]["users"] == 1).unwrap();
    let frame = &listing["frames"][0];
    assert_eq!(
        (&frame["name"], &frame["version"], &frame["rows"], &frame["columns"]),
        (&json!("t"), &json!(2), &json!(3), &json!(1))
    );
    assert_eq!(frame["superseded"], json!([{ "version": 1, "users": 1 }]));
    assert_eq!((&listing["frames"][1]["users"], &listing["store"]["segments"]), (&json!(0), &json!(3)));
    let text = (0..50).map(|_| scratch.ok(&["ls"])).find(|text| text.contains("@1 (1 user)")).unwrap();
    assert!(text.contains("2 frames") && text.contains("free in"), "{text}");
    assert_eq!(scratch.json(&["ls", "u*"])["frames"].as_array().unwrap().len(), 1);
    drop(first);
    assert_eq!(scratch.json(&["sweep"])["segments"], 1);
    assert_eq!(scratch.json(&["ls"])["frames"][0]["superseded"], json!([]));
}

#[test]
fn show_prints_types_copies_metadata_and_the_processes_that_map_the_frame() {
    let scratch = with_flights();
    let shown = scratch.json(&["show", "flights"]);
    assert_eq!(shown["metadata"], json!({ "source": "nycflights13" }));
    let column = |name: &str| shown["columns"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap().clone();
    let carrier = column("carrier");
    assert_eq!((&carrier["arrow"], &carrier["polars"]), (&json!("Dictionary(UInt32, Utf8View)"), &json!("cat")));
    assert_eq!((&column("month")["shared"], &column("month")["copied"]), (&json!(336_776), &json!(0)));
    assert_eq!(shown["users"], json!([]));
    let frame = scratch.store().open("flights").unwrap();
    frame.to_polars().unwrap().column("month").unwrap().sum_reduce().unwrap();
    let users = scratch.json(&["show", "flights"])["users"].clone();
    assert_eq!((&users[0]["pid"], &users[0]["version"]), (&json!(std::process::id()), &json!(1)));
    assert!(users[0]["pss"].as_u64().unwrap() > 0, "{users}");
    let text = scratch.ok(&["show", "flights@1"]);
    assert!(text.contains("336 776 rows, 20 columns") && text.contains(&std::process::id().to_string()), "{text}");
}

#[test]
fn head_tail_and_sample_give_the_rows_that_they_name() {
    let scratch = scratch();
    let numbers: Vec<i64> = (0..1000).collect();
    let df = df!("n" => &numbers, "m" => &numbers).unwrap();
    scratch.store().publish_with("t", &df, &PublishOptions::new().batch_rows(300)).unwrap();
    assert_eq!(scratch.ok(&["head", "t", "-n", "2", "--csv"]), "n,m\n0,0\n1,1\n");
    assert_eq!(scratch.ok(&["tail", "t", "-n", "2", "--csv", "--columns", "m"]), "m\n998\n999\n");
    assert_eq!(scratch.json(&["head", "t", "-n", "5000"])["rows"].as_array().unwrap().len(), 1000);
    let sample = || scratch.json(&["sample", "t", "-n", "50", "--seed", "7"]);
    let rows: Vec<i64> = sample()["rows"].as_array().unwrap().iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert!(rows.len() == 50 && rows.is_sorted_by(|a, b| a < b), "{rows:?}");
    assert_eq!(sample(), sample());
    scratch.store().publish("t", &df!("n" => [5]).unwrap()).unwrap();
    assert!(scratch.fails(3, &["head", "t@1"]).contains("`t@1` is superseded"));
    let never = scratch.path("never.csv");
    for command in [&["head", "t"][..], &["describe", "t"], &["export", "t", never.to_str().unwrap()]] {
        let line = scratch.fails(3, &[command, &["--columns", "n,nix"]].concat());
        assert_eq!(line, "`t` has no column `nix`; it has `n`");
    }
}

#[test]
fn an_older_version_is_reached_by_its_number() {
    let scratch = scratch();
    let file = scratch.file("t.csv", "a\n1\n");
    scratch.ok(&["publish", &file, "--keep", "1"]);
    let file = scratch.file("t.csv", "a\n2\n");
    scratch.ok(&["publish", &file, "--keep", "1"]);
    assert_eq!(scratch.ok(&["head", "t@1", "--csv"]), "a\n1\n");
    assert_eq!(scratch.ok(&["sql", "select t.a - o.a as d from t cross join \"t@1\" o", "--csv"]), "d\n1\n");
    scratch.ok(&["cp", "t@1", "old"]);
    assert_eq!(scratch.ok(&["head", "old", "--csv"]), "a\n1\n");
    scratch.ok(&["verify", "t@1"]);
    assert!(scratch.fails(1, &["publish", &file, "--update", "1"]).contains("expected version 1 to be the latest"));
}

#[test]
fn describe_counts_and_measures_each_column() {
    let scratch = scratch();
    let df = df!(
        "n" => [Some(1.0), Some(2.0), Some(3.0), Some(4.0), None],
        "t" => [Some("x"), Some("y"), Some("x"), Some("x"), None],
        "b" => [true, false, true, true, true],
        "flat" => [7, 7, 7, 7, 7],
    )
    .unwrap();
    scratch.store().publish("t", &df).unwrap();
    let described = scratch.json(&["describe", "t"]);
    let n = &described["columns"][0];
    for (key, value) in [("count", 4.0), ("nulls", 1.0), ("distinct", 4.0), ("min", 1.0), ("max", 4.0), ("mean", 2.5)] {
        assert_eq!(n[key].as_f64(), Some(value), "{key}");
    }
    assert_eq!(n["histogram"], json!({ "from": 1.0, "to": 4.0, "counts": [1, 0, 0, 1, 0, 0, 1, 0, 0, 1] }));
    let t = &described["columns"][1];
    assert_eq!(t["top"], json!([{ "value": "x", "count": 3 }, { "value": "y", "count": 1 }]));
    assert_eq!((&t["min"], &t["max"], &t["mean"], &t["distinct"]), (&json!("x"), &json!("y"), &Value::Null, &json!(2)));
    assert_eq!(described["columns"][2]["mean"], 0.8);
    assert_eq!(described["columns"][3]["histogram"]["counts"][0], 5);
    let text = scratch.ok(&["describe", "t"]);
    assert!(text.contains("x 75%, y 25%") && text.contains("█"), "{text}");
}

#[test]
fn describe_agrees_with_polars_on_every_column_of_the_flights() {
    let scratch = with_flights();
    let described = scratch.json(&["describe", "flights"]);
    let df = scratch.store().open("flights").unwrap().to_polars().unwrap();
    for (column, described) in df.columns().iter().zip(described["columns"].as_array().unwrap()) {
        assert_eq!(described["name"], column.name().as_str());
        assert_eq!(described["nulls"], column.null_count());
        let nulls = usize::from(column.null_count() > 0);
        assert_eq!(described["distinct"], column.n_unique().unwrap() - nulls, "{}", column.name());
        if column.dtype().is_primitive_numeric() {
            let mean = column.as_materialized_series().mean().unwrap();
            let found = described["mean"].as_f64().unwrap();
            assert!((found - mean).abs() <= mean.abs() * 1e-5, "{}: {found} {mean}", column.name());
            let counts = described["histogram"]["counts"].as_array().unwrap();
            let counted: u64 = counts.iter().map(|count| count.as_u64().unwrap()).sum();
            assert_eq!(counted as usize, column.len() - column.null_count());
        }
    }
}

#[test]
fn sql_prints_every_format_and_publishes() {
    let scratch = with_flights();
    let query = "select carrier, count(*) as n from flights group by carrier order by n desc limit 2";
    assert_eq!(scratch.ok(&["sql", query, "--csv"]), "carrier,n\nUA,58665\nB6,54635\n");
    let rows = json!([{ "carrier": "UA", "n": 58665 }, { "carrier": "B6", "n": 54635 }]);
    assert_eq!(scratch.json(&["sql", query])["rows"], rows);
    assert_eq!(scratch.ok(&["sql", query, "--ndjson"]).lines().count(), 2);
    assert!(scratch.ok(&["sql", query]).contains("│ UA      ┆ 58665 │"));
    let path = scratch.path("out.parquet").to_str().unwrap().to_owned();
    scratch.ok(&["sql", query, "--parquet", &path]);
    scratch.fails(1, &["sql", query, "--parquet", &path]);
    scratch.ok(&["sql", query, "--publish", "top-two"]);
    // A name that SQL does not take is quoted.
    assert_eq!(scratch.ok(&["sql", "select sum(n) as n from \"top-two\"", "--csv"]), "n\n113300\n");
    let line = scratch.fails(3, &["sql", "select * from nix"]);
    assert_eq!(line, "frame `nix` not found for the query; the store has flights, top-two");
}

#[test]
fn cp_keeps_values_types_and_metadata_and_rm_takes_patterns() {
    let scratch = with_flights();
    scratch.ok(&["cp", "flights", "copy-1"]);
    scratch.ok(&["cp", "flights", "copy-2"]);
    let (from, to) = (scratch.store().open("flights").unwrap(), scratch.store().open("copy-1").unwrap());
    assert_eq!((from.schema(), from.metadata()), (to.schema(), to.metadata()));
    assert!(from.to_polars().unwrap().equals_missing(&to.to_polars().unwrap()));
    let ran = scratch.run(&["rm", "copy-*", "nix", "--json"]);
    assert_eq!(ran.code, 3);
    let removed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(removed, json!({ "removed": ["copy-1", "copy-2"], "missing": ["nix"] }));
    assert_eq!(scratch.entries(), ["flights.arrow", "flights@1.arrow"]);
    assert_eq!(to.num_rows(), 336_776);
}

#[test]
fn wait_returns_when_the_version_comes() {
    let scratch = scratch();
    let mut command = scratch.command(&["wait", "t", "--newer-than", "1", "--timeout", "60s"]);
    let mut child = Reaper(command.stdout(Stdio::piped()).spawn().unwrap());
    scratch.store().publish("t", &df!("a" => [1]).unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.0.try_wait().unwrap().is_none());
    scratch.store().publish("t", &df!("a" => [1]).unwrap()).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert_eq!(scratch.ok(&["wait", "t", "--newer-than", "1"]), "2\n");
    scratch.fails(3, &["wait", "t", "--newer-than", "2", "--timeout", "20ms"]);
    // Longer than the clock of the machine counts.
    assert_eq!(scratch.ok(&["wait", "t", "--newer-than", "1", "--timeout", "9999999999999999999s"]), "2\n");
}

#[test]
fn watch_continues_in_a_store_that_was_removed_and_recreated() {
    let scratch = scratch();
    let frame = |rows: i32| df!("a" => (0..rows).collect::<Vec<_>>()).unwrap();
    for rows in [1, 2] {
        drop(scratch.store().publish("t", &frame(rows)).unwrap());
    }
    let mut command = scratch.command(&["watch", "t", "--count", "2"]);
    let mut child = Reaper(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("t@2 2 rows"));
    fs::remove_dir_all(scratch.store_path()).unwrap();
    drop(scratch.store().publish("t", &frame(3)).unwrap());
    assert!(lines.next().unwrap().unwrap().contains("t@1 3 rows"));
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

/// Changes one byte of a segment, as a careless root could.
fn damage(scratch: &Scratch, file: &str, at: impl Fn(u64) -> u64) {
    let path = scratch.store_path().join(file);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let at = at(file.metadata().unwrap().len());
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0xFF], at).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
}

#[test]
fn verify_finds_a_changed_file_and_names_the_rule() {
    let scratch = scratch();
    let store = scratch.store();
    let texts = df!("a" => ["a text that is longer than a view", "and another one that is", "x"]).unwrap();
    drop(store.publish("bad", &texts).unwrap());
    drop(store.publish("cut", &texts).unwrap());
    drop(store.publish("good", &texts).unwrap());
    scratch.ok(&["verify", "--all"]);
    // The first string of the column: 0xFF is not UTF-8.
    let bytes = fs::read(scratch.store_path().join("bad@1.arrow")).unwrap();
    let text = bytes.windows(6).position(|window| window == b"longer").unwrap() as u64;
    damage(&scratch, "bad@1.arrow", |_| text);
    damage(&scratch, "cut@2.arrow", |len| len - 3);
    let ran = scratch.run(&["verify", "--all"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("bad: damaged: ") && ran.out.contains("rule V1-values of docs/FORMAT.md"), "{}", ran.out);
    assert!(ran.out.contains("good@3: ok"), "{}", ran.out);
    assert_eq!(ran.err, "coframe: 2 damaged; publish from the source again\n");
    let report: Value = serde_json::from_str(&scratch.run(&["verify", "bad", "cut", "good", "--json"]).out).unwrap();
    let rules: Vec<&Value> = report["frames"].as_array().unwrap().iter().map(|frame| &frame["rule"]).collect();
    assert_eq!(rules, [&json!("V1-values"), &json!("S1-magic"), &Value::Null]);
    // One that cannot even be opened is listed with the reason, and is not hidden.
    let listing = scratch.json(&["ls"]);
    assert!(listing["frames"][1]["error"].as_str().unwrap().contains("S1-magic"), "{listing}");
    assert!(scratch.ok(&["ls"]).contains("breaks rule S1-magic"));
}

#[test]
fn doctor_finds_faults_and_reports_how_to_repair_them() {
    let scratch = scratch();
    let finding = |check: &str| {
        let ran = scratch.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let finding = findings.into_iter().find(|finding| finding["check"] == check).unwrap();
        (
            ran.code,
            finding["level"].as_str().unwrap().to_owned(),
            finding["fix"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(finding("store"), (0, "warning".to_owned(), "coframe publish FILE".to_owned()));
    let store = scratch.store();
    let path = scratch.store_path();
    drop(store.publish("t", &df!("a" => [1]).unwrap()).unwrap());
    for check in ["permissions", "leftovers", "frames"] {
        assert_eq!(finding(check), (0, "ok".to_owned(), String::new()), "{check}");
    }
    let root = rustix::process::geteuid().is_root();
    assert_eq!(finding("user").1, if root { "warning" } else { "ok" });
    assert!(["ok", "warning"].contains(&finding("huge pages").1.as_str()));
    assert_eq!(scratch.entries(), ["t.arrow", "t@1.arrow"]);

    // A publisher that died between its two steps.
    fs::copy(path.join("t@1.arrow"), path.join("u@9.arrow")).unwrap();
    assert_eq!(finding("leftovers"), (0, "warning".to_owned(), "coframe sweep".to_owned()));
    scratch.ok(&["sweep"]);
    assert_eq!(finding("leftovers").1, "ok");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(finding("permissions"), (0, "warning".to_owned(), format!("chmod 700 {}", path.display())));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(finding("permissions"), (1, "problem".to_owned(), format!("chmod 700 {}", path.display())));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    damage(&scratch, "t@1.arrow", |len| len - 3);
    assert_eq!(finding("frames"), (1, "problem".to_owned(), "coframe rm t; coframe publish FILE --name t".to_owned()));
    assert!(scratch.run(&["doctor"]).out.contains("repair: coframe rm t"));
}

#[test]
fn completions_know_the_commands_of_each_shell() {
    let scratch = scratch();
    for shell in ["bash", "zsh", "fish"] {
        let script = scratch.ok(&["completions", shell]);
        assert!(script.contains("publish") && script.contains("doctor"), "{shell}");
    }
}

#[test]
fn describe_reports_columns_without_values() {
    let scratch = scratch();
    let nothing = df!("d" => [None::<i32>, None]).unwrap();
    let mut columns = Vec::new();
    let temporal = [DataType::Date, DataType::Time, DataType::Datetime(TimeUnit::Microseconds, None)];
    let others = [DataType::Int64, DataType::Float64, DataType::String, DataType::Boolean, DataType::Null];
    for dtype in temporal.into_iter().chain(others) {
        columns.push(nothing.column("d").unwrap().cast(&dtype).unwrap().with_name(dtype.to_string().into()));
    }
    let df = DataFrame::new(2, columns).unwrap();
    for (rows, df) in [(2, df.clone()), (0, df.clear())] {
        scratch.store().publish("t", &df).unwrap();
        for column in scratch.json(&["describe", "t"])["columns"].as_array().unwrap() {
            assert_eq!((&column["count"], &column["nulls"]), (&json!(0), &json!(rows)), "{column}");
            for key in ["min", "q25", "median", "q75", "max", "mean", "histogram", "error"] {
                assert_eq!(column[key], Value::Null, "{column}");
            }
        }
    }
}

#[test]
fn describe_names_columns_that_it_cannot_read_and_describes_the_others() {
    use coframe::arrow::{
        array::{ArrayRef, Int64Array, IntervalMonthDayNanoArray, RecordBatch},
        datatypes::IntervalMonthDayNano,
    };
    let scratch = scratch();
    let wide = IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(1, 2, 3)), None]);
    let columns: [(&str, ArrayRef); 2] =
        [("wide", std::sync::Arc::new(wide)), ("n", std::sync::Arc::new(Int64Array::from(vec![1, 3])))];
    scratch.store().publish("t", &RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    let described = scratch.json(&["describe", "t"]);
    let [wide, n] = [0, 1].map(|at| &described["columns"][at]);
    assert_eq!((&wide["count"], &wide["nulls"], &wide["min"]), (&json!(1), &json!(1), &Value::Null));
    assert!(wide["error"].as_str().unwrap().contains("`wide`"), "{wide}");
    assert_eq!((&n["min"], &n["median"], &n["error"]), (&json!(1), &json!(2), &Value::Null));
    assert!(scratch.ok(&["describe", "t"]).contains("column `wide`"));
}

#[test]
fn describe_prints_numbers_as_they_are() {
    let scratch = scratch();
    let df = df!(
        "small" => [0.00012, 0.00012, 0.00012, 0.00012],
        "huge" => [1e22, 1e22, 1e22, f64::INFINITY],
        "most" => [u64::MAX, u64::MAX, u64::MAX - 1, 1],
        "odd" => [9_007_199_254_740_993_i64; 4],
        "n" => [4, 2, 3, 1],
        "day" => [0, 1, 2, 3],
        "price" => [100, 200, 300, 400],
    )
    .unwrap();
    let half = Column::new("half".into(), [0.5f32, 1.0, 1.5, 2.0]).cast(&DataType::Float16).unwrap();
    let df = df.hstack(&[half]).unwrap();
    let df = df.lazy().with_columns([
        col("day").cast(DataType::Date),
        (col("price").cast(DataType::Decimal(10, 2)) / lit(100).cast(DataType::Decimal(10, 2))),
    ]);
    scratch.store().publish("t", &df.collect().unwrap()).unwrap();
    let described = scratch.json(&["describe", "t"]);
    let column = |name: &str| described["columns"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
    let expected = [
        ("huge", "max", json!("inf")),
        ("most", "max", json!(u64::MAX)),
        ("odd", "median", json!(9_007_199_254_740_993_i64)),
        ("odd", "q25", json!(9_007_199_254_740_993_i64)),
        ("n", "median", json!(2.5)),
        ("n", "q25", json!(1.75)),
        ("half", "min", json!(0.5)),
        ("half", "median", json!(1.25)),
        ("half", "mean", json!(1.25)),
        ("day", "min", json!("1970-01-01")),
        ("day", "q25", json!("1970-01-02")),
    ];
    for (name, key, value) in expected {
        assert_eq!(column(name)[key], value, "{}", column(name));
    }
    let histogram = &column("price")["histogram"];
    assert_eq!((&histogram["from"], &histogram["to"]), (&json!(1.0), &json!(4.0)));
    let text = scratch.ok(&["describe", "t"]);
    for number in ["0.00012", "1e22", "inf", "18446744073709551615", "9007199254740993"] {
        assert!(text.contains(&format!(" {number} ")), "{number}:\n{text}");
    }
}

#[test]
fn sql_refuses_statements_that_would_change_tables() {
    let scratch = scratch();
    scratch.store().publish("t", &df!("a" => [1, 2]).unwrap()).unwrap();
    for query in
        ["drop table t", "DELETE from t where a = 1", "truncate table t", "/* x */ create table u as select 1", ""]
    {
        let line = scratch.fails(2, &["sql", query]);
        assert!(query.is_empty() || line.contains("is not a query") && line.contains("coframe rm"), "{line}");
    }
    for query in [" -- all\n(select a from t)", "/* all */ WITH u AS (select a from t) select a from u", "show tables"]
    {
        scratch.ok(&["sql", query]);
    }
}

#[test]
fn sql_prints_one_format_only() {
    let scratch = scratch();
    scratch.store();
    for form in ["--csv", "--ndjson"] {
        let ran = scratch.run(&["sql", "select 1 as a", form, "--json"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    }
}

#[test]
fn rm_removes_nothing_when_an_argument_is_wrong_and_takes_a_name_twice() {
    let scratch = scratch();
    let publish = |name: &str| drop(scratch.store().publish(name, &df!("a" => [1]).unwrap()).unwrap());
    for name in ["a", "a1", "r1", "r2"] {
        publish(name);
    }
    for wrong in ["r2@3", "r[", "../r"] {
        scratch.fails(2, &["rm", "r1", wrong]);
    }
    assert_eq!(scratch.json(&["ls"])["frames"].as_array().unwrap().len(), 4);
    assert_eq!(scratch.ok(&["rm", "a*", "a1", "r1", "r1"]), "removed a, a1, r1\n");
}

#[test]
fn reading_an_empty_directory_creates_no_store() {
    let scratch = scratch();
    fs::create_dir(scratch.store_path()).unwrap();
    let ran = scratch.run(&["ls"]);
    assert!(ran.code != 0 && ran.err.contains("no store found"), "{}", ran.err);
    assert!(fs::read_dir(scratch.store_path()).unwrap().next().is_none());
}
