//! Columns of numpy arrays as a record batch, on the arrays' own memory.
#![expect(unsafe_code, reason = "the memory of numpy arrays is shared by its address")]

use std::{panic::AssertUnwindSafe, ptr::NonNull, sync::Arc};

use arrow::{
    array::{ArrayData, ArrayRef, BooleanArray, LargeBinaryArray, LargeStringArray, RecordBatch, make_array},
    buffer::{Buffer, MutableBuffer},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use pyo3::prelude::*;

use crate::error::{Result, exception};

/// A table of numpy arrays, for `Store.publish`.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Columns {
    batch: RecordBatch,
}

impl Columns {
    pub(crate) fn batch(&self) -> &RecordBatch {
        &self.batch
    }
}

/// Name, kind, numpy array (or list of texts), packed validity, width of a row of a two-dimensional array.
type Column<'py> = (String, String, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<i32>);

#[pymethods]
impl Columns {
    /// `python/coframe/_numpy.py` checks that the arrays are numpy's own, aligned, contiguous and of native byte order.
    #[new]
    fn new(py: Python<'_>, columns: Vec<Column<'_>>) -> Result<Self> {
        let mut fields = Vec::with_capacity(columns.len());
        let mut arrays = Vec::with_capacity(columns.len());
        for (name, kind, values, validity, width) in columns {
            let array = match kind.as_str() {
                "str" => Arc::new(LargeStringArray::from(values.extract::<Vec<Option<String>>>()?)) as ArrayRef,
                "bytes" => Arc::new(LargeBinaryArray::from_iter(values.extract::<Vec<Option<Vec<u8>>>>()?)),
                "bool" => flat(&values, validity.as_ref(), DataType::Boolean)?,
                kind => {
                    let data_type = data_type(kind).ok_or_else(|| {
                        let message = format!("column `{name}` of numpy type {kind} is not supported; cast it first");
                        exception(py, "UnsupportedError", &message)
                    })?;
                    match width {
                        None => flat(&values, validity.as_ref(), data_type)?,
                        Some(width) => rows(&values, data_type, width)?,
                    }
                }
            };
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|e| exception(py, "InvalidError", &format!("the columns are not a table: {e}")))?;
        Ok(Self { batch })
    }
}

fn data_type(kind: &str) -> Option<DataType> {
    let unit = |text: &str| match text.strip_suffix(']')? {
        "s" => Some(TimeUnit::Second),
        "ms" => Some(TimeUnit::Millisecond),
        "us" => Some(TimeUnit::Microsecond),
        "ns" => Some(TimeUnit::Nanosecond),
        _ => None,
    };
    Some(match kind {
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float16" => DataType::Float16,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "date32" => DataType::Date32,
        kind => match kind.split_once('[')? {
            ("datetime64", rest) => DataType::Timestamp(unit(rest)?, None),
            ("timedelta64", rest) => DataType::Duration(unit(rest)?),
            _ => return None,
        },
    })
}

/// A one-dimensional array; booleans come packed, with their number as the attribute `rows` of the validity's pair.
fn flat(values: &Bound<'_, PyAny>, validity: Option<&Bound<'_, PyAny>>, data_type: DataType) -> Result<ArrayRef> {
    if data_type == DataType::Boolean {
        // Packed by Python: the number of rows and the bits.
        let (rows, bits): (usize, Bound<'_, PyAny>) = values.extract()?;
        let bits = arrow::buffer::BooleanBuffer::new(memory(&bits)?, 0, rows);
        let nulls = validity.map(|bits| Ok::<_, PyErr>(nulls(memory(bits)?, rows))).transpose()?;
        return Ok(Arc::new(BooleanArray::new(bits, nulls)));
    }
    let rows = values.len()?;
    let nulls = validity.map(|bits| Ok::<_, PyErr>(nulls(memory(bits)?, rows))).transpose()?;
    let data = ArrayData::builder(data_type).len(rows).add_buffer(memory(values)?).nulls(nulls).build();
    Ok(make_array(data.map_err(|e| exception(values.py(), "InvalidError", &e.to_string()))?))
}

fn nulls(bits: Buffer, rows: usize) -> arrow::buffer::NullBuffer {
    arrow::buffer::NullBuffer::new(arrow::buffer::BooleanBuffer::new(bits, 0, rows))
}

/// A two-dimensional array: each row is a list of `width` values.
fn rows(values: &Bound<'_, PyAny>, data_type: DataType, width: i32) -> Result<ArrayRef> {
    let invalid = |e: arrow::error::ArrowError| exception(values.py(), "InvalidError", &e.to_string());
    let rows = values.len()?;
    let count = rows * usize::try_from(width).unwrap_or(0);
    let items =
        ArrayData::builder(data_type.clone()).len(count).add_buffer(memory(values)?).build().map_err(invalid)?;
    let list = DataType::FixedSizeList(Arc::new(Field::new("item", data_type, true)), width);
    Ok(make_array(ArrayData::builder(list).len(rows).add_child_data(items).build().map_err(invalid)?))
}

/// The memory of a numpy array, which stays alive as long as the buffer.
fn memory(array: &Bound<'_, PyAny>) -> PyResult<Buffer> {
    let len: usize = array.getattr("nbytes")?.extract()?;
    let address: usize = array.getattr("ctypes")?.getattr("data")?.extract()?;
    let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(address)).filter(|_| len > 0) else {
        // Aligned for any type, as a vector of bytes is not.
        return Ok(MutableBuffer::new(0).into());
    };
    let owner = Arc::new(AssertUnwindSafe(array.clone().unbind()));
    // SAFETY: numpy's own array, C-contiguous and not empty (python/coframe/_numpy.py makes sure of both): `nbytes` bytes
    // at this address, which live as long as the array, which the buffer holds. A thread that writes to the array
    // meanwhile causes a torn copy in the segment, as with every exporter of the C data interface over numpy memory.
    Ok(unsafe { Buffer::from_custom_allocation(start, len, owner) })
}
