//! Tables in: from whatever exports Arrow's C stream or C array, batch by batch.
//!
//! Read here rather than with arrow's own reader for two reasons: Polars exports its 128-bit integers under formats of its
//! own, and an array of structs that are null must be an error and not a panic.
#![expect(unsafe_code, reason = "Arrow's C data interface is made of pointers")]

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayData, AsArray, RecordBatch, RecordBatchOptions, RecordBatchReader, StructArray, make_array},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef, UnionMode},
    error::ArrowError,
    ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type},
    ffi_stream::FFI_ArrowArrayStream,
};
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

/// Polars' names for its 128-bit integers, and what they are in a segment (FORMAT.md, section 5).
pub(crate) const WIDE: [(&str, &str); 2] = [("_pli128", "coframe.int128"), ("_plu128", "coframe.uint128")];
pub(crate) const EXTENSION: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

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
        return Ok(Box::new(Stream::of(capsule)?));
    }
    if table.hasattr("__arrow_c_array__")? {
        let capsules = table.call_method0("__arrow_c_array__")?;
        let capsules = capsules.cast::<PyTuple>().map_err(PyErr::from)?;
        let (schema, array) = (capsules.get_item(0)?, capsules.get_item(1)?);
        let batch = of_array(
            schema.cast::<PyCapsule>().map_err(PyErr::from)?,
            array.cast::<PyCapsule>().map_err(PyErr::from)?,
        )?;
        return Ok(Box::new(Once { schema: batch.schema(), batch: Some(batch) }));
    }
    let found = table.get_type().fully_qualified_name()?;
    let message = format!("a table of type {found}: expected something with __arrow_c_stream__ or __arrow_c_array__");
    Err(exception(py, "ArgumentTypeError", &message).into())
}

fn of_array(schema: &Bound<'_, PyCapsule>, array: &Bound<'_, PyCapsule>) -> Result<RecordBatch> {
    let py = schema.py();
    let ffi_schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name holds a valid ArrowSchema (the PyCapsule protocol), which lives as long as the capsule.
    let ffi_schema = unsafe { ffi_schema.as_ref() };
    let target = schema_of(ffi_schema).map_err(|e| refused(py, &e))?;
    let ffi_array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: a capsule of this name holds a valid ArrowArray; it is moved out, and marked as released in the capsule.
    let ffi_array = unsafe { FFI_ArrowArray::from_raw(ffi_array.as_ptr()) };
    if ffi_array.is_released() {
        return Err(exception(py, "InvalidError", "the array was read before: make a new one").into());
    }
    Ok(batch_of(ffi_array, &target).map_err(|e| refused(py, &e))?)
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
struct Stream {
    stream: FFI_ArrowArrayStream,
    schema: SchemaRef,
}

impl Stream {
    fn of(capsule: &Bound<'_, PyCapsule>) -> Result<Self> {
        let py = capsule.py();
        let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
        // SAFETY: a capsule of this name holds a valid ArrowArrayStream; it is moved out, and marked as released there.
        let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
        let mut schema = FFI_ArrowSchema::empty();
        let Some(get_schema) = stream.get_schema else {
            return Err(exception(py, "InvalidError", "the stream was read before: make a new one").into());
        };
        // SAFETY: the callback of a stream that is not released, on that stream and on an empty schema.
        let code = unsafe { get_schema(&raw mut stream, &raw mut schema) };
        if code != 0 {
            return Err(exception(py, "InvalidError", &last_error(&mut stream, code)).into());
        }
        let schema = schema_of(&schema).map_err(|e| refused(py, &e))?;
        Ok(Self { stream, schema })
    }
}

fn last_error(stream: &mut FFI_ArrowArrayStream, code: i32) -> String {
    let text = stream.get_last_error.and_then(|get| {
        // SAFETY: the callback of a stream that is not released, right after another one failed.
        let text = unsafe { get(std::ptr::from_mut(stream)) };
        // SAFETY: null, or a text that lives until the next call on the stream; it is copied here.
        (!text.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned())
    });
    text.unwrap_or_else(|| format!("the stream failed with error number {code}"))
}

impl Iterator for Stream {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let get_next = self.stream.get_next?;
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the callback of a stream that is not released (it is this struct's), on it and on an empty array.
        let code = unsafe { get_next(&raw mut self.stream, &raw mut array) };
        if code != 0 {
            let text = last_error(&mut self.stream, code);
            // The exceptions of a Python source come as texts, and this one belongs to the caller that was interrupted.
            if text.trim_end().lines().any(|line| line == "KeyboardInterrupt" || line.ends_with(": KeyboardInterrupt"))
            {
                return Some(Err(through_arrow(PyKeyboardInterrupt::new_err(()))));
            }
            return Some(Err(ArrowError::CDataInterface(text)));
        }
        (!array.is_released()).then(|| batch_of(array, &self.schema))
    }
}

impl RecordBatchReader for Stream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// The fields of the C data interface's `ArrowArray` up to its children, as its specification lays them out.
#[repr(C)]
struct RawArray {
    sizes: [i64; 3],
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const std::ffi::c_void,
    children: *mut *mut RawArray,
}

/// Removes the buffer that Polars adds to arrays of nulls, for which arrow expects zero buffers.
fn bare_nulls(array: &mut RawArray, fields: &[&Field]) {
    for (position, field) in fields.iter().enumerate().take(usize::try_from(array.n_children).unwrap_or(0)) {
        // SAFETY: `children` has `n_children` entries, and `position` is below that.
        let child = unsafe { array.children.add(position) };
        // SAFETY: as above: an entry of the table.
        let child = unsafe { *child };
        // SAFETY: each entry points to a valid ArrowArray that only this code owns, since its parent was moved here.
        let Some(child) = (unsafe { child.as_mut() }) else { continue };
        match field.data_type() {
            DataType::Null => child.n_buffers = 0,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                bare_nulls(child, &[item]);
            }
            DataType::Struct(fields) => bare_nulls(child, &fields.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
            _ => {}
        }
    }
}

fn batch_of(mut array: FFI_ArrowArray, schema: &SchemaRef) -> std::result::Result<RecordBatch, ArrowError> {
    let fields: Vec<&Field> = schema.fields().iter().map(AsRef::as_ref).collect();
    // SAFETY: arrow's struct has the layout of the specification, whose first fields those of `RawArray` are; who releases
    // the array checks its private data, not `n_buffers`.
    bare_nulls(unsafe { &mut *(&raw mut array).cast::<RawArray>() }, &fields);
    // SAFETY: the array came with the schema that this type was read from; `_pli128` and `_plu128` are 16 bytes a value, as
    // FixedSizeBinary(16) is. That the values are valid is what every exporter of the C data interface promises.
    let data = unsafe { from_ffi_and_data_type(array, DataType::Struct(schema.fields().clone())) }?;
    let array = unpanicked(|| make_array(settled(data))).map_err(ArrowError::CDataInterface)?;
    let columns: &StructArray = array.as_struct();
    if columns.null_count() > 0 {
        let message = "an array of structs of which some are null: expected a table, whose rows are never null";
        return Err(ArrowError::InvalidArgumentError(message.to_owned()));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(columns.len()));
    RecordBatch::try_new_with_options(schema.clone(), columns.columns().to_vec(), &options)
}

/// The data without offsets in what slices its children by its own: arrow slices the fields of a struct twice otherwise,
/// once as data and once as arrays.
fn settled(data: ArrayData) -> ArrayData {
    if !has_struct(data.data_type()) {
        return data;
    }
    let (offset, len) = (data.offset(), data.len());
    let sliced = |child: ArrayData, start, len| make_array(settled(child)).slice(start, len).to_data();
    let children = data.child_data().to_vec().into_iter();
    let builder = match data.data_type() {
        DataType::Struct(_) => {
            let fields = children.map(|child| sliced(child, offset, len)).collect();
            data.into_builder().offset(0).child_data(fields)
        }
        DataType::FixedSizeList(_, width) => {
            let width = usize::try_from(*width).unwrap_or(0);
            let items = children.map(|child| sliced(child, offset * width, len * width)).collect();
            data.into_builder().offset(0).child_data(items)
        }
        DataType::Union(_, UnionMode::Sparse) => {
            let fields = children.map(|child| sliced(child, offset, len)).collect();
            let ids = data.buffers().iter().map(|ids| ids.slice_with_length(offset, len)).collect();
            data.into_builder().offset(0).buffers(ids).child_data(fields)
        }
        _ => {
            let children = children.map(settled).collect();
            data.into_builder().child_data(children)
        }
    };
    // SAFETY: the same values as in the data that came, of which only the way to them has changed.
    unsafe { builder.build_unchecked() }
}

fn has_struct(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) | DataType::Map(..) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::RunEndEncoded(_, item) => has_struct(item.data_type()),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has_struct(field.data_type())),
        DataType::Dictionary(_, values) => has_struct(values),
        _ => false,
    }
}

