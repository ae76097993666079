//! Batches out, by Arrow's C data interface: as a stream for any reader, or one by one as Polars takes them.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray, UInt64Array, make_array, new_null_array,
    },
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
    error::ArrowError,
    ffi::{FFI_ArrowArray, FFI_ArrowSchema},
};
use coframe::{ColumnStatistics, Frame, Statistics};
use pyo3::{
    prelude::*,
    types::{PyCapsule, PyTuple},
};
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};

use crate::{
    cast::{any, as_type, classic_type, polars_type},
    error::{Result, exception, unpanicked},
    sorted_keys,
};

/// Polars' formats of 128-bit integers, and their marks in a segment (FORMAT.md, section 5).
const WIDE: [(&str, &str); 2] = [("_pli128", "coframe.int128"), ("_plu128", "coframe.uint128")];
const EXTENSION: &str = "ARROW:extension:name";

fn failed(py: Python<'_>, error: &ArrowError) -> PyErr {
    exception(py, "UnsupportedError", &format!("the frame cannot be handed over: {error}"))
}

pub(crate) fn schema<'py>(py: Python<'py>, schema: &Schema) -> Result<Bound<'py, PyCapsule>> {
    Ok(to_schema_pycapsule(py, schema).map_err(PyErr::from)?)
}

/// All batches of a frame, on the mapped bytes; `classic`: views cast to large strings and binaries on the way.
pub(crate) fn stream<'py>(
    py: Python<'py>,
    frame: &Frame,
    classic: bool,
    requested: Option<Bound<'py, PyCapsule>>,
) -> Result<Bound<'py, PyCapsule>> {
    let schema = if classic { classic_schema(frame.schema()) } else { frame.schema().clone() };
    let fields = schema.fields().clone();
    let field = Field::new_struct("", fields.clone(), false).with_metadata(schema.metadata().clone());
    let mut batches = py.detach(|| frame.batches().to_vec());
    if batches.is_empty() && fields.iter().any(|field| field.data_type().to_string().contains("ListView")) {
        // pyarrow ends the process where it finds no chunk of such a column.
        batches.push(RecordBatch::new_empty(frame.schema().clone()));
    }
    let arrays = batches.into_iter().map(move |batch| {
        let batch = if classic { told(|| conform(&batch, &schema))? } else { batch };
        Ok(Arc::new(StructArray::from(batch)) as ArrayRef)
    });
    let arrays = Box::new(ArrayIterator::new(arrays, field.into()));
    Ok(to_stream_pycapsule(py, arrays, requested).map_err(PyErr::from)?)
}

/// A panic in `call` as an error: it may not unwind through the stream's callbacks, nor reach Python as no `Exception`.
fn told<R>(call: impl FnOnce() -> std::result::Result<R, ArrowError>) -> std::result::Result<R, ArrowError> {
    unpanicked(call).map_err(ArrowError::CDataInterface)?
}

fn conform(batch: &RecordBatch, schema: &SchemaRef) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| converted(column, field));
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect::<std::result::Result<_, _>>()?, &rows)
}

/// The column in the type of a field, which an error names.
fn converted(column: &ArrayRef, field: &Field) -> std::result::Result<ArrayRef, ArrowError> {
    as_type(column, field.data_type())
        .map_err(|error| ArrowError::CastError(format!("column `{}`: {error}", field.name())))
}

fn classic_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(classic_field).collect::<Fields>();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn classic_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(classic_type(field.data_type())))
}

/// Whether the classic form of a type is another one, so that going there copies.
pub(crate) fn has_views(data_type: &DataType) -> bool {
    classic_type(data_type) != *data_type
}

/// The first type in a type that Polars does not import.
pub(crate) fn unknown_to_polars(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::RunEndEncoded(..)
        | DataType::Union(..)
        | DataType::Decimal256(..)
        | DataType::Interval(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        // On these its import panics.
        | DataType::FixedSizeList(_, 0)
        | DataType::FixedSizeBinary(0)
        | DataType::Decimal32(_, ..0)
        | DataType::Decimal64(_, ..0)
        | DataType::Decimal128(_, ..0) => Some(data_type),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => unknown_to_polars(item.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| unknown_to_polars(field.data_type())),
        DataType::Dictionary(_, values) => unknown_to_polars(values),
        _ => None,
    }
}

/// Whether run-end encoded values in the type contain list views.
pub(crate) fn has_list_views_in_runs(data_type: &DataType) -> bool {
    let is_list_view = |inside: &DataType| matches!(inside, DataType::ListView(_) | DataType::LargeListView(_));
    any(data_type, &|inside| match inside {
        DataType::RunEndEncoded(_, values) => any(values.data_type(), &is_list_view),
        _ => false,
    })
}

/// Statistics as a table: a struct of rows, nulls, bounds and whether they are exact for each column.
pub(crate) fn statistics(py: Python<'_>, frame: &Frame, statistics: &Statistics) -> Result<Batch> {
    let rows: UInt64Array = statistics.num_rows().iter().map(|rows| u64::try_from(*rows).ok()).collect();
    let rows: ArrayRef = Arc::new(rows);
    let column = |column: &ColumnStatistics| {
        let bound = |bound: Option<&ArrayRef>| match bound {
            Some(bound) => as_type(bound, &classic_type(bound.data_type())),
            None => Ok(new_null_array(&DataType::Null, rows.len())),
        };
        let arrays: [(&str, ArrayRef); 5] = [
            ("rows", rows.clone()),
            ("nulls", Arc::new(column.null_counts().clone())),
            ("min", bound(column.min())?),
            ("max", bound(column.max())?),
            ("exact", Arc::new(column.is_exact().clone())),
        ];
        let fields = arrays.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let arrays = arrays.into_iter().map(|(_, array)| array).collect();
        StructArray::try_new_with_length(fields, arrays, None, rows.len())
    };
    let columns = statistics.columns().iter().zip(frame.schema().fields()).map(|(statistics, field)| {
        let array = column(statistics)?;
        Ok((Field::new(field.name(), array.data_type().clone(), false), Arc::new(array) as ArrayRef))
    });
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) =
        columns.collect::<std::result::Result<Vec<_>, ArrowError>>().map_err(|e| failed(py, &e))?.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
    Ok(Batch { batch: batch.map_err(|e| failed(py, &e))?, schema: ffi_schema })
}

