//! Frames whose every value follows from a name and a token, which the frame carries as metadata.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray},
    datatypes::{Int16Type, Int64Type},
};
use coframe::{Frame, PublishOptions, Store};

use crate::{
    Result, ensure,
    random::{Random, mixed},
};

/// Names that no process removes, so that a reader always finds them.
pub(crate) const KEPT: [&str; 3] = ["a", "b", "draft-c"];
/// Names that processes remove and rename.
pub(crate) const REMOVED: [&str; 2] = ["r", "s"];
/// A name for copies of the segments of other names.
pub(crate) const MIRROR: &str = "m";
/// A name that only the driver publishes: its transfer has several chunks, and it is rarely superseded, so that an
/// interrupted pull can be resumed.
pub(crate) const LARGE: &str = "large";

const TEXTS: [&str; 4] = ["", "short", "longer than the twelve bytes of a view", "žluťoučký kůň"];

fn rows(name: &str, token: u64) -> usize {
    // Some take many pages, so that a process dies between two writes of one frame.
    let (least, most) = match name {
        LARGE => (400_000, 100_000),
        _ if token.is_multiple_of(16) => (1, 40_000),
        _ => (1, 3000),
    };
    least + (token >> 8) as usize % most
}

/// The values of all rows: any bits at all.
fn values(name: &str, token: u64) -> Vec<u64> {
    let of = name.bytes().fold(0, |sum, byte| mixed(sum ^ u64::from(byte)));
    (0..rows(name, token)).map(|row| mixed(of ^ token ^ (row as u64) << 40)).collect()
}

/// A column of each way in which the format lays out buffers; of the large frame only numbers, which take little time.
pub(crate) fn table(name: &str, token: u64) -> Result<RecordBatch> {
    let values = values(name, token);
    let text = |value: &u64| (!value.is_multiple_of(5)).then(|| TEXTS[(value >> 9) as usize % TEXTS.len()]);
    let list = |value: &u64| {
        (!value.is_multiple_of(7)).then(|| (0..value % 3).map(|i| Some((value >> i) as i64)).collect::<Vec<_>>())
    };
    let numbers = values.iter().map(|value| (!value.is_multiple_of(11)).then_some(*value as i64));
    let numbers = Arc::new(numbers.collect::<Int64Array>()) as ArrayRef;
    if name == LARGE {
        return Ok(RecordBatch::try_from_iter_with_nullable([("number", numbers, true)])?);
    }
    let columns: [(&str, ArrayRef); 5] = [
        ("number", numbers),
        ("text", Arc::new(values.iter().map(text).collect::<StringArray>())),
        ("view", Arc::new(values.iter().map(text).collect::<StringViewArray>())),
        ("category", Arc::new(values.iter().map(text).collect::<DictionaryArray<Int16Type>>())),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(values.iter().map(list)))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))?)
}

/// Publishes a frame with a random token; returns the token with it.
pub(crate) fn publish(store: &Store, name: &str, random: &mut Random) -> Result<(Frame, u64)> {
    let token = random.next();
    let table = table(name, token)?;
    let options = options(name, token).keep(random.below(3) as u32);
    let frame = match random.below(3) {
        0 => store.publish_with(name, &table, &options)?,
        1 => store.publish_with(name, &table, &options.batch_rows(1 + table.num_rows() / 3))?,
        _ => {
            let mut writer = store.writer_with(name, table.schema(), &options)?;
            let half = table.num_rows() / 2;
            writer.write(&table.slice(0, half))?;
            writer.write(&table.slice(half, table.num_rows() - half))?;
            writer.publish()?
        }
    };
    Ok((frame, token))
}

pub(crate) fn options(name: &str, token: u64) -> PublishOptions {
    PublishOptions::new().metadata("of", name).metadata("token", token.to_string())
}

/// The token of a frame.
pub(crate) fn token(frame: &Frame) -> Result<u64> {
    let text = frame.metadata().get("token").ok_or("a frame without a token")?;
    Ok(text.parse()?)
}

/// Compares every value of a frame with what its name and token make of it; returns the token.
pub(crate) fn check(frame: &Frame) -> Result<u64> {
    let (what, token) = (format!("`{}@{}`", frame.name(), frame.version()), token(frame)?);
    let of = frame.metadata().get("of").map_or("", String::as_str);
    let name = frame.name().as_str();
    let renamed = REMOVED.contains(&name) && REMOVED.contains(&of);
    ensure!(of == name || renamed || name == MIRROR, "{what} has the content of `{of}`");
    compare(&what, frame.batches(), &table(of, token)?)?;
    Ok(token)
}

/// Compares every value of batches with the table that they were published from.
pub(crate) fn compare(what: &str, batches: &[RecordBatch], expected: &RecordBatch) -> Result<()> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    ensure!(rows == expected.num_rows(), "{what} is torn: {rows} rows in its batches");
    let mut at = 0;
    for batch in batches {
        let part = expected.slice(at, batch.num_rows());
        let torn = batch.columns().iter().zip(part.columns()).position(|(found, expected)| found != expected);
        ensure!(torn.is_none(), "{what} is torn: column {torn:?}, rows from {at}");
        ensure!(batch.num_columns() == expected.num_columns(), "{what} has {} columns", batch.num_columns());
        at += batch.num_rows();
    }
    Ok(())
}
