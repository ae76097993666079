//! DataFusion as the engine: a separate program, so that the command need not be compiled with it.

use std::{
    io::{Read, Write},
    process::{Child, Stdio},
};

use coframe::{
    IpcReader, Store,
    arrow::{array::RecordBatch, datatypes::SchemaRef},
};

use crate::{
    failure::{Failure, Result},
    programs,
};

/// Reads a query from standard input and writes its rows to standard output as an Arrow stream.
const PROGRAM: &str = "coframe-datafusion";

/// Returns the rows of a query, as DataFusion computes them.
pub(super) fn run(store: &Store, query: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut child = start(store)?;
    // An engine that ended early reports the reason on standard error.
    let _ = child.stdin.take().map(|mut input| input.write_all(query.as_bytes()));
    let rows = child.stdout.take().map(|output| IpcReader::stream(output, "the answer of coframe-datafusion"));
    let rows = rows.transpose().and_then(|reader| {
        let Some(reader) = reader else { return Ok(None) };
        let schema = reader.schema().clone();
        Ok(Some((schema, reader.collect::<coframe::Result<Vec<_>>>()?)))
    });
    let mut message = String::new();
    if let Some(mut errors) = child.stderr.take() {
        let _ = errors.read_to_string(&mut message);
    }
    let status = child.wait().map_err(|error| Failure::failed(format_args!("waiting for {PROGRAM}: {error}")))?;
    if !status.success() {
        return Err(Failure::failed(match message.trim() {
            "" => format!("{PROGRAM} ended with {status}"),
            message => message.lines().map(str::trim).collect::<Vec<_>>().join(" "),
        }));
    }
    rows?.ok_or_else(|| Failure::failed(format_args!("{PROGRAM} has no standard output")))
}

fn start(store: &Store) -> Result<Child> {
    let mut command = programs::command(PROGRAM);
    command.arg(store.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let needed_by = "the engine datafusion";
    command.spawn().map_err(|error| programs::not_started(PROGRAM, needed_by, "crates/datafusion/engine", &error))
}
