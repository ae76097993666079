//! Every format in and out, and what is in between.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use coframe::{
    CategoryPolicy, CopyPolicy, Frame, OpenOptions, TableReader,
    arrow::{
        array::{ArrayRef, Int64Array, RecordBatch, StringArray},
        ipc::writer::StreamWriter,
    },
    polars::prelude::*,
};
use serde_json::json;

use crate::common::{Scratch, flights, scratch};

fn polars(frame: &Frame) -> DataFrame {
    frame.to_polars().unwrap()
}

/// Strings instead of categories, which CSV and JSON do not distinguish.
fn as_text(df: DataFrame, columns: &[&str]) -> DataFrame {
    let cast = columns.iter().map(|name| col(*name).cast(DataType::String));
    df.lazy().with_columns(cast.collect::<Vec<_>>()).collect().unwrap()
}

fn published_flights() -> (Scratch, DataFrame) {
    let scratch = scratch();
    scratch.ok(&["publish", &flights()]);
    let df = polars(&scratch.store().open("flights").unwrap());
    assert_eq!((df.height(), df.width()), (336_776, 20));
    (scratch, df)
}

#[test]
fn parquet_and_arrow_come_back_equal_with_all_their_types() {
    let (scratch, df) = published_flights();
    for file in ["out.parquet", "out.arrow"] {
        let path = scratch.path(file);
        let path = path.to_str().unwrap();
        scratch.ok(&["export", "flights", path]);
        scratch.ok(&["publish", path, "--name", "again"]);
        let again = polars(&scratch.store().open("again").unwrap());
        assert_eq!(again.schema(), df.schema(), "{file}");
        assert!(again.equals_missing(&df), "{file}");
    }
}

#[test]
fn csv_and_ndjson_come_back_with_the_same_values() {
    let (scratch, df) = published_flights();
    let columns = "month,dep_delay,carrier,tailnum,distance,date";
    let expected = as_text(df.select(columns.split(',')).unwrap(), &["carrier", "tailnum"]);
    let expected = expected
        .lazy()
        .with_columns([
            col("month").cast(DataType::Int64),
            col("distance").cast(DataType::Int64),
            col("dep_delay").cast(DataType::Float64),
        ])
        .collect()
        .unwrap();
    for file in ["out.csv", "out.tsv", "out.ndjson"] {
        let path = scratch.path(file);
        let path = path.to_str().unwrap();
        scratch.ok(&["export", "flights", path, "--columns", columns]);
        scratch.ok(&["publish", path, "--name", "again"]);
        let again = polars(&scratch.store().open("again").unwrap());
        let again = again.lazy().with_column(col("date").cast(DataType::Date)).collect().unwrap();
        assert!(again.equals_missing(&expected), "{file}: {again} {expected}");
    }
}

#[test]
fn standard_input_is_read_in_every_format() {
    let scratch = scratch();
    let csv = b"a,b\n1,x\n2,\n".to_vec();
    let ndjson = b"{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n".to_vec();
    let expected = df!("a" => [1i64, 2], "b" => [Some("x"), None]).unwrap();
    let parquet = {
        let file = scratch.file("t.csv", &csv);
        scratch.ok(&["publish", &file]);
        let path = scratch.path("t.parquet");
        scratch.ok(&["export", "t", path.to_str().unwrap()]);
        fs::read(path).unwrap()
    };
    let arrow = fs::read(scratch.store_path().join("t.arrow")).unwrap();
    let stream = {
        let reader = TableReader::new(&expected).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &coframe::arrow::array::RecordBatchReader::schema(&reader));
        reader.for_each(|batch| writer.as_mut().unwrap().write(&batch.unwrap()).unwrap());
        writer.unwrap().into_inner().unwrap()
    };
    for (format, bytes) in
        [("csv", &csv), ("ndjson", &ndjson), ("parquet", &parquet), ("arrow", &arrow), ("arrow", &stream)]
    {
        let args = ["publish", "-", "--name", format, "--format", format];
        let ran = scratch.run_with_input(&args, bytes);
        assert_eq!(ran.code, 0, "{format}: {}", ran.err);
        assert!(polars(&scratch.store().open(format).unwrap()).equals_missing(&expected), "{format}");
        if !["csv", "ndjson"].contains(&format) {
            // Binary formats are known by their content.
            assert_eq!(scratch.run_with_input(&["publish", "-", "--name", "x"], bytes).code, 0, "{format}");
        }
    }
    let ran = scratch.run_with_input(&["publish", "-", "--name", "x"], &csv);
    assert_eq!((ran.code, ran.err.contains("name it with --format csv")), (2, true), "{}", ran.err);
}

