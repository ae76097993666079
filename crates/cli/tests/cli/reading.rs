//! Files as they come: pipes, packed ones, many of them, large rows, and the options for text.

use std::{fs, io::Write, process::Command, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use parquet::{
    data_type::{Int96, Int96Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use serde_json::json;

use crate::common::{Scratch, scratch};

/// Days from noon of 4713 BC to 1970.
const EPOCH: i64 = 2_440_588;

/// A Parquet file with one column `at` of INT96 (a list of them where `nested`), a value for each (day, nanosecond).
fn int96(scratch: &Scratch, name: &str, nested: bool, values: &[(i64, u64)]) -> String {
    let message = if nested {
        "message m { required group at (LIST) { repeated group list { required int96 element; } } }"
    } else {
        "message m { required int96 at; }"
    };
    let schema = Arc::new(parse_message_type(message).unwrap());
    let path = scratch.path(name);
    let file = fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<Int96> = values
        .iter()
        .map(|(day, nanos)| Int96::from(vec![*nanos as u32, (nanos >> 32) as u32, (day + EPOCH) as u32]))
        .collect();
    let levels = vec![1; values.len()];
    let starts = vec![0; values.len()];
    let levels = nested.then_some((&levels[..], &starts[..]));
    column.typed::<Int96Type>().write_batch(&values, levels.map(|l| l.0), levels.map(|l| l.1)).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    path.to_str().unwrap().to_owned()
}

/// The last day of 9999 and the first of the year 1, from 1970.
const FAR: [(i64, u64); 2] = [(2_932_896, 86_399_999_999_000), (-719_162, 0)];

#[test]
fn int96_timestamps_of_any_year_keep_their_value() {
    let scratch = scratch();
    let file = int96(&scratch, "far.parquet", false, &FAR);
    scratch.ok(&["publish", &file]);
    assert_eq!(scratch.ok(&["head", "far", "--csv"]), "at\n9999-12-31T23:59:59.999999\n0001-01-01T00:00:00\n");
    let file = int96(&scratch, "lists.parquet", true, &FAR);
    scratch.ok(&["publish", &file]);
    let rows = scratch.json(&["head", "lists"])["rows"].clone();
    assert_eq!(rows, json!([{ "at": ["9999-12-31T23:59:59.999999"] }, { "at": ["0001-01-01T00:00:00"] }]));
}

#[test]
fn int96_timestamps_with_nanoseconds_keep_them_or_are_refused_by_column() {
    let scratch = scratch();
    let fine = int96(&scratch, "fine.parquet", false, &[(0, 1), (1, 0)]);
    scratch.ok(&["publish", &fine]);
    assert_eq!(scratch.ok(&["head", "fine", "--csv"]), "at\n1970-01-01T00:00:00.000000001\n1970-01-02T00:00:00\n");
    // A file without nanoseconds takes the unit of the other one.
    let coarse = int96(&scratch, "coarse.parquet", false, &[(2, 0)]);
    for files in [[&coarse, &fine], [&fine, &coarse]] {
        scratch.ok(&["publish", files[0], files[1], "--name", "both"]);
        assert_eq!(scratch.json(&["show", "both"])["columns"][0]["arrow"], "Timestamp(ns)");
        assert!(scratch.ok(&["head", "both", "--csv"]).contains("1970-01-03T00:00:00\n"));
    }
    let far = int96(&scratch, "far.parquet", false, &FAR);
    let line = scratch.fails(1, &["publish", &fine, &far, "--name", "x"]);
    assert!(line.starts_with("column `at` has INT96 timestamps with nanoseconds and others outside"), "{line}");
    let beyond = int96(&scratch, "beyond.parquet", false, &[(2_000_000_000, 0)]);
    let line = scratch.fails(1, &["publish", &beyond]);
    assert!(line.contains("column `at` has an INT96 timestamp that 64 bits of microseconds do not hold"), "{line}");
}

#[test]
fn fractions_with_more_digits_than_a_float_has_stay_text() {
    let scratch = scratch();
    for text in ["12345678901234567.89\n1.5", "0.5\n3.14159265358979323846", "1e-400\n1", "9007199254740993.0\n1"] {
        let file = scratch.file("t.csv", format!("a\n{text}\n"));
        scratch.ok(&["publish", &file]);
        assert_eq!(scratch.ok(&["head", "t", "--csv"]), format!("a\n{text}\n"));
    }
    // Floats as programs write them: shortest, with 17 digits, in full.
    let floats = "0.1\n0.10000000000000001\n0.1000000000000000055511151231257827021181583404541015625\n-0\n";
    scratch.ok(&["publish", &scratch.file("t.csv", format!("a\n{floats}"))]);
    assert_eq!(scratch.ok(&["head", "t", "--csv"]), "a\n0.1\n0.1\n0.1\n-0.0\n");
    let line = scratch.fails(1, &["publish", &scratch.file("t.csv", "a\n1\n-0\n"), "--infer-rows", "1"]);
    assert!(line.contains("line 3, column `a`: `-0` cannot be read as Int64"), "{line}");
    let line = scratch.fails(1, &["publish", &scratch.file("t.ndjson", "{\"a\":12345678901234567.89}\n")]);
    assert!(line.contains("line 1, column `a`: `12345678901234567.89` cannot be Float64"), "{line}");
}

#[test]
fn rows_that_grow_are_read_in_bounded_memory() {
    let scratch = scratch();
    let path = scratch.path("grow.csv");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    file.write_all(b"n,text\n").unwrap();
    let long = "x".repeat(1 << 20);
    for row in 0..10_600 {
        let text = if row < 10_000 { "x" } else { &long };
        writeln!(file, "{row},{text}").unwrap();
    }
    file.into_inner().unwrap();
    // prlimit, of util-linux, is on every Linux.
    let mut limited = Command::new("prlimit");
    limited.arg("--data=300000000").arg(env!("CARGO_BIN_EXE_coframe")).args(["publish", path.to_str().unwrap()]);
    let output = limited.env("COFRAME_STORE", scratch.store_path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let frame = scratch.store().open("grow").unwrap();
    assert_eq!(frame.num_rows(), 10_600);
    assert_eq!(scratch.json(&["sql", "select sum(length(text)) as bytes from grow"])["rows"][0]["bytes"], 629_155_600);
}

#[test]
fn any_number_of_files_needs_few_descriptors() {
    let scratch = scratch();
    for number in 0..600 {
        scratch.file(&format!("part-{number:03}.csv"), format!("n\n{number}\n"));
    }
    let mut limited = Command::new("prlimit");
    let pattern = scratch.path("part-*.csv");
    limited.arg("--nofile=64").arg(env!("CARGO_BIN_EXE_coframe")).arg("publish").arg(pattern).args(["--name", "n"]);
    let output = limited.env("COFRAME_STORE", scratch.store_path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sum = scratch.json(&["sql", "select sum(n) as sum, count(*) as rows from n"]);
    assert_eq!(sum["rows"], json!([{ "sum": 179_700, "rows": 600 }]));
}

#[test]
fn named_pipes_are_read_in_every_format() {
    let scratch = scratch();
    scratch.ok(&["publish", &scratch.file("t.csv", "a\n1\n2\n")]);
    for format in ["csv", "ndjson", "parquet", "arrow"] {
        let file = scratch.path(&format!("in.{format}"));
        scratch.ok(&["export", "t", file.to_str().unwrap()]);
        let pipe = scratch.path(&format!("pipe-{format}"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, fs::read(file).unwrap())
        });
        scratch.ok(&["publish", pipe.to_str().unwrap(), "--format", format, "--name", "again"]);
        writer.join().unwrap().unwrap();
        assert_eq!(scratch.ok(&["head", "again", "--csv"]), "a\n1\n2\n", "{format}");
    }
}

#[test]
fn packed_files_have_names_in_any_case_and_zeros_after_them() {
    let scratch = scratch();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"a\n1\n").unwrap();
    let mut packed = packed.finish().unwrap();
    packed.extend_from_slice(&[0; 512]);
    scratch.ok(&["publish", &scratch.file("T.CSV.GZ", &packed)]);
    assert_eq!(scratch.ok(&["head", "T", "--csv"]), "a\n1\n");
    packed.push(b'x');
    let line = scratch.fails(1, &["publish", &scratch.file("t.csv.gz", &packed)]);
    assert!(line.contains("bytes that are not gzip follow the packed data"), "{line}");
}

#[test]
fn another_delimiter_is_proposed_where_the_first_line_has_one() {
    let scratch = scratch();
    let line = scratch.fails(1, &["publish", &scratch.file("t.csv", "a;b\n1,5;2\n")]);
    assert!(
        line.ends_with("expected 1 fields, found 2; name the delimiter (--delimiter ';'), or correct the line"),
        "{line}"
    );
    let ran = scratch.run(&["publish", &scratch.file("t.csv", "a;b\n1;2\n")]);
    assert!(
        ran.code == 0 && ran.err.contains("has one column, `a;b`; ") && ran.err.contains("--delimiter ';'"),
        "{}",
        ran.err
    );
}

#[test]
fn columns_are_chosen_in_every_format() {
    let scratch = scratch();
    scratch.ok(&["publish", &scratch.file("t.csv", "a,b,c\n1,2,3\n")]);
    for format in ["csv", "ndjson", "parquet", "arrow"] {
        let file = scratch.path(&format!("in.{format}"));
        let file = file.to_str().unwrap();
        scratch.ok(&["export", "t", file]);
        scratch.ok(&["publish", file, "--name", "x", "--columns", "c,a"]);
        assert_eq!(scratch.ok(&["head", "x", "--csv"]), "c,a\n3,1\n", "{format}");
        scratch.ok(&["publish", file, "--name", "x", "--exclude", "b"]);
        assert_eq!(scratch.ok(&["head", "x", "--csv"]), "a,c\n1,3\n", "{format}");
        for option in ["--columns", "--exclude"] {
            let line = scratch.fails(2, &["publish", file, "--name", "x", option, "z"]);
            assert_eq!(line, format!("{option} `z`: column not found; the files have `a`, `b`, `c`"));
        }
        scratch.fails(2, &["publish", file, "--name", "x", "--exclude", "a,b,c"]);
    }
}

#[test]
fn columns_of_text_get_the_types_that_are_named() {
    let scratch = scratch();
    let values = ["12345678901234567.80", "200", "2024-01-31 12:00:00.5", "x"];
    let csv = scratch.file("t.csv", format!("a,b,c,d\n{}\n,,,\n", values.join(",")));
    let [a, b, c, d] = values;
    let json = format!("{{\"a\":{a},\"b\":{b},\"c\":\"{c}\",\"d\":\"{d}\"}}\n\n{{\"a\":null}}\n");
    let ndjson = scratch.file("t.ndjson", json);
    let named = ["--type", "a=decimal[20,2]", "--type", "b=u8", "--type", "c=datetime[ms]", "--type", "d=cat"];
    for file in [&csv, &ndjson] {
        scratch.ok(&[&["publish", file, "--name", "t"], &named[..]].concat());
        let head = scratch.json(&["head", "t"]);
        let types: Vec<&str> =
            head["columns"].as_array().unwrap().iter().map(|column| column["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["decimal[20,2]", "u8", "datetime[ms]", "cat"]);
        assert_eq!(
            scratch.ok(&["head", "t", "--csv"]),
            "a,b,c,d\n12345678901234567.80,200,2024-01-31T12:00:00.500,x\n,,,\n"
        );
        for (column, wrong) in [("a", "a=decimal[5,2]"), ("b", "b=i8"), ("c", "c=datetime[s]")] {
            let line = scratch.fails(1, &[&["publish", file, "--name", "t"], &named[..], &["--type", wrong]].concat());
            assert!(
                line.contains(&format!("column `{column}`: `")) && line.ends_with(&format!("(--type {column}=...)")),
                "{line}"
            );
        }
        let line = scratch.fails(2, &["publish", file, "--name", "t", "--type", "z=i8"]);
        assert!(line.starts_with("--type `z`: column not found; the files have `"), "{line}");
    }
    let line =
        scratch.fails(1, &["publish", &scratch.file("n.ndjson", "\n{\"b\":1}\n\n{\"b\":300}\n"), "--type", "b=u8"]);
    assert!(line.contains("line 4, column `b`: `300` cannot be UInt8"), "{line}");
}

#[test]
fn csv_is_cleaned_as_asked() {
    let scratch = scratch();
    let text = "made by, a \"program\n\nname ; value\n# it's; \"a comment\nx ; 1,5\n\"y; z\" ;  -\n";
    let file = scratch.file("t.csv", text);
    let args = ["--delimiter", ";", "--skip-rows", "2", "--comment", "#", "--trim", "--decimal-comma", "--null", "-"];
    scratch.ok(&[&["publish", &file], &args[..]].concat());
    let head = scratch.json(&["head", "t"]);
    assert_eq!(head["rows"], json!([{ "name": "x", "value": 1.5 }, { "name": "y; z", "value": null }]));
    for option in ["--trim", "--decimal-comma"] {
        let line = scratch.fails(2, &["publish", &scratch.file("t.ndjson", "{\"a\":1}\n"), option]);
        assert!(line.starts_with(&format!("{option} is for CSV, and no file is")), "{line}");
    }
    let line = scratch
        .fails(1, &["publish", &scratch.file("s.csv", "junk\na\n1\nx\n"), "--skip-rows", "1", "--infer-rows", "1"]);
    assert!(line.contains("line 4, column `a`: `x`"), "{line}");
}

#[test]
fn statistics_are_recorded_if_they_are_asked_for() {
    let scratch = scratch();
    let file = scratch.file("t.csv", "a,b\n1,x\n3,\n2,y\n");
    scratch.ok(&["publish", &file]);
    assert!(scratch.store().open("t").unwrap().statistics().unwrap().is_none());
    scratch.ok(&["publish", &file, "--statistics"]);
    let frame = scratch.store().open("t").unwrap();
    let statistics = frame.statistics().unwrap().unwrap();
    assert_eq!(statistics.num_rows(), [3]);
    let [numbers, texts] = statistics.columns() else { panic!("{statistics:?}") };
    let bounds =
        [numbers.min(), numbers.max()].map(|bound| bound.unwrap().to_data().buffers()[0].typed_data::<i64>()[0]);
    assert_eq!((bounds, numbers.is_exact().value(0)), ([1, 3], true));
    assert_eq!((numbers.null_counts().value(0), texts.null_counts().value(0)), (0, 1));
    scratch.ok(&["verify", "t"]);
}
