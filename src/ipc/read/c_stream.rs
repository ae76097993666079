//! Tables from Arrow's C stream interface, in which every Arrow library and every version of one can pass them.
//!
//! Read here rather than with arrow's own reader, which panics on streams that fail without a message, and reads fields of
//! structs that are slices at the wrong rows.
#![expect(unsafe_code, reason = "Arrow's C stream interface is made of pointers")]

use std::ffi::{CStr, c_void};

use arrow::{
    array::{Array, ArrayData, AsArray, RecordBatch, RecordBatchOptions, RecordBatchReader, make_array},
    datatypes::{DataType, Field, SchemaRef, UnionMode},
    error::ArrowError,
    ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type},
    ffi_stream::FFI_ArrowArrayStream,
};

use super::c_schema::table_schema;
use crate::error::{Error, Result};
use crate::ipc::{times, tree::any_type};

/// The batches of an Arrow C stream, for [`Store::publish`](crate::Store::publish) and other functions that take a
/// [`RecordBatchReader`].
///
/// Reads tables of other versions of arrow and of other libraries, including Polars' 128-bit integers. Shares their
/// buffers, and validates every value before it returns a batch, because a frame must contain only valid values.
/// [`Frame::to_c_stream`](crate::Frame::to_c_stream) is the opposite direction.
///
/// ```
/// use coframe::{CStreamReader, Store};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = Store::open_at(dir.path().join("store"))?;
/// # let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
/// // Of any library; `cast` turns a pointer to the stream of another version of arrow into one of this version.
/// let mut stream = frame.to_c_stream();
/// // SAFETY: a valid stream, which nothing else uses.
/// let reader = unsafe { CStreamReader::from_raw((&raw mut stream).cast()) }?;
/// assert_eq!(store.publish("copy", reader)?.batches(), frame.batches());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CStreamReader {
    tables: Tables,
    schema: SchemaRef,
    trusts_values: bool,
    is_done: bool,
}

/// The source of the arrays.
#[derive(Debug)]
enum Tables {
    Stream(FFI_ArrowArrayStream),
    Array(FFI_ArrowArray),
}

impl CStreamReader {
    /// Moves a stream out of `stream`, which is marked as released, and reads its schema.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the stream was released, has no table or fails;
    /// [`is_unsupported`](Error::is_unsupported) for a type that arrow does not have.
    ///
    /// # Safety
    ///
    /// `stream` points to an `ArrowArrayStream` that obeys Arrow's C stream interface: its callbacks can be called, and the
    /// arrays that they return have the buffers and children that their schema demands. No other code uses the stream. Any
    /// *values* are accepted: those that are not valid are errors.
    pub unsafe fn from_raw(stream: *mut FFI_ArrowArrayStream) -> Result<Self> {
        const WHAT: &str = "the Arrow C stream";
        // SAFETY: the caller promises a valid stream that nothing else uses.
        let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(stream) };
        let Some(get_schema) = stream.get_schema.filter(|_| stream.release.is_some()) else {
            return Err(Error::invalid(WHAT, "the stream was read before; export it again"));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the callback of a stream that is not released, on that stream and on an empty schema.
        let code = unsafe { get_schema(&raw mut stream, &raw mut schema) };
        if code != 0 {
            return Err(Error::invalid(WHAT, last_error(&mut stream, code)));
        }
        Ok(Self::new(Tables::Stream(stream), table_schema(&schema, WHAT)?))
    }

    /// Moves one table out of `array`, which is marked as released.
    ///
    /// # Errors
    ///
    /// As [`from_raw`](Self::from_raw).
    ///
    /// # Safety
    ///
    /// As for [`from_raw`](Self::from_raw): both pointers obey Arrow's C data interface, `schema` is that of `array`, and no
    /// other code uses the array.
    pub unsafe fn from_raw_array(array: *mut FFI_ArrowArray, schema: *const FFI_ArrowSchema) -> Result<Self> {
        const WHAT: &str = "the Arrow C array";
        // SAFETY: the caller promises a valid schema, which is read here only.
        let schema = table_schema(unsafe { &*schema }, WHAT)?;
        // SAFETY: the caller promises a valid array that nothing else uses.
        let array = unsafe { FFI_ArrowArray::from_raw(array) };
        if array.is_released() {
            return Err(Error::invalid(WHAT, "the array was read before; export it again"));
        }
        Ok(Self::new(Tables::Array(array), schema))
    }

    /// Does not validate values, which saves reading all of them.
    ///
    /// # Safety
    ///
    /// All values are valid for their types, as the C data interface demands of exporters. Strings are UTF-8, for example,
    /// and offsets are in order.
    #[must_use]
    pub unsafe fn trusting_values(mut self) -> Self {
        self.trusts_values = true;
        self
    }

