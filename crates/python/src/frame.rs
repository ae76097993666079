//! An open frame, as `coframe.Frame` holds it.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array},
    buffer::Buffer,
    datatypes::{DataType, TimeUnit},
};
use coframe::{Handle, MapCache, OpenOptions, PrivateBytes};
use pyo3::{
    prelude::*,
    types::{PyCapsule, PyDict, PyTuple},
};

use crate::{detach::detached, error::Result, to_python};

/// Maps of frames that this process opens again and again. Python ends them.
static MAPS: LazyLock<MapCache> = LazyLock::new(|| MapCache::new(4));

/// Ends the maps that no opening has used for this number of seconds, and those of removed segments; returns how many are left.
#[pyfunction]
pub(crate) fn release_maps(unused_for: f64) -> usize {
    MAPS.release(Duration::try_from_secs_f64(unused_for).unwrap_or(Duration::MAX))
}

/// An open frame. The bytes stay mapped for as long as it, or an array that was made from it, lives.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Frame {
    pub(crate) frame: coframe::Frame,
}

/// Name, Arrow type, bytes shared, bytes copied at opening and why, whether it holds views, whether numpy can share it.
type Explained = (String, String, usize, usize, Option<String>, bool, Option<String>);

#[pymethods]
impl Frame {
    /// Opens what a handle names; with `keep`, on a map that stays until [`release_maps`].
    #[staticmethod]
    #[pyo3(signature = (handle, keep=false))]
    fn from_handle(py: Python<'_>, handle: &str, keep: bool) -> Result<Self> {
        let options = if keep { OpenOptions::new().map_cache(&MAPS) } else { OpenOptions::new() };
        let frame = detached(py, || handle.parse::<Handle>()?.open_with(&options))?;
        Ok(Self { frame })
    }

    #[getter]
    fn name(&self) -> &str {
        self.frame.name().as_str()
    }

    #[getter]
    fn version(&self) -> u64 {
        self.frame.version()
    }