#[test]
fn standard_input_is_read_once_and_completely_beyond_its_inspected_start() {
    let scratch = scratch();
    let text: String = std::iter::once("n\n".to_owned()).chain((0..50_000).map(|n| format!("{n}\n"))).collect();
    for rows in ["0", "10", "10000"] {
        let args = ["publish", "-", "--format", "csv", "--name", "n", "--infer-rows", rows];
        assert_eq!(scratch.run_with_input(&args, text.as_bytes()).code, 0);
        let sum = scratch.json(&["sql", "select sum(n) as sum, count(*) as rows from n"]);
        assert_eq!(sum["rows"], json!([{ "sum": 1_249_975_000, "rows": 50_000 }]));
    }
}

#[test]
fn several_files_and_patterns_become_one_frame_in_order() {
    let scratch = scratch();
    for (name, rows) in [("p1.csv", "a,b\n1,x\n"), ("p2.csv", "a,b\n2.5,y\n"), ("p3.csv", "a,b\n,\n")] {
        scratch.file(name, rows);
    }
    let pattern = scratch.path("p?.csv");
    scratch.ok(&["publish", pattern.to_str().unwrap(), "--name", "all"]);
    let expected = df!("a" => [Some(1.0), Some(2.5), None], "b" => [Some("x"), Some("y"), None]).unwrap();
    assert!(polars(&scratch.store().open("all").unwrap()).equals_missing(&expected));

    let (one, two) = (flights(), flights());
    let published = scratch.json(&["publish", &one, &two, "--name", "twice"]);
    assert_eq!(published["rows"], 673_552);
}

#[test]
fn files_that_do_not_fit_together_are_named_with_the_field() {
    let scratch = scratch();
    let one = scratch.file("one.csv", "a,b\n1,2\n");
    let other = scratch.file("other.csv", "a,c\n1,2\n");
    let longer = scratch.file("longer.csv", "a,b,c\n1,2,3\n");
    let line = scratch.fails(1, &["publish", &one, &other, "--name", "x"]);
    assert!(line.contains("other.csv` has a column `c` where") && line.contains("one.csv` has `b`"), "{line}");
    let each = format!("publish one frame for each, with `coframe publish {one}` and `coframe publish {other}`");
    assert!(line.ends_with(&each), "{line}");
    let line = scratch.fails(1, &["publish", &one, &longer, "--name", "x"]);
    assert!(line.contains("longer.csv` has the column `c`, which") && line.contains("one frame for each"), "{line}");
    let batch = |array: ArrayRef| RecordBatch::try_from_iter([("a", array)]).unwrap();
    let store = scratch.store();
    store.publish("number", &batch(Arc::new(Int64Array::from(vec![1])))).unwrap();
    store.publish("text", &batch(Arc::new(StringArray::from(vec!["x"])))).unwrap();
    let file = |name: &str| scratch.store_path().join(format!("{name}.arrow")).to_str().unwrap().to_owned();
    let line = scratch.fails(1, &["publish", &file("number"), &file("text"), "--name", "x"]);
    assert!(line.contains("column `a` is Utf8 in `") && line.contains("text.arrow` and Int64 in"), "{line}");
    assert_eq!(scratch.entries(), ["number.arrow", "number@1.arrow", "text.arrow", "text@2.arrow"]);
    let line = scratch.fails(2, &["publish", &one, &one]);
    assert!(line.contains("name it with --name"), "{line}");
}

#[test]
fn separators_headers_and_nulls_are_as_requested() {
    let scratch = scratch();
    let file = scratch.file("odd.txt", "1;x\nNA;y\n3;-\n");
    let args = ["--format", "csv", "--delimiter", ";", "--no-header", "--null", "NA", "--null", "-"];
    scratch.ok(&[&["publish", &file], &args[..]].concat());
    let expected = df!("column_1" => [Some(1i64), None, Some(3)], "column_2" => [Some("x"), Some("y"), None]).unwrap();
    assert!(polars(&scratch.store().open("odd").unwrap()).equals_missing(&expected));
}

#[test]
fn a_frame_without_rows_keeps_its_columns_in_every_format() {
    let scratch = scratch();
    scratch.store().publish("none", &df!("a" => Vec::<i64>::new(), "b" => Vec::<&str>::new()).unwrap()).unwrap();
    for file in ["none.parquet", "none.arrow", "none.csv"] {
        let path = scratch.path(file);
        scratch.ok(&["export", "none", path.to_str().unwrap()]);
        scratch.ok(&["publish", path.to_str().unwrap(), "--name", "again"]);
        let again = scratch.store().open("again").unwrap();
        assert_eq!((again.num_rows(), again.schema().field(1).name().as_str()), (0, "b"), "{file}");
    }
    assert_eq!(scratch.json(&["head", "none"])["rows"], json!([]));
    assert_eq!(scratch.json(&["describe", "none"])["columns"][0]["min"], json!(null));
    assert_eq!(scratch.ok(&["sql", "select * from none", "--csv"]), "a,b\n");
}

