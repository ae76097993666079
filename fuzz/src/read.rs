//! Reads every value of what was accepted.

use std::fmt::{self, Write};

use arrow::{
    array::{Array, RecordBatch},
    util::display::{ArrayFormatter, FormatOptions},
};
use coframe::Frame;

use crate::scratch::{Scratch, check_error};

/// Rows up to which a frame is written again.
const ROWS: usize = 1 << 16;

/// Takes this many bytes and then fails: views of lists that overlap print without end.
struct Limited(usize);

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Compares all buffers with Arrow's own rules, and prints the first rows.
pub fn array(array: &dyn Array) {
    array.to_data().validate_full().unwrap_or_else(|error| panic!("accepted, but {error}"));
    let _ = write!(Limited(1 << 16), "{array:?}");
    let options = FormatOptions::default().with_display_error(true);
    let Ok(formatter) = ArrayFormatter::try_new(array, &options) else { return };
    let mut sink = Limited(1 << 18);
    let _ = (0..array.len().min(ROWS)).try_for_each(|row| write!(sink, "{}", formatter.value(row)));
}

/// Reads all columns.
pub fn batch(batch: &RecordBatch) {
    batch.columns().iter().for_each(|column| array(column));
}

/// Reads a frame in every way that the API has, writes it again, and verifies what was written.
pub fn frame(scratch: &Scratch, frame: &Frame) {
    frame.batches().iter().for_each(batch);
    let rows: usize = frame.batches().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, frame.num_rows());
    parts(frame);
    let _ = (frame.copy_report(), frame.metadata(), frame.created(), frame.sorted_columns());
    if let Err(error) = frame.statistics() {
        check_error(&error);
    }
    if let Ok(messages) = frame.messages() {
        messages.for_each(drop);
    }
    if rows <= ROWS {
        match scratch.store.publish("copy", frame.reader()) {
            Ok(_) => drop(scratch.store.verify("copy").expect("what was published is valid")),
            Err(error) => check_error(&error),
        }
    }
    #[cfg(feature = "polars")]
    polars(scratch, frame);
}

/// Slices, and columns by name.
fn parts(frame: &Frame) {
    let rows = frame.num_rows();
    let part = frame.slice(rows / 3..rows - rows / 3).expect("the rows exist");
    part.batches().iter().for_each(batch);
    let text = part.handle().to_string();
    assert_eq!(text.parse::<coframe::Handle>().expect("a handle").to_string(), text);
    for field in frame.schema().fields().iter().take(4) {
        for column in frame.column(field.name()).expect("the column exists") {
            let _ = column.len();
        }
    }
}

#[cfg(feature = "polars")]
fn polars(scratch: &Scratch, frame: &Frame) {
    let df = match frame.to_polars() {
        Ok(df) => df,
        Err(error) => return check_error(&error),
    };
    for column in df.columns() {
        (0..column.len().min(64)).for_each(|row| drop(column.get(row).unwrap().into_static()));
    }
    // To publish it writes every value.
    if df.height() <= ROWS && scratch.store.publish("of_polars", &df).is_ok() {
        scratch.store.verify("of_polars").expect("what was published is valid");
    }
}
