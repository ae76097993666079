//! Parquet files, one row group after the other.

use std::{
    fs::File,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use coframe::arrow::{
    array::{Array, RecordBatch},
    datatypes::{Schema, SchemaRef},
};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::{
    Batches,
    input::{Input, Progress},
    int96,
    zones::with_zones,
};
use crate::failure::{Failure, Result, chain, panic_text};

/// The maximum number of rows of a batch, and its approximate size in bytes.
const ROWS: usize = 65_536;
const BYTES: usize = 16 << 20;

/// The number of rows from which the size of the others is estimated. A file records only the encoded size, and a
/// string that occurs often is encoded once.
const PROBE: usize = 64;

type Builder = ParquetRecordBatchReaderBuilder<File>;

fn builder(input: &mut Input) -> Result<Builder> {
    let (file, label) = (input.file()?, &input.label);
    // The reader panics on types that it does not support, such as Polars' integers of 128 bits.
    match catch_unwind(|| Builder::try_new(file)) {
        Ok(opened) => opened.map_err(|error| damaged(label, None, &chain(&error))),
        Err(panic) => {
            let why = panic_text(panic.as_ref());
            Err(Failure::failed(format_args!(
                "{label} has a column that cannot be read: {why}; write it as another type"
            )))
        }
    }
}

pub(super) fn schema(input: &mut Input) -> Result<Schema> {
    let builder = builder(input)?;
    let schema = with_zones(builder.schema(), builder.metadata());
    if int96::leaves(builder.metadata()).is_empty() {
        return Ok(schema);
    }
    let (file, label) = (input.file()?, &input.label);
    let marked = catch_unwind(AssertUnwindSafe(|| int96::mark(&schema, file)));
    let marked = marked.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).to_owned()));
    marked.map_err(|why| Failure::failed(format_args!("{label}: {why}")))
}

pub(super) fn batches<'a>(mut input: Input, schema: &SchemaRef, progress: &'a Progress) -> Result<Batches<'a>> {
    let file = input.file()?;
    let broken = |error| damaged(&input.label, None, &chain(&error));
    let mut metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(broken)?;
    let zoned = with_zones(metadata.schema(), metadata.metadata());
    let leaves = int96::leaves(metadata.metadata());
    if !leaves.is_empty() || zoned != **metadata.schema() {
        let hint = int96::hint(&zoned, &leaves, schema);
        let options = ArrowReaderOptions::new().with_schema(hint.into());
        metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(broken)?;
    }
    let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
    let share = input.len().unwrap_or(0) as f64 / rows.max(1) as f64;
    let groups = 0..metadata.metadata().num_row_groups();
    Ok(Box::new(Rows { file, metadata, groups, reader: None, label: input.label, done: 0, share, progress }))
}

struct Rows<'a> {
    file: File,
    metadata: ArrowReaderMetadata,
    /// The row groups that were not read yet.
    groups: Range<usize>,
    /// The batches of the current row group.
    reader: Option<ParquetRecordBatchReader>,
    label: String,
    done: u64,
    /// The bytes of the file for each row, for the progress bar.
    share: f64,
    progress: &'a Progress,
}

impl Iterator for Rows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = catch_unwind(AssertUnwindSafe(|| self.batch()));
        // The reader also panics on some damaged files.
        let next = next.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).to_owned()));
        let batch = next.map_err(|why| damaged(&self.label, Some(self.done), &why)).transpose()?;
        if let Ok(batch) = &batch {
            let (before, rows) = (self.done, batch.num_rows() as u64);
            self.done += rows;
            let bytes = |rows: u64| (rows as f64 * self.share) as u64;
            self.progress.inc(bytes(self.done) - bytes(before));
        }
        Some(batch)
    }
}

impl Rows<'_> {
    fn batch(&mut self) -> std::result::Result<Option<RecordBatch>, String> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                return batch.map(Some).map_err(|error| chain(&error));
            }
            let Some(group) = self.groups.next() else { return Ok(None) };
            let size = self.batch_rows(group)?;
            self.reader = Some(self.group(group, size, None)?);
        }
    }

    fn group(
        &self,
        group: usize,
        size: usize,
        limit: Option<usize>,
    ) -> std::result::Result<ParquetRecordBatchReader, String> {
        let file = self.file.try_clone().map_err(|error| error.to_string())?;
        let builder = Builder::new_with_metadata(file, self.metadata.clone());
        let builder = builder.with_row_groups(vec![group]).with_batch_size(size);
        let builder = if let Some(limit) = limit { builder.with_limit(limit) } else { builder };
        builder.build().map_err(|error| chain(&error))
    }

    /// Returns the number of rows of a group for a batch of the right size.
    fn batch_rows(&self, group: usize) -> std::result::Result<usize, String> {
        let described = self.metadata.metadata().row_group(group);
        let rows = usize::try_from(described.num_rows()).unwrap_or(0);
        let encoded = usize::try_from(described.total_byte_size()).unwrap_or(0) / rows.max(1);
        let fitting = |each: usize| (BYTES / each.max(1)).clamp(1, ROWS);
        if fitting(encoded).min(rows) <= PROBE {
            return Ok(fitting(encoded));
        }
        let mut probed = 0;
        for batch in self.group(group, PROBE, Some(PROBE))? {
            let batch = batch.map_err(|error| chain(&error))?;
            let bytes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
            probed = bytes.sum::<usize>() / batch.num_rows().max(1);
        }
        Ok(fitting(encoded.max(probed)))
    }
}

fn damaged(label: &str, row: Option<u64>, why: &str) -> Failure {
    let at = row.map(|row| format!(" after row {row}")).unwrap_or_default();
    Failure::failed(format_args!("{label} is not a complete Parquet file{at}: {why}; get an undamaged copy of it"))
}
