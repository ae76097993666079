//! A `DataFrame` as a table to publish.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array},
    datatypes::{Schema, SchemaRef},
};
use polars::{frame::DataFrame, prelude::Series, series::IsSorted};

use super::{
    categories::{Dictionaries, dictionaries},
    dtype::to_field,
    from_polars::export,
};
use crate::{
    error::{Error, Result},
    ipc::PolarsHints,
    table::{IntoTableStream, TableStream, via},
};

impl IntoTableStream<via::Polars> for &DataFrame {
    fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
    where
        Self: 'a,
    {
        let columns: Vec<Series> = self.columns().iter().map(|c| c.as_materialized_series().clone()).collect();
        let fields = columns.iter().map(|series| to_field(series.name(), series.dtype(), series.name()));
        let schema = SchemaRef::new(Schema::new(fields.collect::<Result<Vec<_>>>()?));
        let sorted = columns.iter().enumerate().filter_map(|(column, series)| match series.is_sorted_flag() {
            IsSorted::Ascending => Some((column, false)),
            IsSorted::Descending => Some((column, true)),
            IsSorted::Not => None,
        });
        let hints = PolarsHints { polars: true, sorted: sorted.collect() };
        let chunks = columns.iter().flat_map(|s| s.chunks().iter().map(|chunk| (s.dtype(), chunk.as_ref())));
        let dictionaries = dictionaries(&chunks, self.height())?;
        let cuts = cuts(&columns, self.height());
        let starts = columns.iter().map(starts).collect();
        let frame = Columns { series: columns, starts, schema: schema.clone(), dictionaries };
        let batches = cuts.into_iter().scan(0, |start, end| Some((std::mem::replace(start, end), end)));
        let rows = Box::new(batches.map(move |(start, end)| frame.batch(start, end)));
        Ok(TableStream { schema, rows, hints })
    }
}

/// Where batches end: wherever a chunk of any column ends.
fn cuts(columns: &[Series], height: usize) -> BTreeSet<usize> {
    let ends = |series: &Series| {
        let lengths: Vec<usize> = series.chunk_lengths().collect();
        lengths.into_iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        })
    };
    let mut cuts: BTreeSet<usize> = columns.iter().flat_map(ends).filter(|end| *end > 0).collect();
    if columns.is_empty() && height > 0 {
        cuts.insert(height);
    }
    cuts
}

/// The first row of each chunk.
fn starts(series: &Series) -> Vec<usize> {
    let lengths = series.chunk_lengths();
    lengths.scan(0, |start, len| Some(std::mem::replace(start, *start + len))).collect()
}

struct Columns {
    series: Vec<Series>,
    starts: Vec<Vec<usize>>,
    schema: SchemaRef,
    dictionaries: Dictionaries,
}

impl Columns {
    /// The rows of one range, which is inside one chunk of every column.
    fn batch(&self, start: usize, end: usize) -> Result<RecordBatch> {
        let columns = self.series.iter().zip(&self.starts).zip(self.schema.fields());
        let columns = columns.map(|((series, starts), field)| {
            // Of several chunks that start at the same row, the last one is not empty.
            let position = starts.partition_point(|first| *first <= start).saturating_sub(1);
            let (Some(chunk), Some(before)) = (series.chunks().get(position), starts.get(position)) else {
                let what = format!("column `{}`", field.name());
                return Err(Error::invalid(what, "it has fewer rows than its frame"));
            };
            let array = chunk.sliced(start - before, end - start);
            Ok(make_array(export(array.as_ref(), series.dtype(), field, &self.dictionaries)?))
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(end - start));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| Error::arrow("put a batch together", e))
    }
}