#[test]
fn compressed_csv_is_unpacked() {
    let scratch = scratch();
    let path = scratch.path("t.csv.gz");
    let file = fs::File::create(&path).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gzip.write_all(b"a\n1\n2\n").unwrap();
    gzip.finish().unwrap();
    scratch.ok(&["publish", path.to_str().unwrap()]);
    let df = polars(&scratch.store().open("t").unwrap());
    assert!(df.equals(&df!("a" => [1i64, 2]).unwrap()));
}

#[test]
fn text_files_are_packed_where_their_name_ends_in_gz() {
    let scratch = scratch();
    let df = df!("a" => (0..50_000i64).collect::<Vec<_>>(), "b" => vec!["x"; 50_000]).unwrap();
    scratch.store().publish("t", &df).unwrap();
    for (file, first) in [("t.csv.gz", "a,b\n0,x\n"), ("t.TSV.GZ", "a\tb\n0\tx\n"), ("t.ndjson.gz", "{\"a\":0,")] {
        let path = scratch.path(file);
        let path = path.to_str().unwrap();
        scratch.ok(&["export", "t", path]);
        let packed = fs::read(path).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        assert!(text.starts_with(first) && packed.len() < text.len() / 3, "{file}");
        scratch.ok(&["publish", path, "--name", "again"]);
        assert!(polars(&scratch.store().open("again").unwrap()).equals(&df), "{file}");
    }
    for (file, more) in [("t.parquet.gz", &[][..]), ("t.gz", &["--format", "arrow"])] {
        let path = scratch.path(file);
        let line = scratch.fails(2, &[&["export", "t", path.to_str().unwrap()], more].concat());
        assert!(line.contains("only CSV and NDJSON are compressed with gzip"), "{line}");
        assert!(!path.exists());
    }
}

#[test]
fn csv_is_printed_with_the_delimiter_that_was_asked_for() {
    let scratch = scratch();
    scratch.store().publish("t", &df!("a" => [1, 2], "b" => ["x", "y;z"]).unwrap()).unwrap();
    let expected = "a;b\n1;x\n2;\"y;z\"\n";
    for command in [&["sql", "select * from t order by a"][..], &["head", "t"], &["tail", "t"], &["sample", "t"]] {
        assert_eq!(scratch.ok(&[command, &["--csv", "--delimiter", ";"]].concat()), expected, "{command:?}");
        let line = scratch.fails(2, &[command, &["--delimiter", ";"]].concat());
        assert!(line.contains("--csv"), "{line}");
    }
    assert_eq!(scratch.ok(&["sql", "select b from t where a = 2", "--csv", "--delimiter", "tab"]), "b\ny;z\n");
}

#[test]
fn text_columns_become_categories_by_name_or_where_they_repeat() {
    let (scratch, _) = published_flights();
    let path = scratch.path("f.csv");
    let path = path.to_str().unwrap();
    scratch.ok(&["export", "flights", path, "--columns", "carrier,tailnum,date,time_hour"]);
    let dtypes = |name: &str| {
        let df = polars(&scratch.store().open(name).unwrap());
        df.dtypes().iter().map(DataType::is_categorical).collect::<Vec<_>>()
    };
    scratch.ok(&["publish", path, "--name", "named", "--categorical", "tailnum"]);
    assert_eq!(dtypes("named"), [false, true, false, false]);
    scratch.ok(&["publish", path, "--name", "auto", "--auto-categorical"]);
    assert_eq!(dtypes("auto"), [true, true, false, false]);
    let count = "select count(*) n from auto where carrier = 'UA' and tailnum = 'N14228'";
    assert_eq!(scratch.json(&["sql", count])["rows"][0]["n"], 111);
    let line = scratch.fails(2, &["publish", path, "--categorical", "nix"]);
    let columns = "`carrier`, `tailnum`, `date`, `time_hour`";
    assert_eq!(line, format!("--categorical `nix`: column not found; the files have {columns}"));
}

