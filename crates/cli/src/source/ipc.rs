//! Arrow IPC files and streams; the library reads them and validates every value.

use coframe::{IpcReader, arrow::datatypes::Schema};

use super::{
    Batches,
    input::{Counted, Input, Progress},
};
use crate::failure::Result;

pub(super) fn schema(input: &mut Input) -> Result<Schema> {
    if input.peek(6)? == b"ARROW1" {
        let file = input.file()?;
        let reader = IpcReader::file(file, &input.label)?;
        return Ok(reader.schema().as_ref().clone());
    }
    let label = input.label.clone();
    let schema = input.look(|reader| IpcReader::stream(reader, &label).map(|r| r.schema().as_ref().clone()))?;
    Ok(schema?)
}

pub(super) fn batches(mut input: Input, progress: &Progress) -> Result<Batches<'_>> {
    let label = input.label.clone();
    let reader = if input.peek(6)? == b"ARROW1" {
        let counted = Counted { file: input.file()?, progress: progress.clone() };
        IpcReader::file(counted, &label)?
    } else {
        IpcReader::stream(std::io::BufReader::with_capacity(1 << 18, input.bytes(progress)?), &label)?
    };
    Ok(Box::new(reader.map(|batch| Ok(batch?))))
}
