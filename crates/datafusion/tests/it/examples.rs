//! The examples run, and the guide shows the code of one of them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use coframe::{PublishOptions, Store};

use crate::common::scratch;

/// Hours of a day and days of a month in which a flight leaves each.
const FLIGHTS: i64 = 24 * 300;

/// Frames with those columns of testdata/flights.parquet and planes.parquet that the examples read.
fn publish(store: &Store) {
    let rows = || 0..FLIGHTS;
    let hour = |row: i64| 1_356_998_400_000_000 + row * 3_600_000_000;
    let flights: [(&str, ArrayRef); 6] = [
        ("month", Arc::new(Int64Array::from_iter_values(rows().map(|row| 1 + row * 12 / FLIGHTS)))),
        ("carrier", Arc::new(StringArray::from_iter_values(rows().map(|row| ["UA", "DL", "B6"][row as usize % 3])))),
        ("tailnum", Arc::new(StringArray::from_iter_values(rows().map(|row| format!("N{}", row % 40))))),
        ("dep_delay", Arc::new(Int64Array::from_iter_values(rows().map(|row| row % 31)))),
        ("arr_delay", Arc::new(Float64Array::from_iter_values(rows().map(|row| (row % 29) as f64)))),
        ("time_hour", Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(hour)))),
    ];
    let maker = |plane: i64| ["BOEING", "AIRBUS"][plane as usize % 2];
    let planes: [(&str, ArrayRef); 2] = [
        ("tailnum", Arc::new(StringArray::from_iter_values((0..40).map(|plane| format!("N{plane}"))))),
        ("manufacturer", Arc::new(StringArray::from_iter_values((0..40).map(maker)))),
    ];
    let options = PublishOptions::new().statistics(true);
    store.publish_with("flights", &RecordBatch::try_from_iter(flights).unwrap(), &options).unwrap();
    store.publish_with("planes", &RecordBatch::try_from_iter(planes).unwrap(), &options).unwrap();
}

/// What an example prints. Cargo builds the examples with the tests.
fn output(example: &str, store: &Store) -> String {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().parent().unwrap().join("examples").join(example);
    let output = Command::new(&program).env("COFRAME_STORE", store.path()).output().unwrap();
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_example_on_flights_runs() {
    let scratch = scratch();
    publish(&scratch.store);
    let shown = output("flights", &scratch.store);
    for part in ["| 7200    | 1     | 12   |", "| BOEING       | 3600    |", ": 7200 hours"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // A week in June is in one of the 15 batches of 512 hours, and is not sorted again.
    assert!(shown.contains("batches_pruned=14, batches_read=1,") && !shown.contains("SortExec"), "{shown}");
    assert_eq!(scratch.store.names().unwrap().len(), 2);
}

#[test]
fn the_code_of_the_guide_runs() {
    let scratch = scratch();
    publish(&scratch.store);
    let shown = output("guide", &scratch.store);
    assert!(shown.contains("| UA ") && shown.contains("| DL ") && shown.contains("| B6 "), "{shown}");

    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(manifest.join("examples/guide.rs")).unwrap();
    let (_, code) = example.split_once("    // guide\n").unwrap();
    let (code, _) = code.split_once("    // end\n").unwrap();
    let code: Vec<&str> = code.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let guide = std::fs::read_to_string(manifest.join("../../docs/DATAFUSION.md")).unwrap();
    assert!(guide.contains(&format!("```rust\n{}\n```", code.join("\n"))), "docs/DATAFUSION.md has other code");
}