#[test]
fn categories_of_all_columns_of_a_frame_are_shared_with_polars() {
    let scratch = scratch();
    scratch.ok(&["publish", &flights()]);
    let rows = "a,b,c\nx,y,1\ny,x,2\nz,,3\n";
    let file = scratch.file("t.csv", rows);
    scratch.ok(&["publish", &file, "--categorical", "a", "--categorical", "b"]);
    for frame in ["flights", "t"] {
        let never = OpenOptions::new().copies(CopyPolicy::Never).categories(CategoryPolicy::Private);
        let df = scratch.store().open_with(frame, &never).unwrap().to_polars().unwrap();
        assert!(df.dtypes().iter().filter(|dtype| dtype.is_categorical()).count() > 1, "{df}");
    }
    assert_eq!(scratch.ok(&["head", "t", "--csv"]), rows);
}

#[test]
fn the_layout_is_views_for_text_and_as_asked() {
    let scratch = scratch();
    let file = scratch.file("t.csv", "a\nx\n");
    for (layout, expected) in [("view", "Utf8View"), ("offset", "Utf8"), ("keep", "Utf8")] {
        scratch.ok(&["publish", &file, "--layout", layout]);
        assert_eq!(scratch.json(&["show", "t"])["columns"][0]["arrow"], expected, "{layout}");
    }
    scratch.ok(&["publish", &file]);
    assert_eq!(scratch.json(&["show", "t"])["columns"][0]["arrow"], "Utf8View");
}

#[test]
fn types_that_csv_cannot_hold_are_refused_by_column_and_leave_no_file() {
    let scratch = scratch();
    let lists = Series::new("lists".into(), [Series::new("".into(), [1, 2])]);
    let wide = Series::new("wide".into(), [i128::MAX]).into_column();
    let df = DataFrame::new(1, vec![wide, lists.into_column()]).unwrap();
    scratch.store().publish("nested", &df).unwrap();
    let path = scratch.path("x.csv");
    let path = path.to_str().unwrap();
    let line = scratch.fails(1, &["export", "nested", path]);
    assert!(line.starts_with("column `lists` is ") && line.contains("which CSV cannot hold"), "{line}");
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 0);
    scratch.ok(&["export", "nested", path, "--columns", "wide"]);
    assert_eq!(fs::read_to_string(path).unwrap(), format!("wide\n{}\n", i128::MAX));
    for file in ["x.parquet", "x.arrow"] {
        let path = scratch.path(file);
        scratch.ok(&["export", "nested", path.to_str().unwrap()]);
        scratch.ok(&["publish", path.to_str().unwrap(), "--name", "again"]);
        assert!(polars(&scratch.store().open("again").unwrap()).equals_missing(&df), "{file}");
    }
}

#[test]
fn an_existing_file_is_overwritten_only_with_force() {
    let scratch = scratch();
    scratch.store().publish("t", &df!("a" => [1, 2]).unwrap()).unwrap();
    let file = scratch.file("t.csv", "precious");
    let line = scratch.fails(1, &["export", "t", &file]);
    assert!(line.ends_with("already exists; overwrite it with --force, or choose another file"), "{line}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    scratch.ok(&["export", "t", &file, "--force"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a\n1\n2\n");
    assert_eq!(fs::read_dir(Path::new(&file).parent().unwrap()).unwrap().count(), 1);
    assert_eq!(scratch.ok(&["export", "t", "-", "--format", "csv"]), "a\n1\n2\n");
    scratch.fails(2, &["export", "t", "x.unknown"]);
}

#[test]
fn force_writes_through_links_and_replaces_nothing_but_files() {
    let scratch = scratch();
    scratch.store().publish("t", &df!("a" => [1, 2]).unwrap()).unwrap();
    let file = scratch.file("t.csv", "old");
    let link = scratch.path("link.csv");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    scratch.ok(&["export", "t", link.to_str().unwrap(), "--force"]);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "a\n1\n2\n");
    let socket = scratch.path("socket.csv");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let line = scratch.fails(1, &["export", "t", socket.to_str().unwrap(), "--force"]);
    assert!(line.contains("is not a regular file"), "{line}");
    assert!(!socket.symlink_metadata().unwrap().is_file());
}

#[test]
fn times_in_seconds_stay_times_in_parquet() {
    use coframe::arrow::array::{Time32SecondArray, TimestampSecondArray};
    let scratch = scratch();
    let stamps: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]).with_timezone("UTC"));
    let times: ArrayRef = Arc::new(Time32SecondArray::from(vec![2]));
    let batch = RecordBatch::try_from_iter([("stamp", stamps), ("time", times)]).unwrap();
    scratch.store().publish("t", &batch).unwrap();
    let path = scratch.path("t.parquet");
    scratch.ok(&["export", "t", path.to_str().unwrap()]);
    scratch.ok(&["publish", path.to_str().unwrap(), "--name", "again"]);
    let columns = scratch.json(&["show", "again"])["columns"].clone();
    assert_eq!(columns[0]["arrow"], "Timestamp(ms, \"UTC\")");
    assert_eq!(columns[1]["arrow"], "Time32(ms)");
}

