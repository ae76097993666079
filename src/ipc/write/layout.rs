//! The Arrow types of strings, binaries and lists in a segment.

use std::{fmt, str::FromStr};

use arrow::{
    array::{Array, ArrayData, ArrayRef, RecordBatch, RecordBatchOptions, make_array},
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{DataType, Schema, SchemaRef},
    error::ArrowError,
};

use super::canonical::{canonical, whole_bytes};
use crate::error::{Error, Result, excerpt};
use crate::ipc::tree::{children, map_type, rebuild};

/// The layout of strings, binaries and lists in a segment, including nested ones and dictionary values.
///
/// ```
/// use coframe::{StringLayout, PublishOptions};
///
/// // For readers that cannot compute on string views, pandas among them.
/// let options = PublishOptions::new().layout(StringLayout::Offset);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StringLayout {
    /// The layout of the table: tables of Polars have views, those of pyarrow and pandas mostly do not. Nothing is
    /// converted.
    #[default]
    Keep,
    /// The layout that Polars shares: views (`Utf8View`, `BinaryView`), and lists with 64-bit offsets (`LargeList`).
    /// Other strings, and lists with other offsets, are copied, a batch at a time.
    View,
    /// Without views (`LargeUtf8`, `LargeBinary`), for readers that do not support them. Views are copied, a batch at a
    /// time.
    Offset,
}

/// Parses `keep`, `view` or `offset`, as in the command and in Python.
///
/// ```
/// use coframe::StringLayout;
///
/// assert_eq!("view".parse::<StringLayout>()?, StringLayout::View);
/// assert_eq!(StringLayout::Offset.to_string(), "offset");
/// # Ok::<(), coframe::Error>(())
/// ```
impl FromStr for StringLayout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "keep" => Ok(Self::Keep),
            "view" => Ok(Self::View),
            "offset" => Ok(Self::Offset),
            _ => Err(Error::invalid(
                format_args!("the layout `{}`", excerpt(text)),
                "expected `keep`, `view` or `offset`",
            )),
        }
    }
}

impl fmt::Display for StringLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Keep => "keep",
            Self::View => "view",
            Self::Offset => "offset",
        })
    }
}

impl StringLayout {
    /// The schema in this layout, with the same metadata and nullability.
    pub(in crate::ipc) fn schema(self, schema: &SchemaRef) -> SchemaRef {
        if self == Self::Keep {
            return schema.clone();
        }
        let fields = schema.fields().iter().map(|field| {
            let data_type = map_type(field.data_type(), &|inner| self.data_type(inner));
            field.as_ref().clone().with_data_type(data_type)
        });
        let fields: Vec<_> = fields.collect();
        Schema::new_with_metadata(fields, schema.metadata().clone()).into()
    }

    fn data_type(self, data_type: DataType) -> DataType {
        use DataType::{Binary, BinaryView, Dictionary, LargeBinary, LargeList, LargeUtf8, List, Utf8, Utf8View};
        match (self, data_type) {
            (Self::View, Utf8 | LargeUtf8) => Utf8View,
            (Self::View, Binary | LargeBinary) => BinaryView,
            (Self::View, List(item)) => LargeList(item),
            (Self::Offset, Utf8View) => LargeUtf8,
            (Self::Offset, BinaryView) => LargeBinary,
            (_, Dictionary(key, value)) => Dictionary(key, Box::new(map_type(&value, &|inner| self.data_type(inner)))),
            (_, other) => other,
        }
    }
}

/// Converts a batch to the types of `schema`. Columns and parts of nested columns that have these types are shared.
pub(in crate::ipc) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns: Result<Vec<ArrayRef>> = columns
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            // Removes the items of other rows first, because they would be cast too.
            canonical(column, whole_bytes)
                .and_then(|column| conform_data(column.to_data(), field.data_type()))
                .map(make_array)
                .map_err(|e| Error::arrow(format_args!("bring column `{}` to the layout", field.name()), e))
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns?, &options)
        .map_err(|e| Error::arrow("bring a batch to the schema of its frame", e))
}

/// Casts strings, binaries and the offsets of lists, at any depth. Arrow's cast of a whole nested column would copy its
/// other parts, and does not support unions.
fn conform_data(data: ArrayData, target: &DataType) -> std::result::Result<ArrayData, ArrowError> {
    if data.data_type() == target {
        return Ok(data);
    }
    let inner_types: Vec<DataType> = match target {
        DataType::Dictionary(_, values) => vec![values.as_ref().clone()],
        nested => children(nested).map(|field| field.data_type().clone()).collect(),
    };
    if inner_types.is_empty() {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        return Ok(cast_with_options(&make_array(data), target, &options)?.to_data());
    }
    let inner = data.child_data().iter().zip(&inner_types);
    let inner: std::result::Result<_, _> = inner.map(|(child, target)| conform_data(child.clone(), target)).collect();
    if let (DataType::List(_), DataType::LargeList(item)) = (data.data_type(), target) {
        let list = make_array(rebuild(data, DataType::List(item.clone()), inner?));
        return Ok(cast(&list, target)?.to_data());
    }
    Ok(rebuild(data, target.clone(), inner?))
}
