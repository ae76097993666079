//! Where the values of a table are in memory.

use arrow::{
    array::{Array, ArrayData},
    buffer::NullBuffer,
};
use pyo3::prelude::*;

use crate::{error::Result, from_python::reader};

/// The rows, offset and address of each buffer in a table, column by column.
///
/// Two tables of the same types with the same addresses have the same values while both live and neither is written to.
#[pyfunction]
pub(crate) fn addresses(table: &Bound<'_, PyAny>) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for batch in reader(table)? {
        let batch = batch.map_err(|e| crate::error::exception(table.py(), "UnsupportedError", &e.to_string()))?;
        for column in batch.columns() {
            collect(&column.to_data(), &mut found);
        }
    }
    Ok(found)
}

fn collect(data: &ArrayData, found: &mut Vec<usize>) {
    found.extend([data.len(), data.offset()]);
    found.extend(data.buffers().iter().map(|buffer| buffer.as_ptr().addr()));
    found.extend(data.nulls().map(|nulls| nulls.buffer().as_ptr().addr()));
    found.extend(data.nulls().map(NullBuffer::offset));
    for child in data.child_data() {
        collect(child, found);
    }
}
