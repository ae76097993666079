//! DataFusion as the engine: a separate program, so that the command need not be compiled with it.

use std::{
    env, io,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use coframe::{
    IpcReader, Store,
    arrow::{array::RecordBatch, datatypes::SchemaRef},
};

use crate::failure::{Failure, Result};

/// Reads a query from standard input and writes its rows to standard output as an Arrow stream.
const PROGRAM: &str = "coframe-datafusion";

/// The rows of a query, as DataFusion computes them.
pub(super) fn run(store: &Store, query: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut child = start(store)?;
    // An engine that ended early says why on standard error.
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

/// The program next to this one, else the one in PATH.
fn start(store: &Store) -> Result<Child> {
    let beside = env::current_exe().ok().map(|command| command.with_file_name(PROGRAM)).filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from(PROGRAM));
    let mut command = Command::new(&program);
    command.arg(store.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::usage(format_args!(
            "the engine datafusion is the program `{PROGRAM}`, which is not installed; install it from a checkout with \
             `cargo install --path crates/datafusion/engine`, or leave out --engine"
        )),
        _ => Failure::failed(format_args!("could not start `{}`: {error}", program.display())),
    })
}
