//! Tables in: from every object that exports Arrow's C stream or C array, batch by batch.
#![expect(unsafe_code, reason = "Arrow's C data interface is made of pointers")]

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::SchemaRef,
    error::ArrowError,
    ffi::{FFI_ArrowArray, FFI_ArrowSchema},
    ffi_stream::FFI_ArrowArrayStream,
};
use coframe::CStreamReader;
use pyo3::{
    exceptions::PyKeyboardInterrupt,
    prelude::*,
    types::{PyCapsule, PyIterator, PyTuple},
};

use crate::{
    error::{Result, exception, through_arrow, unpanicked},
    numpy::Columns,
};

/// A reader that any thread may use while Python runs on.
pub(crate) type Reader = Box<dyn RecordBatchReader + Send>;

/// Reads a table that has `__arrow_c_stream__` or `__arrow_c_array__`, or columns of numpy arrays.
pub(crate) fn reader(table: &Bound<'_, PyAny>) -> Result<Reader> {
    let py = table.py();
    if let Ok(columns) = table.cast::<Columns>() {
        let batch = columns.get().batch().clone();
        return Ok(Box::new(Once { schema: batch.schema(), batch: Some(batch) }));
    }
    if table.hasattr("__arrow_c_stream__")? {
        let capsule = table.call_method0("__arrow_c_stream__")?;
        let capsule = capsule.cast::<PyCapsule>().map_err(PyErr::from)?;
        return Ok(Box::new(Stream(stream_reader(capsule)?)));
    }
    if table.hasattr("__arrow_c_array__")? {
        let capsules = table.call_method0("__arrow_c_array__")?;
        let capsules = capsules.cast::<PyTuple>().map_err(PyErr::from)?;
        let (schema, array) = (capsules.get_item(0)?, capsules.get_item(1)?);
        let reader = array_reader(
            schema.cast::<PyCapsule>().map_err(PyErr::from)?,
            array.cast::<PyCapsule>().map_err(PyErr::from)?,
        )?;
        let schema = reader.schema();
        let batch = Stream(reader).next().transpose().map_err(|e| refused(py, &e))?;
        return Ok(Box::new(Once { schema, batch }));
    }
    let found = table.get_type().fully_qualified_name()?;
    let message = format!("a table of type {found}: expected something with __arrow_c_stream__ or __arrow_c_array__");
    Err(exception(py, "ArgumentTypeError", &message).into())
}

fn array_reader(schema: &Bound<'_, PyCapsule>, array: &Bound<'_, PyCapsule>) -> Result<CStreamReader> {
    let schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: capsules of these names hold a valid ArrowSchema and a valid ArrowArray (the PyCapsule protocol), which live
    // as long as the capsules. The array is moved out, and marked as released there.
    let reader = unsafe { CStreamReader::from_raw_array(array.as_ptr(), schema.as_ptr()) }?;
    // SAFETY: every exporter of the C data interface promises valid values.
    Ok(unsafe { reader.trusting_values() })
}

fn stream_reader(stream: &Bound<'_, PyCapsule>) -> Result<CStreamReader> {
    let stream = stream.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a valid ArrowArrayStream; it is moved out, and marked as released there.
    let reader = unsafe { CStreamReader::from_raw(stream.as_ptr()) }?;
    // SAFETY: every exporter of the C data interface promises valid values.
    Ok(unsafe { reader.trusting_values() })
}

fn refused(py: Python<'_>, error: &ArrowError) -> PyErr {
    let class = if matches!(error, ArrowError::InvalidArgumentError(_)) { "InvalidError" } else { "UnsupportedError" };
    exception(py, class, &format!("the table cannot be read: {error}"))
}

/// One batch.
struct Once {
    schema: SchemaRef,
    batch: Option<RecordBatch>,
}

impl Iterator for Once {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch.take().map(Ok)
    }
}

impl RecordBatchReader for Once {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// The batches of an Arrow C stream.
struct Stream(CStreamReader);

impl Iterator for Stream {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Arrow panics on some arrays that are not what their schema declares.
        let batch = unpanicked(|| self.0.next());
        let batch = batch.unwrap_or_else(|panic| Some(Err(ArrowError::CDataInterface(panic))));
        batch.map(|batch| batch.map_err(interruption))
    }
}

/// The exceptions of a Python source come as texts. `KeyboardInterrupt` is the caller's own.
fn interruption(error: ArrowError) -> ArrowError {
    let is_its_line = |line: &str| line == "KeyboardInterrupt" || line.ends_with(": KeyboardInterrupt");
    match error {
        ArrowError::CDataInterface(text) if text.trim_end().lines().any(is_its_line) => {
            through_arrow(PyKeyboardInterrupt::new_err(()))
        }
        error => error,
    }
}

impl RecordBatchReader for Stream {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }
}

/// Tables that Python yields one after the other, as one: the collection of a lazy query.
pub(crate) struct Chain {
    schema: SchemaRef,
    tables: Py<PyIterator>,
    current: Option<Reader>,
}

impl Chain {
    /// The schema is that of `first`, whose rows come first.
    pub(crate) fn new(first: &Bound<'_, PyAny>, tables: &Bound<'_, PyIterator>) -> Result<Self> {
        let current = reader(first)?;
        Ok(Self { schema: current.schema(), tables: tables.clone().unbind(), current: Some(current) })
    }
}

impl Iterator for Chain {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.current.as_mut()?.next() {
                return Some(batch);
            }
            let next = Python::attach(|py| match self.tables.bind(py).clone().next() {
                Some(Ok(table)) => Some(reader(&table).map_err(PyErr::from)),
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
            match next {
                Some(Ok(reader)) => self.current = Some(reader),
                Some(Err(error)) => return Some(Err(through_arrow(error))),
                None => self.current = None,
            }
        }
    }
}

impl RecordBatchReader for Chain {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// A reader that ends with the exception of a signal handler, such as `KeyboardInterrupt`.
pub(crate) struct Interruptible(pub(crate) Reader);

impl Iterator for Interruptible {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = Python::attach(|py| py.check_signals().map_err(through_arrow)) {
            return Some(Err(error));
        }
        self.0.next()
    }
}

impl RecordBatchReader for Interruptible {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }
}
