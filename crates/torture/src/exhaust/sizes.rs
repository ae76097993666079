//! Nothing, very many, and very large.

use std::{fs, path::Path, sync::Arc, time::Instant};

use arrow::{
    array::{Array, ArrayRef, Int64Array, LargeBinaryArray, NullArray, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema},
};
use coframe::{Frame, PublishOptions, Store};

use crate::{Result, ensure};

const COLUMNS: usize = 10_000;
const BATCHES: usize = 10_000;
const NAMES: usize = 3_000;
const MANY_NAMES: usize = 100_000;

pub(super) fn numbers(rows: i64) -> Result<RecordBatch> {
    let array = Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
    Ok(RecordBatch::try_from_iter([("n", array)])?)
}

pub(super) fn same(frame: &Frame, table: &RecordBatch, what: &str) -> Result<()> {
    let found = arrow::compute::concat_batches(frame.schema(), frame.batches())?;
    ensure!(found.columns() == table.columns(), "{what} came back with other values");
    ensure!(frame.num_rows() == table.num_rows(), "{what} came back with {} rows", frame.num_rows());
    Ok(())
}

/// Neither rows nor columns, in every combination.
pub(super) fn nothing(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let bare = |rows| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)
    };
    for (what, table) in [("no rows", numbers(0)?), ("nothing", bare(0)?), ("rows of no columns", bare(5)?)] {
        store.publish("x", &table)?;
        let frame = store.verify("x")?;
        let shape = (frame.num_rows(), frame.num_columns());
        ensure!(shape == (table.num_rows(), table.num_columns()), "{what} came back as {shape:?}");
        ensure!(frame.slice(..)?.num_rows() == shape.0, "a part of {what} has other rows");
        let none: [&str; 0] = [];
        ensure!(frame.select(none)?.num_rows() == shape.0, "no columns of {what} have other rows");
        ensure!(store.open("x")?.handle().open()?.num_rows() == shape.0, "the handle of {what}");
    }
    Ok("tables without rows, without columns and without both".to_owned())
}

pub(super) fn columns(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let column = |i: usize| (format!("column {i}"), Arc::new(Int64Array::from(vec![i as i64, -1, 7])) as ArrayRef);
    let table = RecordBatch::try_from_iter((0..COLUMNS).map(column))?;
    store.publish("x", &table)?;
    let start = Instant::now();
    let frame = store.open("x")?;
    same(&frame, &table, "a wide frame")?;
    let one = frame.select(["column 9999"])?.column("column 9999")?;
    ensure!(one[0].as_ref() == table.column(9999).as_ref(), "the last column has other values");
    Ok(format!("{COLUMNS} columns, opened and compared in {:.1?}", start.elapsed()))
}

pub(super) fn batches(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let table = numbers(BATCHES as i64)?;
    let frame = store.publish_with("x", &table, &PublishOptions::new().batch_rows(1))?;
    ensure!(frame.batches().len() == BATCHES, "{} batches", frame.batches().len());
    let start = Instant::now();
    let frame = store.open("x")?;
    same(&frame, &table, "a frame of many batches")?;
    ensure!(frame.slice(BATCHES - 1..)?.num_rows() == 1, "the last row of many batches");
    Ok(format!("{BATCHES} batches, opened and compared in {:.1?}", start.elapsed()))
}

/// More rows than 32 bits count.
pub(super) fn rows(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let most = i32::MAX as usize;
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Null, true)]));
    let mut writer = store.writer("x", schema.clone())?;
    for rows in [most, most, 10] {
        writer.write(&RecordBatch::try_new(schema.clone(), vec![Arc::new(NullArray::new(rows))])?)?;
    }
    writer.publish()?;
    let (frame, expected) = (store.open("x")?, 2 * most + 10);
    ensure!(frame.num_rows() == expected, "{} rows instead of {expected}", frame.num_rows());
    ensure!(frame.slice(expected - 15..)?.batches().len() == 2, "the last rows are not in two batches");
    ensure!(frame.slice(expected..=expected).is_err(), "a row behind the last one exists");
    Ok(format!("{expected} rows"))
}

/// The number of a version at its limit: an error, and never a number that was used.
pub(super) fn versions(directory: &Path) -> Result<String> {
    let path = directory.join("store");
    let store = Store::open_at(&path)?;
    let table = numbers(3)?;
    store.publish("x", &table)?;
    let control = path.join("store");
    let text = fs::read_to_string(&control)?;
    let (head, _) = text.rsplit_once("next ").ok_or("another control file than expected")?;
    fs::write(&control, format!("{head}next {:020}\n", u64::MAX - 1))?;
    let mut last = store.open("x")?.version();
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        match store.publish("x", &table) {
            Ok(frame) => {
                ensure!(frame.version() > last, "version {} after {last}", frame.version());
                last = frame.version();
                outcomes.push(format!("version {last}"));
            }
            Err(error) => {
                let message = error.to_string();
                // Publishing again cannot help.
                ensure!(message.contains("into another store"), "the advice is missing: {message}");
                outcomes.push(message);
            }
        }
        same(&store.open("x")?, &table, "the frame before")?;
        ensure!(store.open("x")?.version() == last, "the latest version went from {last} back");
    }
    let refused = store.publish("y", &table).is_err();
    ensure!(refused, "a version was given out behind the limit");
    Ok(outcomes.join("; "))
}

pub(super) fn names(directory: &Path) -> Result<String> {
    with_names(directory, NAMES)
}

pub(super) fn many_names(directory: &Path) -> Result<String> {
    with_names(directory, MANY_NAMES)
}

fn with_names(directory: &Path, names: usize) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let start = Instant::now();
    for i in 0..names {
        store.publish(format!("name{i}"), &numbers(1 + i as i64 % 7)?)?;
    }
    let published = start.elapsed();
    ensure!(store.names()?.len() == names, "{} names of {names}", store.names()?.len());
    for i in (0..names).step_by(97) {
        let rows = store.open(format!("name{i}"))?.num_rows();
        ensure!(rows == 1 + i % 7, "`name{i}` has {rows} rows");
    }
    let before = Instant::now();
    let swept = store.sweep()?;
    ensure!(swept.problems.is_empty(), "a sweep has problems: {:?}", swept.problems);
    let sweep = before.elapsed();
    for i in 0..names {
        ensure!(store.remove(format!("name{i}"))?, "`name{i}` was not removed");
    }
    store.sweep()?;
    let left = store.names()?.len();
    ensure!(left == 0, "{left} names are left");
    Ok(format!("{names} names published in {published:.1?}, swept in {sweep:.1?}"))
}

/// A value longer than 31 bits count.
pub(super) fn large_value(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let length = (1_usize << 31) + 1;
    let mut value = vec![0_u8; length];
    value[length - 1] = 7;
    let array = LargeBinaryArray::from_vec(vec![value.as_slice()]);
    let table = RecordBatch::try_from_iter([("value", Arc::new(array) as ArrayRef)])?;
    store.publish("x", &table)?;
    drop(table);
    let column = store.open("x")?.column("value")?;
    let found = column[0].as_any().downcast_ref::<LargeBinaryArray>().ok_or("another type")?;
    ensure!(found.len() == 1 && found.value(0) == value, "a large value came back as another one");
    Ok(format!("a value of {length} bytes"))
}
