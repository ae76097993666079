//! Values are unchanged, or the command names the column that it could not convert.

use std::{fs, sync::Arc};

use coframe::{
    arrow::array::{
        ArrayRef, Date32Array, Date64Array, Int64Array, RecordBatch, StringArray, StringViewArray,
        TimestampMicrosecondArray, TimestampSecondArray,
    },
    polars::prelude::*,
};
use serde_json::json;

use crate::common::{Scratch, scratch};

fn publish(scratch: &Scratch, name: &str, column: ArrayRef) {
    scratch.store().publish(name, &RecordBatch::try_from_iter([("a", column)]).unwrap()).unwrap();
}

#[test]
fn files_with_different_enums_cannot_become_one_frame() {
    let scratch = scratch();
    for (name, categories) in [("one", ["x", "y"]), ("other", ["q", "x"])] {
        let dtype = DataType::from_frozen_categories(FrozenCategories::new(categories).unwrap());
        let column = Series::new("a".into(), categories).cast(&dtype).unwrap().into_column();
        scratch.store().publish(name, &DataFrame::new(2, vec![column]).unwrap()).unwrap();
        scratch.ok(&["export", name, scratch.path(&format!("{name}.parquet")).to_str().unwrap()]);
    }
    for extension in ["parquet", "arrow"] {
        let file = |name: &str| match extension {
            "parquet" => scratch.path(&format!("{name}.parquet")).to_str().unwrap().to_owned(),
            _ => scratch.store_path().join(format!("{name}.arrow")).to_str().unwrap().to_owned(),
        };
        let line = scratch.fails(1, &["publish", &file("one"), &file("other"), "--name", "both"]);
        assert!(line.starts_with("column `a` has other categories, or another extension type, in `"), "{line}");
        scratch.ok(&["publish", &file("one"), &file("one"), "--name", "twice"]);
    }
}

#[test]
fn dates_and_times_that_text_cannot_write_are_refused_by_column() {
    let scratch = scratch();
    publish(&scratch, "day", Arc::new(Date32Array::from(vec![0, i32::MAX])));
    publish(&scratch, "time", Arc::new(TimestampMicrosecondArray::from(vec![0, i64::MAX])));
    for frame in ["day", "time"] {
        let file = scratch.path("t.ndjson");
        let commands: [&[&str]; 4] = [
            &["export", frame, file.to_str().unwrap()],
            &["head", frame, "--json"],
            &["head", frame, "--csv"],
            &["sql", &format!("select * from {frame}"), "--ndjson"],
        ];
        for args in commands {
            let line = scratch.fails(1, args);
            assert!(line.starts_with("column `a` has a date or time that text cannot write"), "{args:?}: {line}");
        }
        assert!(!file.exists());
        assert!(!scratch.ok(&["head", frame, "-n", "1", "--csv"]).contains("ERROR"));
        let described = scratch.json(&["describe", frame])["columns"][0].clone();
        assert_eq!((&described["count"], &described["error"]), (&json!(2), &json!(null)), "{described}");
    }
}

#[test]
fn times_become_neither_null_nor_numbers_in_parquet() {
    let scratch = scratch();
    publish(&scratch, "far", Arc::new(TimestampSecondArray::from(vec![0, 1 << 60])));
    let file = scratch.path("t.parquet");
    let file = file.to_str().unwrap();
    let line = scratch.fails(1, &["export", "far", file]);
    assert!(line.starts_with("column `a` cannot be written as Timestamp(ms), which Parquet has: "), "{line}");
    publish(&scratch, "days", Arc::new(Date64Array::from(vec![0, 86_400_000])));
    scratch.ok(&["export", "days", file]);
    scratch.ok(&["publish", file, "--name", "again"]);
    assert_eq!(scratch.json(&["show", "again"])["columns"][0]["arrow"], "Timestamp(ms)");
    assert_eq!(scratch.json(&["head", "again"])["rows"][1]["a"], "1970-01-02T00:00:00");
}

