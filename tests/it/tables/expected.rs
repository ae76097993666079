//! The rows that must come out, whatever the batches are that they come in.

use std::sync::Arc;

use coframe::{
    Frame,
    arrow::{
        array::{ArrayRef, RecordBatch},
        datatypes::{DataType, SchemaRef, UnionMode},
    },
};

use super::{has, show};

/// The rows of these batches.
pub(crate) struct Expected {
    pub(crate) schema: SchemaRef,
    /// The types are those of the batches, which a layout may change.
    pub(crate) is_same_type: bool,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Expected {
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[track_caller]
    pub(crate) fn is_in(&self, frame: &Frame) {
        assert_eq!(frame.num_rows(), self.rows());
        self.is_equal(frame.schema(), frame.batches());
    }

    #[track_caller]
    pub(crate) fn is_equal(&self, schema: &SchemaRef, batches: &[RecordBatch]) {
        assert_eq!(*schema, self.schema);
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), self.rows());
        for (column, field) in self.schema.fields().iter().enumerate() {
            let (found, expected) = (column_of(batches, column), column_of(&self.batches, column));
            assert!(found.iter().all(|array| array.data_type() == field.data_type()), "{field}");
            assert_eq!(texts(&found), texts(&expected), "{field}");
            // Arrow compares what a sparse union leaves unused, and a merged dictionary has each value once.
            if self.is_same_type && !has_dictionary_of_unions(field.data_type()) {
                assert_logically_equal(&found, &expected);
            }
        }
    }

    pub(crate) fn slice(&self, start: usize, len: usize) -> Self {
        let mut batches = Vec::new();
        let (mut before, end) = (0, start + len);
        for batch in &self.batches {
            let (first, last) = (start.max(before), end.min(before + batch.num_rows()));
            if first < last {
                batches.push(batch.slice(first - before, last - first));
            }
            before += batch.num_rows();
        }
        Self { schema: self.schema.clone(), is_same_type: self.is_same_type, batches }
    }

    pub(crate) fn select(&self, columns: &[usize]) -> Self {
        let batches = self.batches.iter().map(|batch| batch.project(columns).unwrap()).collect();
        let schema = Arc::new(self.schema.project(columns).unwrap());
        Self { schema, is_same_type: self.is_same_type, batches }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }
}

pub(crate) fn column_of(batches: &[RecordBatch], column: usize) -> Vec<ArrayRef> {
    batches.iter().map(|batch| batch.column(column).clone()).collect()
}

/// The rows of a column as text.
pub(crate) fn texts(arrays: &[ArrayRef]) -> Vec<String> {
    arrays.iter().flat_map(|array| (0..array.len()).map(|row| show::row(array, row))).collect()
}

fn has_dictionary_of_unions(data_type: &DataType) -> bool {
    let is_sparse = |inner: &DataType| matches!(inner, DataType::Union(_, UnionMode::Sparse));
    has(data_type, &|inner| matches!(inner, DataType::Dictionary(_, values) if has(values, &is_sparse)))
}

/// Arrow's own comparison, of the stretches that are in one array on both sides.
#[track_caller]
fn assert_logically_equal(found: &[ArrayRef], expected: &[ArrayRef]) {
    let (mut found, mut expected) = (found.to_vec(), expected.to_vec());
    loop {
        found.retain(|array| !array.is_empty());
        expected.retain(|array| !array.is_empty());
        let (Some(a), Some(b)) = (found.first_mut(), expected.first_mut()) else { break };
        let len = a.len().min(b.len());
        assert_eq!(a.slice(0, len).to_data(), b.slice(0, len).to_data());
        *a = a.slice(len, a.len() - len);
        *b = b.slice(len, b.len() - len);
    }
}
