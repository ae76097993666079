//! Dictionaries that come in parts.

use arrow::{
    array::{Array, ArrayData, ArrayRef, make_array},
    compute::concat,
    error::ArrowError,
};

/// A dictionary and the deltas that were added to it, each validated.
pub(in crate::ipc) struct Parts {
    first: ArrayData,
    /// The deltas since the last batch.
    deltas: Vec<ArrayRef>,
}

impl Parts {
    pub(in crate::ipc) fn new(whole: ArrayData) -> Self {
        Self { first: whole, deltas: Vec::new() }
    }

    pub(in crate::ipc) fn push(&mut self, delta: ArrayData) {
        self.deltas.push(make_array(delta));
    }

    /// Joins all parts into one array. Returns its size in bytes if there were several parts.
    ///
    /// Called when a batch needs the dictionary, and not for each delta: the deltas of a file, which all come before
    /// its batches, are joined once.
    pub(in crate::ipc) fn join(&mut self) -> Result<usize, ArrowError> {
        if self.deltas.is_empty() {
            return Ok(0);
        }
        let first = make_array(self.first.clone());
        let parts = std::iter::once(&first).chain(&self.deltas);
        let parts: Vec<&dyn Array> = parts.map(|part| -> &dyn Array { part }).collect();
        let whole = concat(&parts)?;
        self.deltas.clear();
        self.first = whole.to_data();
        Ok(whole.get_buffer_memory_size())
    }

    /// All values, as of the last [`join`](Self::join).
    pub(in crate::ipc) fn whole(&self) -> ArrayData {
        self.first.clone()
    }
}