    fn new(tables: Tables, schema: SchemaRef) -> Self {
        Self { tables, schema, trusts_values: false, is_done: false }
    }

    fn batch(&mut self) -> std::result::Result<Option<RecordBatch>, ArrowError> {
        let Some(mut array) = self.tables.next_array()? else { return Ok(None) };
        let fields: Vec<&Field> = self.schema.fields().iter().map(AsRef::as_ref).collect();
        // SAFETY: arrow's struct has the layout of the specification, whose first fields those of `RawArray` are. Its
        // release callback uses its private data, and not `n_buffers`.
        without_null_buffers(unsafe { &mut *(&raw mut array).cast::<RawArray>() }, &fields);
        let data_type = DataType::Struct(self.schema.fields().clone());
        // SAFETY: the array came with the schema of this type, and the caller of `from_raw` promised that the two fit.
        // Polars' 128-bit integers have 16 bytes a value, as `FixedSizeBinary(16)` has.
        let data = unsafe { from_ffi_and_data_type(array, data_type) }?;
        if !self.trusts_values {
            data.validate_full()?;
        }
        let array = make_array(settled(data));
        let columns = array.as_struct();
        if columns.null_count() > 0 {
            let message = "an array of structs of which some are null: expected a table, whose rows are never null";
            return Err(ArrowError::InvalidArgumentError(message.to_owned()));
        }
        if !self.trusts_values {
            columns.columns().iter().try_for_each(|column| times::check(column, times::Dictionaries::Check))?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(columns.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns.columns().to_vec(), &options).map(Some)
    }
}

impl Tables {
    /// The next array, which is not released. `None` at the end.
    fn next_array(&mut self) -> std::result::Result<Option<FFI_ArrowArray>, ArrowError> {
        let array = match self {
            Self::Array(array) => std::mem::replace(array, FFI_ArrowArray::empty()),
            Self::Stream(stream) => {
                let Some(get_next) = stream.get_next else { return Ok(None) };
                let mut array = FFI_ArrowArray::empty();
                // SAFETY: the callback of a stream that is not released, because it is dropped with its owner, on that
                // stream and on an empty array.
                let code = unsafe { get_next(&raw mut *stream, &raw mut array) };
                if code != 0 {
                    return Err(ArrowError::CDataInterface(last_error(stream, code)));
                }
                array
            }
        };
        Ok(Some(array).filter(|array| !array.is_released()))
    }
}

/// The fields of the C data interface's `ArrowArray` up to its children, as its specification lays them out.
#[repr(C)]
struct RawArray {
    sizes: [i64; 3],
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut RawArray,
}

/// Removes the buffer that Polars adds to arrays of nulls, for which arrow expects zero buffers.
fn without_null_buffers(array: &mut RawArray, fields: &[&Field]) {
    for (position, field) in fields.iter().enumerate().take(usize::try_from(array.n_children).unwrap_or(0)) {
        // SAFETY: `children` has `n_children` entries, and `position` is below that.
        let child = unsafe { array.children.add(position) };
        // SAFETY: as above: an entry of the table.
        let child = unsafe { *child };
        // SAFETY: each entry points to a valid ArrowArray that only this code owns, because its parent was moved here.
        let Some(child) = (unsafe { child.as_mut() }) else { continue };
        match field.data_type() {
            DataType::Null => child.n_buffers = 0,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::Map(item, _) => without_null_buffers(child, &[item]),
            DataType::Struct(fields) => {
                without_null_buffers(child, &fields.iter().map(AsRef::as_ref).collect::<Vec<_>>());
            }
            _ => {}
        }
    }
}

/// Ends at the first error.
impl Iterator for CStreamReader {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let batch = self.batch();
        self.is_done = !matches!(batch, Ok(Some(_)));
        batch.transpose()
    }
}

impl RecordBatchReader for CStreamReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

fn last_error(stream: &mut FFI_ArrowArrayStream, code: i32) -> String {
    let text = stream.get_last_error.and_then(|get| {
        // SAFETY: the callback of a stream that is not released, right after another one failed.
        let text = unsafe { get(std::ptr::from_mut(stream)) };
        // SAFETY: null, or a string that lives until the next call on the stream; it is copied here.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    });
    text.unwrap_or_else(|| format!("the stream failed with error number {code}"))
}

/// Moves the offsets of structs to their children. Otherwise arrow would slice the fields of a struct twice, once as
/// data and once as arrays.
fn settled(data: ArrayData) -> ArrayData {
    if !any_type(data.data_type(), &|inner| matches!(inner, DataType::Struct(_) | DataType::Dictionary(..))) {
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
        _ => data.into_builder().child_data(children.map(settled).collect()),
    };
    // SAFETY: the same values as in the data that came, which was validated; only the way to them has changed.
    unsafe { builder.build_unchecked() }
}