#[test]
fn numbers_of_csv_are_never_rounded() {
    let scratch = scratch();
    for text in ["0.5\n9007199254740993", "9007199254740993\n0.5", "1e999\n1", "1.5\n12345678901234567890"] {
        let file = scratch.file("t.csv", format!("a\n{text}\n"));
        scratch.ok(&["publish", &file]);
        assert_eq!(scratch.ok(&["head", "t", "--csv"]), format!("a\n{text}\n"));
    }
    let file = scratch.file("t.csv", "a\n9007199254740993\n-1\n");
    scratch.ok(&["publish", &file]);
    assert_eq!(scratch.json(&["head", "t"])["rows"][0]["a"], 9_007_199_254_740_993_i64);
    for (early, late) in [("0.5", "9007199254740993"), ("0.5", "1e999")] {
        let file = scratch.file("t.csv", format!("a\n{early}\n{late}\n"));
        let line = scratch.fails(1, &["publish", &file, "--infer-rows", "1"]);
        assert!(line.contains(&format!("line 3, column `a`: `{late}` cannot be read as Float64")), "{line}");
    }
    let one = scratch.file("one.csv", "a\n9007199254740993\n");
    let other = scratch.file("other.csv", "a\n0.5\n");
    assert!(
        scratch
            .fails(1, &["publish", &one, &other, "--name", "x"])
            .contains("`9007199254740993` cannot be read as Float64")
    );
}

#[test]
fn leap_seconds_and_times_too_far_for_nanoseconds_stay_text() {
    let scratch = scratch();
    for text in ["2016-12-31T23:59:60", "1600-01-01\n2020-01-01 00:00:00.1234567"] {
        let file = scratch.file("t.csv", format!("a\n{text}\n"));
        scratch.ok(&["publish", &file]);
        assert_eq!(scratch.ok(&["head", "t", "--csv"]), format!("a\n{text}\n"));
    }
}

#[test]
fn empty_lines_of_one_column_are_rows() {
    let scratch = scratch();
    let file = scratch.file("t.csv", "a\n1\n\n3\n\n");
    scratch.ok(&["publish", &file]);
    let rows = scratch.json(&["head", "t"])["rows"].clone();
    assert_eq!(rows, json!([{ "a": 1 }, { "a": null }, { "a": 3 }, { "a": null }]));
    let line = scratch.fails(1, &["publish", &scratch.file("t.csv", "a\n\n1\nx\n"), "--infer-rows", "2"]);
    assert!(line.contains("line 4, column `a`: `x` cannot be read as Int64"), "{line}");
}