#[test]
fn patterns_leave_hidden_files_out() {
    let scratch = scratch();
    scratch.file("a.csv", "n\n1\n");
    scratch.file(".half.csv", "n\n2\n");
    scratch.ok(&["publish", scratch.path("*.csv").to_str().unwrap(), "--name", "t"]);
    assert_eq!(scratch.store().open("t").unwrap().num_rows(), 1);
}

#[test]
fn codes_zones_and_impossible_dates_of_csv_keep_their_meaning() {
    let scratch = scratch();
    let rows = "zip,zoned,mixed,day\n01234,2024-01-01T10:00:00+02:00,2024-01-01T10:00:00Z,2024-13-45\n\
                1234,2024-01-01T08:00:00Z,2024-01-01T10:00:00,2024-01-01\n";
    let file = scratch.file("t.csv", rows);
    scratch.ok(&["publish", &file]);
    let columns = scratch.json(&["show", "t"])["columns"].clone();
    let types: Vec<_> = (0..4).map(|at| columns[at]["arrow"].as_str().unwrap()).collect();
    assert_eq!(types, ["Utf8View", "Timestamp(µs, \"UTC\")", "Utf8View", "Utf8View"]);
    let same = scratch.json(&["sql", "select count(distinct zoned) as n, min(zip) as zip from t"]);
    assert_eq!(same["rows"], json!([{ "n": 1, "zip": "01234" }]));
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_column() {
    let scratch = scratch();
    let expected = df!("a" => [1i64, 2]).unwrap();
    for (format, text) in [("csv", "\u{feff}a\n1\n2\n"), ("ndjson", "\u{feff}{\"a\":1}\n{\"a\":2}\n")] {
        let file = scratch.file(&format!("t.{format}"), text);
        scratch.ok(&["publish", &file]);
        assert!(polars(&scratch.store().open("t").unwrap()).equals(&expected), "{format}");
        let ran = scratch.run_with_input(&["publish", "-", "--format", format, "--name", "piped"], text.as_bytes());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(polars(&scratch.store().open("piped").unwrap()).equals(&expected), "{format}");
    }
}

#[test]
fn large_integers_of_ndjson_are_exact_as_text() {
    let scratch = scratch();
    let file = scratch.file("t.ndjson", "{\"a\":18446744073709551617}\n{\"a\":1}\n");
    let line = scratch.fails(1, &["publish", &file]);
    assert!(line.contains("line 1, column `a`: `18446744073709551617` cannot be Float64"), "{line}");
    scratch.ok(&["publish", &file, "--string", "a"]);
    assert_eq!(scratch.ok(&["head", "t", "--csv"]), "a\n18446744073709551617\n1\n");
}

#[test]
fn what_json_cannot_represent_becomes_null_with_a_note() {
    let scratch = scratch();
    let numbers = [Some(1.0), Some(f64::NAN), Some(f64::NEG_INFINITY), None];
    let lists = [Series::new("".into(), [0.5f32]), Series::new("".into(), [f32::INFINITY])];
    let lists = [Some(lists[0].clone()), Some(lists[1].clone()), None, None];
    let df = df!("a" => [1, 2, 3, 4], "f" => numbers, "l" => Series::new("l".into(), lists)).unwrap();
    scratch.store().publish("t", &df).unwrap();
    let path = scratch.path("t.ndjson");
    let note = "NaN and infinity became null, because JSON cannot represent them: column `f`, `l`\n";
    for args in [&["export", "t", path.to_str().unwrap()][..], &["head", "t", "--json"], &["sql", "from t", "--ndjson"]]
    {
        let ran = scratch.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, note), "{args:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap().lines().nth(1).unwrap(), r#"{"a":2,"f":null,"l":[null]}"#);
    let ran = scratch.run(&["head", "t", "-n", "1", "--json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn compressed_arrow_files_are_unpacked() {
    let scratch = scratch();
    let mut df = df!("a" => (0..10_000i64).collect::<Vec<_>>(), "s" => vec!["some text that repeats"; 10_000]).unwrap();
    for compression in [IpcCompression::LZ4, IpcCompression::default()] {
        let path = scratch.path("t.feather");
        IpcWriter::new(fs::File::create(&path).unwrap()).with_compression(Some(compression)).finish(&mut df).unwrap();
        scratch.ok(&["publish", path.to_str().unwrap()]);
        assert!(polars(&scratch.store().open("t").unwrap()).equals(&df));
    }
}