    #[getter]
    fn rows(&self) -> usize {
        self.frame.num_rows()
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        self.frame.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The Arrow type of each column, as text.
    #[getter]
    fn types(&self) -> Vec<String> {
        self.frame.schema().fields().iter().map(|field| field.data_type().to_string()).collect()
    }

    /// What Polars noted about a column's type, such as the categories of an enum.
    fn field_metadata(&self, position: usize) -> Option<BTreeMap<String, String>> {
        let field = self.frame.schema().fields().get(position)?;
        Some(field.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    #[getter]
    fn schema_metadata(&self) -> BTreeMap<String, String> {
        self.frame.schema().metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    #[getter]
    fn bytes(&self) -> usize {
        self.frame.size_bytes()
    }

    /// Seconds since the Unix epoch.
    #[getter]
    fn created(&self) -> Option<f64> {
        let since = self.frame.created()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(since.as_secs_f64())
    }

    #[getter]
    fn metadata(&self) -> BTreeMap<String, String> {
        self.frame.metadata().clone()
    }

    /// Whether a process of this user wrote the file here, so that its metadata may be unpickled.
    #[getter]
    fn sealed(&self) -> bool {
        self.frame.is_sealed()
    }

    #[getter]
    fn handle(&self) -> String {
        self.frame.handle().to_string()
    }

    fn select(&self, names: Vec<String>) -> Result<Self> {
        Ok(Self { frame: self.frame.select(names)? })
    }

    fn slice(&self, start: usize, end: usize) -> Result<Self> {
        Ok(Self { frame: self.frame.slice(start..end)? })
    }

    fn prefault(&self, py: Python<'_>, columns: Vec<String>) -> Result<usize> {
        detached(py, || self.frame.prefault(columns))
    }

    fn split(&self, parts: usize) -> Vec<Self> {
        self.frame.split(parts).into_iter().map(|frame| Self { frame }).collect()
    }

    fn explain(&self, py: Python<'_>) -> Result<Vec<Explained>> {
        let explain = py.detach(|| self.frame.copy_report())?;
        let columns = explain.columns.into_iter().zip(self.frame.schema().fields()).enumerate();
        let explained = columns.map(|(position, (column, field))| {
            let views = to_python::has_views(field.data_type());
            let (_, numpy) = self.values(position);
            (column.name, column.data_type, column.shared, column.copied, column.reason, views, numpy)
        });
        Ok(explained.collect())
    }

    /// A struct for each column and a row for each batch, as arrays without views.
    fn statistics(&self, py: Python<'_>) -> Result<Option<to_python::Batch>> {
        let statistics = detached(py, || self.frame.statistics())?;
        statistics.map(|statistics| to_python::statistics(py, &self.frame, &statistics)).transpose()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> Result<Bound<'py, PyCapsule>> {
        to_python::stream(py, &self.frame, false, requested_schema)
    }

    /// The stream with views cast to large strings and binaries.
    fn classic_stream<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyCapsule>> {
        to_python::stream(py, &self.frame, true, None)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyCapsule>> {
        to_python::schema(py, self.frame.schema())
    }

    /// The frame's bytes mapped privately, to be written to; `None` when its name is gone.
    fn private(&self, py: Python<'_>) -> Result<Option<Private>> {
        let bytes = detached(py, || self.frame.private_bytes())?;
        Ok(bytes.map(|bytes| Private { bytes: Arc::new(bytes) }))
    }

    /// The batches, with views cast if `classic`, for a reader that must know which maps have sorted keys; `None` if none
    /// has.
    fn with_sorted_keys(&self, py: Python<'_>, classic: bool) -> Result<Option<Vec<to_python::Batch>>> {
        to_python::with_sorted_keys(py, &self.frame, classic)
    }

    /// Columns with list views inside of run-end encoded values: pyarrow decodes empty ones to zero chunks, and aborts.
    fn list_views_in_runs(&self) -> Vec<String> {
        let fields = self.frame.schema().fields().iter();
        let found = fields.filter(|field| to_python::has_list_views_in_runs(field.data_type()));
        found.map(|field| field.name().clone()).collect()
    }

    /// For each column the type in it that Polars does not have, if there is one.
    fn unknown_to_polars(&self) -> Vec<Option<String>> {
        let fields = self.frame.schema().fields();
        fields.iter().map(|field| to_python::unknown_to_polars(field.data_type()).map(ToString::to_string)).collect()
    }

    /// The batches for Polars, at least one, with the dictionaries at these positions as their keys.
    fn polars_batches(&self, py: Python<'_>, keys: Vec<usize>) -> Result<Vec<to_python::Batch>> {
        let batches = py.detach(|| self.frame.batches());
        if batches.is_empty() {
            let empty = RecordBatch::new_empty(self.frame.schema().clone());
            return Ok(vec![to_python::Batch::new(py, &empty, &keys)?]);
        }
        batches.iter().map(|batch| to_python::Batch::new(py, batch, &keys)).collect()
    }

    /// The values of the dictionary of a column; `None` for another column, or without rows.
    fn dictionary<'py>(&self, py: Python<'py>, position: usize) -> Result<Option<Bound<'py, PyTuple>>> {
        let column = self.frame.batches().first().and_then(|batch| batch.columns().get(position));
        column.map_or(Ok(None), |column| to_python::dictionary(py, column))
    }

    /// The values of a column on the mapped bytes, for numpy, an object for each batch; or why they cannot be shared.
    fn values(&self, position: usize) -> (Vec<Values>, Option<String>) {
        let columns = self.frame.batches().iter().filter_map(|batch| batch.columns().get(position).cloned());
        let mut columns = columns.collect::<Vec<ArrayRef>>();
        if columns.is_empty() {
            // Zero rows make zero batches, and nothing to copy.
            columns.extend(self.frame.schema().fields().get(position).map(|field| new_empty_array(field.data_type())));
        }
        let mut values = Vec::new();
        for column in columns {
            if column.logical_null_count() > 0 {
                return (Vec::new(), Some("some of its rows are null".to_owned()));
            }
            let Some(part) = Values::new(column.as_ref()) else {
                let reason = format!("numpy has no type with the memory layout of {}", column.data_type());
                return (Vec::new(), Some(reason));
            };
            values.push(part);
        }
        let reason = (values.len() != 1).then(|| format!("its {} record batches must be joined", values.len()));
        (values, reason)
    }
}

/// Values of a fixed width without nulls, which numpy sees through `__array_interface__`: read-only, on the mapped bytes.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Values {
    buffer: Buffer,
    kind: &'static str,
    shape: Vec<usize>,
}

impl Values {
    fn new(array: &dyn Array) -> Option<Self> {
        if let Some(lists) = array.as_fixed_size_list_opt() {
            let width = usize::try_from(lists.value_length()).ok()?;
            let items = lists.values().slice(lists.value_offset(0).try_into().ok()?, lists.len() * width);
            let inner = Self::new(&items).filter(|inner| inner.shape.len() == 1 && items.null_count() == 0)?;
            return Some(Self { shape: vec![lists.len(), width], ..inner });
        }
        let data = array.to_data();
        let kind = kind(data.data_type())?;
        let width = data.data_type().primitive_width()?;
        let buffer = data.buffers().first()?.slice_with_length(data.offset() * width, data.len() * width);
        Some(Self { buffer, kind, shape: vec![data.len()] })
    }
}

#[pymethods]
impl Values {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", self.kind)?;
        interface.set_item("shape", PyTuple::new(py, &self.shape)?)?;
        interface.set_item("data", (self.buffer.as_ptr().expose_provenance(), true))?;
        Ok(interface)
    }
}

/// The bytes of a frame, mapped privately.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Private {
    bytes: Arc<PrivateBytes>,
}