#[test]
fn two_columns_with_one_name_are_refused_or_reported() {
    let scratch = scratch();
    let columns: [(&str, ArrayRef); 2] =
        [("a", Arc::new(Int64Array::from(vec![1]))), ("a", Arc::new(StringArray::from(vec!["zzz"])))];
    scratch.store().publish("twice", &RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    let file = scratch.store_path().join("twice.arrow");
    let line = scratch.fails(1, &["publish", file.to_str().unwrap(), "--name", "x"]);
    assert!(line.ends_with("has two columns named `a`; rename one"), "{line}");
    for column in scratch.json(&["describe", "twice"])["columns"].as_array().unwrap() {
        assert_eq!((&column["min"], &column["error"]), (&json!(null), &json!("two columns have this name")));
    }
    for column in scratch.json(&["show", "twice"])["columns"].as_array().unwrap() {
        assert_eq!((&column["polars"], &column["reason"]), (&json!(null), &json!("two columns have this name")));
    }
}

#[test]
fn integers_of_128_bits_are_digits_inside_lists_and_structs_too() {
    let scratch = scratch();
    let wide = df!("n" => [Some(5_i64), None, Some(-7)]).unwrap().lazy().select([
        col("n").cast(DataType::Int128).implode(true).alias("list"),
        as_struct(vec![col("n").cast(DataType::Int128)]).implode(true).alias("structs"),
    ]);
    scratch.store().publish("t", &wide.collect().unwrap()).unwrap();
    let expected = json!([{ "list": ["5", null, "-7"], "structs": [{ "n": "5" }, { "n": null }, { "n": "-7" }] }]);
    assert_eq!(scratch.json(&["head", "t"])["rows"], expected);
}

#[test]
fn repeated_strings_in_parquet_are_read_in_small_batches() {
    let scratch = scratch();
    // A few kilobytes in the file, and 200 MB as separate strings.
    let text = "x".repeat(10_000);
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((0..20_000).map(|_| text.as_str())));
    publish(&scratch, "long", texts);
    let file = scratch.path("long.parquet");
    scratch.ok(&["export", "long", file.to_str().unwrap()]);
    assert!(fs::metadata(&file).unwrap().len() < 1 << 20);
    scratch.store().remove("long").unwrap();
    // prlimit, of util-linux, is on every Linux. All 65 536 rows that a batch may have would be 200 MB, twice.
    let mut limited = std::process::Command::new("prlimit");
    limited.arg("--data=300000000").arg(env!("CARGO_BIN_EXE_coframe")).args(["publish", file.to_str().unwrap()]);
    let output = limited.env("COFRAME_STORE", scratch.store_path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(scratch.store().open("long").unwrap().num_rows(), 20_000);
}

#[test]
fn several_ndjson_files_are_widened_as_one_is() {
    let scratch = scratch();
    let cases = [
        ("1", "18446744073709551615", "u64"),
        ("1", "1.5", "f64"),
        ("[]", "[1]", "list[i64]"),
        ("[1]", "[1.5]", "list[f64]"),
        ("{\"x\":1}", "{\"y\":[2],\"x\":1.5}", "struct[2]"),
    ];
    for (one, other, expected) in cases {
        let one = scratch.file("one.ndjson", format!("{{\"a\":{one}}}\n"));
        let other = scratch.file("other.ndjson", format!("{{\"a\":{other}}}\n"));
        scratch.ok(&["publish", &one, &other, "--name", "both"]);
        assert_eq!(scratch.json(&["head", "both"])["columns"][0]["type"], expected);
    }
    let one = scratch.file("one.ndjson", "{\"a\":1}\n");
    let other = scratch.file("other.ndjson", "{\"a\":\"x\"}\n");
    let line = scratch.fails(1, &["publish", &one, &other, "--name", "both"]);
    assert!(line.starts_with("column `a` is Utf8 in `") && line.contains(" and Int64 in `"), "{line}");
}

#[test]
fn the_next_step_of_an_error_is_one_that_helps() {
    let scratch = scratch();
    let nulls = "{\"a\":null}\n".repeat(3);
    let file = scratch.file("t.ndjson", format!("{nulls}{{\"a\":1}}\n"));
    let line = scratch.fails(1, &["publish", &file, "--infer-rows", "2"]);
    assert!(line.contains("line 4, column `a`: `1` cannot be Utf8") && line.contains("(--infer-rows 0)"), "{line}");
    scratch.ok(&["publish", &file, "--infer-rows", "0"]);
    // More rows are proposed only if their type holds all values up to this one: lines, and whether it does.
    let cases = [
        ("1,1.5", true),
        ("9007199254740993,1.5", false),
        ("9007199254740993,null,1.5", false),
        ("9007199254740992,1.5", true),
        ("1,12345678901234567.89", false),
        ("1,18446744073709551615", true),
        ("-1,18446744073709551615", false),
        ("18446744073709551615,-1", false),
        ("1.5,9007199254740993", false),
        ("1,\"oh\"", false),
        ("\"oh\",1", false),
        ("true,1", false),
        ("null,true", true),
    ];
    for (values, helps) in cases {
        let lines: Vec<String> = values.split(',').map(|value| format!("{{\"a\":{value}}}\n")).collect();
        let file = scratch.file("t.ndjson", lines.concat());
        let line = scratch.fails(1, &["publish", &file, "--infer-rows", "1"]);
        assert_eq!(line.contains("(--infer-rows 0)"), helps, "{line}");
        assert_eq!(scratch.run(&["publish", &file, "--infer-rows", "0"]).code == 0, helps, "{values}");
        scratch.ok(&["publish", &file, "--string", "a"]);
    }
    let rows = "{\"a\":{\"b\":[1]}}\n{\"a\":{\"b\":[1,1.5]}}\n";
    let file = scratch.file("t.ndjson", rows);
    let line = scratch.fails(1, &["publish", &file, "--infer-rows", "1"]);
    assert!(
        line.contains("line 2, column `a`: `1.5` at `a.b[1]` cannot be Int64") && line.contains("0), or correct it")
    );
    let file = scratch.file("t.ndjson", "{\"a\":{\"b\":1}}\n{\"a\":\"x\"}\n");
    let line = scratch.fails(1, &["publish", &file, "--string", "a"]);
    assert!(line.contains("`{\"b\":1}` cannot be Utf8") && line.contains("make it a string in the file"), "{line}");
    let file = scratch.file("t.parquet.gz", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0]);
    let line = scratch.fails(1, &["publish", &file]);
    assert!(line.ends_with("is compressed with gzip, which is read only for text formats; unpack it first"), "{line}");
    let long = "\u{1b}[31m".repeat(50_000);
    let file = scratch.file("t.csv", format!("a\n1\n{long}\n"));
    let line = scratch.fails(1, &["publish", &file, "--infer-rows", "1"]);
    assert!(line.len() < 1000 && line.contains("`\\u{1b}[31m") && !line.contains('\u{1b}'), "{line}");
}