/// All batches of a frame, at least one, for a reader that must know which maps have sorted keys; `None` if none has.
pub(crate) fn with_sorted_keys(py: Python<'_>, frame: &Frame, classic: bool) -> Result<Option<Vec<Batch>>> {
    if !frame.schema().fields().iter().any(|field| sorted_keys::has(field.data_type())) {
        return Ok(None);
    }
    let mut batches = py.detach(|| frame.batches().to_vec());
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(frame.schema().clone()));
    }
    let schema = if classic { classic_schema(frame.schema()) } else { frame.schema().clone() };
    let conformed = batches.iter().map(|batch| told(|| conform(batch, &schema)));
    let conformed = py.detach(|| conformed.collect::<std::result::Result<Vec<_>, _>>()).map_err(|e| failed(py, &e))?;
    Ok(Some(conformed.into_iter().map(|batch| Batch { batch, schema: sorted_keys::schema }).collect()))
}

/// One batch, and how its schema is exported.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Batch {
    batch: RecordBatch,
    schema: fn(&Field) -> std::result::Result<FFI_ArrowSchema, ArrowError>,
}

impl Batch {
    /// One batch as Polars takes it: dictionaries whose position is given as their keys, and 128-bit integers under Polars'
    /// own format, without work in the number of rows; decimals of 32 and 64 bits widened, seconds as milliseconds.
    pub(crate) fn new(py: Python<'_>, batch: &RecordBatch, keys: &[usize]) -> Result<Self> {
        let columns = batch.columns().iter().zip(batch.schema_ref().fields()).enumerate();
        let columns = columns.map(|(position, (column, field))| match column.as_any_dictionary_opt() {
            Some(dictionary) if keys.contains(&position) => {
                let keys = make_array(dictionary.keys().to_data());
                Ok((Arc::new(Field::new(field.name(), keys.data_type().clone(), true)), keys))
            }
            _ => {
                let field = field.as_ref().clone().with_data_type(polars_type(field.data_type()));
                let column = converted(column, &field)?;
                Ok((Arc::new(field), column))
            }
        });
        let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = py
            .detach(|| told(|| columns.collect::<std::result::Result<Vec<_>, ArrowError>>()))
            .map_err(|e| failed(py, &e))?
            .into_iter()
            .unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|e| failed(py, &e))?;
        Ok(Self { batch, schema: ffi_schema })
    }
}

#[pymethods]
impl Batch {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyTuple>> {
        // Its reader asks for none, and what is here is made for it.
        drop(requested_schema);
        let field = Field::new_struct("", self.batch.schema().fields().clone(), false);
        let schema = (self.schema)(&field.with_metadata(self.batch.schema().metadata().clone()));
        let schema = PyCapsule::new_with_value(py, schema.map_err(|e| failed(py, &e))?, c"arrow_schema")?;
        let array = FFI_ArrowArray::new(&StructArray::from(self.batch.clone()).to_data());
        let array = PyCapsule::new_with_value(py, array, c"arrow_array")?;
        Ok(PyTuple::new(py, [schema, array])?)
    }
}

/// The schema of a field, 128-bit integers under Polars' formats.
fn ffi_schema(field: &Field) -> std::result::Result<FFI_ArrowSchema, ArrowError> {
    if !is_wide(field) {
        return FFI_ArrowSchema::try_from(field);
    }
    let own = field.metadata().get(EXTENSION).and_then(|found| WIDE.iter().find(|(_, extension)| extension == found));
    let (format, children) = match field.data_type() {
        DataType::Struct(fields) => ("+s".to_owned(), fields.iter().collect()),
        DataType::LargeList(item) => ("+L".to_owned(), vec![item]),
        DataType::List(item) => ("+l".to_owned(), vec![item]),
        DataType::FixedSizeList(item, width) => (format!("+w:{width}"), vec![item]),
        _ => (own.map(|(polars, _)| (*polars).to_owned()).unwrap_or_default(), vec![]),
    };
    let children = children.into_iter().map(|child| ffi_schema(child)).collect::<std::result::Result<Vec<_>, _>>()?;
    FFI_ArrowSchema::try_new(&format, children, None)?.with_name(field.name())
}

fn is_wide(field: &Field) -> bool {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().any(|field| is_wide(field)),
        DataType::LargeList(item) | DataType::List(item) | DataType::FixedSizeList(item, _) => is_wide(item),
        DataType::FixedSizeBinary(16) => {
            field.metadata().get(EXTENSION).is_some_and(|found| WIDE.iter().any(|(_, extension)| extension == found))
        }
        _ => false,
    }
}

/// A dictionary's values, as an array of strings.
pub(crate) fn dictionary<'py>(py: Python<'py>, column: &dyn Array) -> Result<Option<Bound<'py, PyTuple>>> {
    let Some(dictionary) = column.as_any_dictionary_opt() else { return Ok(None) };
    let field = Field::new("", dictionary.values().data_type().clone(), true);
    let capsules = pyo3_arrow::ffi::to_array_pycapsules(py, field.into(), dictionary.values(), None);
    Ok(Some(capsules.map_err(PyErr::from)?))
}
