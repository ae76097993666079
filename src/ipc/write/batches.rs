//! Cutting and gathering rows: one record batch per contiguous chunk, small chunks together.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array},
    compute::concat,
    datatypes::{BinaryViewType, DataType, FieldRef, SchemaRef, StringViewType},
    error::ArrowError,
};

use super::{
    canonical::{canonical, whole_bytes},
    view_use::outside,
    views,
};
use crate::error::{Error, Result};
use crate::ipc::tree::any_type;

/// Chunks below this are gathered: 24 columns in 1 000 batches take 14 ms to open, in 10 batches 0.1 ms.
const DEFAULT_ROWS: usize = 1 << 20;
/// Most rows of a batch: many implementations count them in 32 bits with a sign (FORMAT.md, rule S5).
const MAX_ROWS: usize = (1 << 31) - 1;
/// Gathering stops here too unless the caller names another limit; it bounds what a publish keeps on the heap.
const DEFAULT_BYTES: usize = 128 << 20;

/// Rows on their way into record batches.
pub(in crate::ipc) struct BatchCoalescer {
    schema: SchemaRef,
    target: usize,
    max_bytes: usize,
    /// Whether chunks above the target are cut: only when the caller named a target. Otherwise those above [`MAX_ROWS`]
    /// are.
    cut: bool,
    pending: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl BatchCoalescer {
    pub(in crate::ipc) fn new(schema: SchemaRef, batch_rows: Option<usize>, batch_bytes: Option<usize>) -> Self {
        let target = batch_rows.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS);
        let max_bytes = batch_bytes.unwrap_or(DEFAULT_BYTES);
        Self { schema, target, max_bytes, cut: batch_rows.is_some(), pending: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Takes a chunk, and returns what is ready to be written.
    pub(in crate::ipc) fn push(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut ready = Vec::new();
        let mut rest = batch;
        let most = if self.cut { self.target } else { MAX_ROWS };
        while rest.num_rows() > most {
            let head = rest.slice(0, most);
            rest = rest.slice(most, rest.num_rows() - most);
            ready.extend(self.push_one(head)?);
        }
        ready.extend(self.push_one(rest)?);
        Ok(ready)
    }

    fn push_one(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut ready = Vec::new();
        if batch.num_rows() == 0 {
            return Ok(ready);
        }
        if batch.num_rows() >= self.target {
            ready.extend(self.flush()?);
            ready.push(batch);
            return Ok(ready);
        }
        let bytes = sliced_bytes(&batch);
        let is_too_long = self.cut && self.rows + batch.num_rows() > self.target;
        if is_too_long || self.bytes.saturating_add(bytes) > self.max_bytes {
            ready.extend(self.flush()?);
        }
        self.rows += batch.num_rows();
        self.bytes = self.bytes.saturating_add(bytes);
        self.pending.push(batch);
        if self.rows >= self.target || self.bytes >= self.max_bytes {
            ready.extend(self.flush()?);
        }
        Ok(ready)
    }

    /// What is still pending, as one batch.
    pub(in crate::ipc) fn flush(&mut self) -> Result<Option<RecordBatch>> {
        (self.rows, self.bytes) = (0, 0);
        let mut pending = std::mem::take(&mut self.pending);
        match pending.len() {
            0 => Ok(None),
            1 => Ok(pending.pop()),
            _ => {
                let column = |(index, field): (usize, &FieldRef)| {
                    let parts: Vec<&dyn Array> =
                        pending.iter().filter_map(|batch| batch.columns().get(index).map(|column| &**column)).collect();
                    gather_column(&parts).map_err(|e| {
                        Error::arrow(format_args!("gather the small batches of column `{}`", field.name()), e)
                    })
                };
                let columns = self.schema.fields().iter().enumerate().map(column).collect::<Result<_>>()?;
                let rows = pending.iter().map(RecordBatch::num_rows).sum();
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
                    .map(Some)
                    .map_err(|e| Error::arrow("gather small batches", e))
            }
        }
    }
}

/// Joins the parts of a column. Views are copied with what they refer to, so that no second pass has to compact them.
pub(in crate::ipc) fn gather_column(parts: &[&dyn Array]) -> Result<ArrayRef, ArrowError> {
    match parts.first().map(|part| part.data_type()) {
        Some(DataType::Utf8View) => views::gather::<StringViewType>(parts),
        Some(DataType::BinaryView) => views::gather::<BinaryViewType>(parts),
        // arrow refuses bits with an offset as the values of runs, and joins them as they are.
        Some(nested) if any_type(nested, &|inner| matches!(inner, DataType::RunEndEncoded(..))) => {
            let parts = parts.iter().map(|part| canonical(&part.slice(0, part.len()), whole_bytes));
            let parts: Vec<ArrayRef> = parts.collect::<Result<_, _>>()?;
            concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())
        }
        _ => concat(parts),
    }
}

fn sliced_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(bytes_of).sum()
}