fn schema_of(schema: &FFI_ArrowSchema) -> std::result::Result<SchemaRef, ArrowError> {
    if schema.format() != "+s" {
        let message =
            format!("an array of format `{}`: expected a table, which is a struct of columns", schema.format());
        return Err(ArrowError::InvalidArgumentError(message));
    }
    let fields: Fields = schema.children().map(field_of).collect::<std::result::Result<_, _>>()?;
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata()?)))
}

/// The field of a column, Polars' own formats included, also inside lists and structs.
fn field_of(schema: &FFI_ArrowSchema) -> std::result::Result<Field, ArrowError> {
    let format = schema.format();
    if let Some((_, extension)) = WIDE.iter().find(|(polars, _)| *polars == format) {
        let metadata = [(EXTENSION, *extension), (EXTENSION_METADATA, "")];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        return Ok(Field::new(name_of(schema), DataType::FixedSizeBinary(16), true).with_metadata(metadata));
    }
    if !schema.children().any(has_wide) {
        return Field::try_from(schema)
            .map_err(|e| ArrowError::NotYetImplemented(format!("column `{}`: {e}", name_of(schema))));
    }
    let child = || field_of(schema.child(0)).map(Arc::new);
    let data_type = match format {
        "+s" => DataType::Struct(schema.children().map(field_of).collect::<std::result::Result<_, _>>()?),
        "+l" => DataType::List(child()?),
        "+L" => DataType::LargeList(child()?),
        _ => {
            let Some(width) = format.strip_prefix("+w:").and_then(|width| width.parse().ok()) else {
                let message = format!("column `{}` of format `{format}` with 128-bit integers", name_of(schema));
                return Err(ArrowError::NotYetImplemented(message));
            };
            DataType::FixedSizeList(child()?, width)
        }
    };
    Ok(Field::new(name_of(schema), data_type, schema.nullable()).with_metadata(schema.metadata()?))
}

fn has_wide(schema: &FFI_ArrowSchema) -> bool {
    WIDE.iter().any(|(polars, _)| *polars == schema.format()) || schema.children().any(has_wide)
}

fn name_of(schema: &FFI_ArrowSchema) -> &str {
    schema.name().unwrap_or_default()
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
