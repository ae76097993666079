//! Parquet files, one row group after the other.

use coframe::arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{
    Batches,
    input::{Input, Progress},
};
use crate::failure::{Failure, Result};

/// Rows of a batch at most, and bytes at about.
const ROWS: usize = 65_536;
const BYTES: u64 = 16 << 20;

type Builder = ParquetRecordBatchReaderBuilder<std::fs::File>;

fn builder(input: &mut Input) -> Result<Builder> {
    let (file, label) = (input.file()?, &input.label);
    // The reader panics on types that it does not know, such as Polars' integers of 128 bits.
    match std::panic::catch_unwind(|| Builder::try_new(file)) {
        Ok(opened) => opened.map_err(|error| damaged(label, None, &error)),
        Err(panic) => {
            let why = crate::failure::panic_text(panic.as_ref());
            Err(Failure::failed(format_args!(
                "{label} has a column that cannot be read: {why}; write it as another type"
            )))
        }
    }
}

pub(super) fn schema(input: &mut Input) -> Result<Schema> {
    Ok(builder(input)?.schema().as_ref().clone())
}

pub(super) fn batches(mut input: Input, progress: &Progress) -> Result<Batches<'_>> {
    let builder = builder(&mut input)?;
    let metadata = builder.metadata();
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    let bytes: i64 = metadata.row_groups().iter().map(parquet::file::metadata::RowGroupMetaData::total_byte_size).sum();
    let each = (u64::try_from(bytes).unwrap_or(0) / rows.max(1)).max(1);
    let size = usize::try_from(BYTES / each).unwrap_or(ROWS).clamp(1, ROWS);
    let label = input.label.clone();
    let reader = builder.with_batch_size(size).build().map_err(|error| damaged(&label, None, &error))?;
    let share = input.len().unwrap_or(0) as f64 / rows.max(1) as f64;
    Ok(Box::new(Rows { reader, label, done: 0, share, progress }))
}

struct Rows<'a> {
    reader: ParquetRecordBatchReader,
    label: String,
    done: u64,
    /// Bytes of the file for each row, for the progress.
    share: f64,
    progress: &'a Progress,
}

impl Iterator for Rows<'_> {
    type Item = Result<coframe::arrow::array::RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(damaged(&self.label, Some(self.done), &error))),
        };
        let (before, rows) = (self.done, batch.num_rows() as u64);
        self.done += rows;
        let bytes = |rows: u64| (rows as f64 * self.share) as u64;
        self.progress.inc(bytes(self.done) - bytes(before));
        Some(Ok(batch))
    }
}

fn damaged(label: &str, row: Option<u64>, error: &dyn std::error::Error) -> Failure {
    let at = row.map(|row| format!(" after row {row}")).unwrap_or_default();
    let chain = crate::failure::chain(error);
    Failure::failed(format_args!("{label} is no whole Parquet file{at}: {chain}; get an undamaged copy of it"))
}