/// Bytes of an array's rows, with what its views refer to.
fn bytes_of(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or(0).saturating_add(viewed(array))
}

/// Bytes outside of the views of an array and of those inside it, which Arrow's count leaves out. Of nested ones it may be
/// those of more rows than the array has.
fn viewed(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => outside(array.as_byte_view::<StringViewType>().views()),
        DataType::BinaryView => outside(array.as_byte_view::<BinaryViewType>().views()),
        _ => array.to_data().child_data().iter().map(|child| viewed(&make_array(child.clone()))).sum(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, GenericListArray, Int32Array, RecordBatch, StringViewArray},
        buffer::OffsetBuffer,
        datatypes::{DataType, Field},
    };

    use super::BatchCoalescer;

    fn batch(rows: i32) -> RecordBatch {
        RecordBatch::try_from_iter([("x", Arc::new(Int32Array::from_iter_values(0..rows)) as _)]).unwrap()
    }

    fn lengths(rows: &[i32], target: Option<usize>) -> Vec<usize> {
        lengths_within(rows, target, None)
    }

    fn lengths_within(rows: &[i32], target: Option<usize>, bytes: Option<usize>) -> Vec<usize> {
        let mut coalescer = BatchCoalescer::new(batch(1).schema(), target, bytes);
        let mut ready = Vec::new();
        for rows in rows {
            ready.extend(coalescer.push(batch(*rows)).unwrap());
        }
        ready.extend(coalescer.flush().unwrap());
        ready.iter().map(RecordBatch::num_rows).collect()
    }

    #[test]
    fn small_chunks_become_one_batch_and_empty_ones_are_dropped() {
        assert_eq!(lengths(&[3, 0, 4, 5], None), [12]);
    }

    #[test]
    fn a_large_chunk_is_not_coalesced_and_flushes_the_chunks_before_it() {
        assert_eq!(lengths(&[3, 4, 2_000_000, 5], None), [7, 2_000_000, 5]);
    }

    #[test]
    fn what_views_refer_to_counts_also_inside_of_lists() {
        let text = "x".repeat(1000);
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values([&text, &text]));
        let list = GenericListArray::<i32>::new(
            Arc::new(Field::new_list_field(DataType::Utf8View, true)),
            OffsetBuffer::from_lengths([2]),
            texts.clone(),
            None,
        );
        for array in [texts, Arc::new(list) as ArrayRef] {
            let batch = RecordBatch::try_from_iter([("x", array)]).unwrap();
            let mut coalescer = BatchCoalescer::new(batch.schema(), None, Some(3000));
            assert!(coalescer.push(batch.clone()).unwrap().is_empty());
            assert_eq!(coalescer.push(batch).unwrap().len(), 1);
        }
    }

    #[test]
    fn coalescing_also_stops_at_the_requested_bytes() {
        assert_eq!(lengths_within(&[3, 4, 5, 6], Some(100), Some(28)), [7, 5, 6]);
    }

    #[test]
    fn a_named_target_is_never_exceeded() {
        assert_eq!(lengths(&[25, 3, 4, 5], Some(10)), [10, 10, 8, 9]);
    }
}
