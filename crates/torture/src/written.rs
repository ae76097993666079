//! Random tables for readers in other languages: published as frames, with the rows that a reader must find.
//!
//! Prints a line of JSON for each table. The rows are texts that do not depend on layouts (`tables::show`), and Arrow's IPC
//! carries the schema, so that a reader compares both without code of coframe:
//!
//! ```text
//! {"table": 7, "name": "t7", "rows": 2, "schema": "ffffffff..", "columns": [["1", "null"]]}
//! {"table": 8, "refused": "column `c0`: ..", "batches": "ffffffff.."}
//! ```
//!
//! `batches` are those of a refused table as Arrow's writer encodes them, or null if it cannot.

use std::{
    io::Write,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use arrow::{array::RecordBatch, error::ArrowError, ipc::writer::StreamWriter};
use coframe::{Frame, PublishOptions, Store};
use serde_json::{Value, json};

use crate::{
    Result,
    tables::{
        Random, Table, check_refusal,
        expected::{column_of, texts},
        show::hex,
    },
};

pub(crate) fn run(store: &str, seeds: Range<u64>) -> Result<()> {
    let store = Store::open_at(Path::new(store))?;
    let mut out = std::io::stdout().lock();
    for seed in seeds {
        writeln!(out, "{}", write(&store, seed)?)?;
    }
    Ok(())
}

fn write(store: &Store, seed: u64) -> Result<Value> {
    let mut random = Random::new(seed);
    let (table, name) = (Table::random(&mut random), format!("t{seed}"));
    if let Err(error) = publish(store, &name, &mut random, &table) {
        check_refusal(&error.to_string(), &format!("{error:?}"), &table.schema);
        // Arrow panics on some of these types.
        let batches = catch_unwind(AssertUnwindSafe(|| encoded(&table, &table.batches)));
        let batches = batches.ok().and_then(std::result::Result::ok);
        return Ok(json!({"table": seed, "refused": error.to_string(), "batches": batches}));
    }
    let rows: usize = table.batches.iter().map(RecordBatch::num_rows).sum();
    let columns = 0..table.schema.fields().len();
    let columns: Vec<Vec<String>> = columns.map(|column| texts(&column_of(&table.batches, column))).collect();
    Ok(json!({"table": seed, "name": name, "rows": rows, "schema": encoded(&table, &[])?, "columns": columns}))
}

fn publish(store: &Store, name: &str, random: &mut Random, table: &Table) -> coframe::Result<Frame> {
    let mut options = PublishOptions::new().statistics(random.one_in(2));
    if random.one_in(2) {
        options = options.batch_rows(random.within(1, 8));
    }
    let mut writer = store.writer_with(name, table.schema.clone(), &options)?;
    table.batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.publish()
}

/// A stream of Arrow's IPC, in hexadecimal digits.
fn encoded(table: &Table, batches: &[RecordBatch]) -> std::result::Result<String, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &table.schema)?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    let mut text = String::new();
    hex(&mut text, &writer.into_inner()?);
    Ok(text.split_off("0x".len()))
}