#[pymethods]
impl Private {
    /// The private bytes at the place of others of the frame, by their address; `None` when the frame does not have them.
    fn at(&self, address: usize, len: usize) -> Option<PrivateValues> {
        let found = self.bytes.at(std::ptr::without_provenance(address), len)?;
        Some(PrivateValues { _bytes: self.bytes.clone(), address: found.expose_provenance(), len })
    }
}

/// Bytes that numpy sees through `__array_interface__` and may write to: pages are copied when they are written.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct PrivateValues {
    _bytes: Arc<PrivateBytes>,
    address: usize,
    len: usize,
}

#[pymethods]
impl PrivateValues {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", "|u1")?;
        interface.set_item("shape", (self.len,))?;
        interface.set_item("data", (self.address, false))?;
        Ok(interface)
    }
}

/// What numpy calls a type.
fn kind(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Int8 => "|i1",
        DataType::Int16 => "<i2",
        DataType::Int32 => "<i4",
        DataType::Int64 => "<i8",
        DataType::UInt8 => "|u1",
        DataType::UInt16 => "<u2",
        DataType::UInt32 => "<u4",
        DataType::UInt64 => "<u8",
        DataType::Float16 => "<f2",
        DataType::Float32 => "<f4",
        DataType::Float64 => "<f8",
        DataType::Date64 => "<M8[ms]",
        DataType::Timestamp(unit, None) => match unit {
            TimeUnit::Second => "<M8[s]",
            TimeUnit::Millisecond => "<M8[ms]",
            TimeUnit::Microsecond => "<M8[us]",
            TimeUnit::Nanosecond => "<M8[ns]",
        },
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => "<m8[s]",
            TimeUnit::Millisecond => "<m8[ms]",
            TimeUnit::Microsecond => "<m8[us]",
            TimeUnit::Nanosecond => "<m8[ns]",
        },
        _ => return None,
    })
}
