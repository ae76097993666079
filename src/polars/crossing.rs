//! Converts Arrow arrays to Polars arrays on the same buffers, and their types to dtypes.

use std::collections::HashSet;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType as ArrowType, Field, FieldRef},
};
use polars::{
    datatypes::DataType,
    prelude::{CategoricalPhysical, Categories, CompatLevel, Field as PlField, TimeUnit as PlTimeUnit, TimeZone, pf16},
};
use polars_arrow::{
    array::{
        Array as PlArray, BinaryArray, BooleanArray, FixedSizeListArray, ListArray, NullArray, PrimitiveArray,
        StructArray,
    },
    datatypes::{ArrowDataType, Field as ArrowField},
    types::NativeType,
};

use super::{
    buffers::{is_aligned, to_polars, to_polars_booleans, to_polars_offsets, to_polars_validity, to_polars_views},
    convert::convert,
    dtype::{Marked, is_native, marked, native, same_width},
    numbering::Incoming,
    unfold::Room,
};
use crate::{
    error::{Error, Result},
    frame::Frame,
    ipc::{ArrayParts, FieldPath, children, step},
};

/// The shared state of one frame's columns while they are converted.
pub(super) struct Crossing {
    pub(super) categories: Incoming,
    /// Whether Polars made the arrays (`coframe.polars`).
    pub(super) trusted: bool,
    /// Whether every key of the column is within its dictionary (`coframe.keys`, or Polars made it).
    pub(super) keys_in_range: bool,
    /// How many values a file that is not sealed may still unfold to.
    room: Option<Room>,
}

/// Whether an array may be rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    No,
    Yes,
}

impl Crossing {
    pub(super) fn new(frame: &Frame) -> Self {
        let by_polars = frame.footer().metadata.as_ref().is_some_and(|metadata| metadata.hints.polars);
        // A file's records about itself are used only if no other process could change it (SAFETY.md, T3).
        let trusted = by_polars && frame.mapping().is_sealed();
        let room = (!frame.mapping().is_sealed()).then(|| Room::new(frame));
        Self { categories: Incoming::new(frame.options().categories), trusted, keys_in_range: false, room }
    }

    /// The Polars dtype of the column that is converted next.
    pub(super) fn column_dtype(&mut self, frame: &Frame, position: usize, field: &Field) -> Result<DataType> {
        let original = frame.original(position);
        let listed = frame.footer().metadata.as_ref().is_some_and(|metadata| metadata.keys.contains(&original));
        self.keys_in_range = self.trusted || (listed && frame.mapping().is_sealed());
        self.dtype(field, &FieldPath::column(field.name()))
    }

    /// The Polars dtype of a field. `path` names it in errors.
    pub(super) fn dtype(&mut self, field: &Field, path: &FieldPath<'_>) -> Result<DataType> {
        match marked(field) {
            Marked::Int128 => return Ok(DataType::Int128),
            Marked::UInt128 => return Ok(DataType::UInt128),
            Marked::BinaryOffset => return Ok(DataType::BinaryOffset),
            Marked::Categorical(name, namespace, physical) => {
                return Ok(self.categories.categorical(name, namespace, physical));
            }
            Marked::Enum(categories) => return Incoming::enumeration(&categories),
            Marked::Nothing => {}
        }
        if is_native(field) {
            return self.plain_dtype(field.data_type(), path);
        }
        let native = native(field).ok_or_else(|| unsupported(path, field.data_type()))?;
        self.plain_dtype(&native, path)
    }

    fn plain_dtype(&mut self, native: &ArrowType, path: &FieldPath<'_>) -> Result<DataType> {
        let unit = |unit: &arrow::datatypes::TimeUnit| match unit {
            arrow::datatypes::TimeUnit::Nanosecond => PlTimeUnit::Nanoseconds,
            arrow::datatypes::TimeUnit::Microsecond => PlTimeUnit::Microseconds,
            _ => PlTimeUnit::Milliseconds,
        };
        let digits = |scale: &i8| usize::try_from(*scale).map_err(|_| unsupported(path, native));
        Ok(match native {
            ArrowType::Boolean => DataType::Boolean,
            ArrowType::Int8 => DataType::Int8,
            ArrowType::Int16 => DataType::Int16,
            ArrowType::Int32 => DataType::Int32,
            ArrowType::Int64 => DataType::Int64,
            ArrowType::UInt8 => DataType::UInt8,
            ArrowType::UInt16 => DataType::UInt16,
            ArrowType::UInt32 => DataType::UInt32,
            ArrowType::UInt64 => DataType::UInt64,
            ArrowType::Float16 => DataType::Float16,
            ArrowType::Float32 => DataType::Float32,
            ArrowType::Float64 => DataType::Float64,
            ArrowType::Utf8View => DataType::String,
            ArrowType::BinaryView => DataType::Binary,
            ArrowType::Date32 => DataType::Date,
            ArrowType::Time64(_) => DataType::Time,
            ArrowType::Timestamp(precision, zone) => {
                let zone = TimeZone::opt_try_new(zone.as_deref())
                    .map_err(|e| Error::polars(format_args!("read the time zone of column `{path}`"), e))?;
                DataType::Datetime(unit(precision), zone)
            }
            ArrowType::Duration(precision) => DataType::Duration(unit(precision)),
            ArrowType::Decimal128(precision, scale) => DataType::Decimal((*precision).into(), digits(scale)?),
            ArrowType::Null => DataType::Null,
            ArrowType::LargeList(item) => {
                DataType::List(Box::new(self.dtype(item, &path.child(step(native, item.name())))?))
            }
            ArrowType::FixedSizeList(item, width) => {
                let width = usize::try_from(*width).map_err(|_| unsupported(path, native))?;
                DataType::Array(Box::new(self.dtype(item, &path.child(step(native, item.name())))?), width)
            }
            ArrowType::Struct(fields) => {
                refuse_twins(fields, path)?;
                let field = |f: &std::sync::Arc<Field>| {
                    Ok(PlField::new(f.name().into(), self.dtype(f, &path.child(f.name()))?))
                };
                DataType::Struct(fields.iter().map(field).collect::<Result<_>>()?)
            }
            ArrowType::Dictionary(..) => {
                let global = Categories::global();
                self.categories.categorical(global.name(), global.namespace(), CategoricalPhysical::U32)
            }
            other => return Err(unsupported(path, other)),
        })
    }

    /// An array on its own buffers; `None` if each row would have to be read or rewritten.
    pub(super) fn share(
        &mut self,
        values: &ArrayParts<'_>,
        field: &Field,
        dtype: &DataType,
    ) -> Result<Option<Box<dyn PlArray>>> {
        if is_native(field) { self.import(values, field.data_type(), dtype, Rewrite::No) } else { Ok(None) }
    }

    /// Converts one array of a column to a type that Polars supports, and shares as much of it as possible.
    pub(super) fn column(&mut self, array: &ArrayRef, field: &Field, dtype: &DataType) -> Result<Box<dyn PlArray>> {
        let missing = || unsupported(&FieldPath::column(field.name()), array.data_type());
        let native = native(field).ok_or_else(missing)?;
        if let Some(room) = self.room.as_mut().filter(|_| !is_native(field)) {
            room.take(array, field.name())?;
        }
        let converted = convert(array, &native, field.name())?;
        self.import(&ArrayParts::from_array(&converted), &native, dtype, Rewrite::Yes)?.ok_or_else(missing)
    }

    /// `None` if the array would have to be rewritten and must not be. Also `None` if array and dtype do not match,
    /// which `dtype` rules out.
    fn import(
        &mut self,
        values: &ArrayParts<'_>,
        data_type: &ArrowType,
        dtype: &DataType,
        rewrite: Rewrite,
    ) -> Result<Option<Box<dyn PlArray>>> {
        let nulls = || to_polars_validity(values);
        Ok(Some(match dtype {
            DataType::Boolean => BooleanArray::new(ArrowDataType::Boolean, to_polars_booleans(values), nulls()).boxed(),
            DataType::Int8 => numbers::<i8>(values),
            DataType::Int16 => numbers::<i16>(values),
            DataType::Int32 | DataType::Date => numbers::<i32>(values),
            // Polars checks the times of others.
            DataType::Time if !self.trusted && rewrite == Rewrite::No => return Ok(None),
            DataType::Int64 | DataType::Datetime(..) | DataType::Duration(_) | DataType::Time => numbers::<i64>(values),
            DataType::Int128 | DataType::UInt128 if rewrite == Rewrite::No && !is_aligned(values) => return Ok(None),
            DataType::Int128 | DataType::Decimal(..) => numbers::<i128>(values),
            DataType::UInt8 => numbers::<u8>(values),
            DataType::UInt16 => numbers::<u16>(values),
            DataType::UInt32 => numbers::<u32>(values),
            DataType::UInt64 => numbers::<u64>(values),
            DataType::UInt128 => numbers::<u128>(values),
            DataType::Float16 => numbers::<pf16>(values),
            DataType::Float32 => numbers::<f32>(values),
            DataType::Float64 => numbers::<f64>(values),
            DataType::String => to_polars_views::<str>(ArrowDataType::Utf8View, values).boxed(),
            DataType::Binary => to_polars_views::<[u8]>(ArrowDataType::BinaryView, values).boxed(),
            DataType::BinaryOffset => {
                let (offsets, data) = (to_polars_offsets(values.buffer(0)), to_polars(values.buffer(1)));
                BinaryArray::new(ArrowDataType::LargeBinary, offsets, data, nulls()).boxed()
            }
            DataType::Null => NullArray::new(ArrowDataType::Null, values.len()).boxed(),
            DataType::Categorical(..) | DataType::Enum(..) => return self.keys(values, data_type, dtype, rewrite),
            DataType::List(_) | DataType::Array(..) | DataType::Struct(_) => {
                let Some(inner) = self.inner(values, data_type, dtype, rewrite)? else { return Ok(None) };
                return Ok(nested(values, inner, dtype));
            }
            _ => return Ok(None),
        }))
    }

    /// The arrays inside a nested one.
    fn inner(
        &mut self,
        values: &ArrayParts<'_>,
        data_type: &ArrowType,
        dtype: &DataType,
        rewrite: Rewrite,
    ) -> Result<Option<Vec<Box<dyn PlArray>>>> {
        // Polars makes the nulls of others' structs nulls of their fields too.
        if matches!(dtype, DataType::Struct(_)) && !self.trusted && rewrite == Rewrite::No && values.null_count() > 0 {
            return Ok(None);
        }
        let mut inner = Vec::new();
        for (position, (child, field)) in values.children().zip(children(data_type)).enumerate() {
            let dtype = match dtype {
                DataType::List(dtype) | DataType::Array(dtype, _) => Some(dtype.as_ref()),
                DataType::Struct(fields) => fields.get(position).map(PlField::dtype),
                _ => None,
            };
            let Some(dtype) = dtype else { return Ok(None) };
            let Some(child) = self.import(&child, field.data_type(), dtype, rewrite)? else { return Ok(None) };
            inner.push(child);
        }
        Ok(Some(inner))
    }

    /// The keys of a dictionary array as the physical values of a categorical or enum.
    fn keys(
        &mut self,
        values: &ArrayParts<'_>,
        data_type: &ArrowType,
        dtype: &DataType,
        rewrite: Rewrite,
    ) -> Result<Option<Box<dyn PlArray>>> {
        let numbering = self.categories.numbering(values, dtype, self.trusted)?;
        let width = dtype.cat_physical().map_err(|e| Error::polars("read the width of a category", e))?;
        if self.keys_in_range && numbering.is_same() && same_width(data_type, dtype) {
            return Ok(Some(match width {
                CategoricalPhysical::U8 => numbers::<u8>(values),
                CategoricalPhysical::U16 => numbers::<u16>(values),
                CategoricalPhysical::U32 => numbers::<u32>(values),
            }));
        }
        let Some(array) = values.array().filter(|_| rewrite == Rewrite::Yes) else { return Ok(None) };
        let keys = array.as_any_dictionary();
        // arrow panics on a dictionary without values; then all keys are null.
        let old = if keys.values().is_empty() { vec![0; keys.len()] } else { keys.normalized_keys() };
        let is_null = |row| keys.keys().is_null(row);
        let new = old.iter().enumerate().map(|(row, old)| if is_null(row) { None } else { numbering.key(*old) });
        Ok(Some(match width {
            CategoricalPhysical::U8 => {
                new.map(|key| key.and_then(|key| u8::try_from(key).ok())).collect::<PrimitiveArray<u8>>().boxed()
            }
            CategoricalPhysical::U16 => {
                new.map(|key| key.and_then(|key| u16::try_from(key).ok())).collect::<PrimitiveArray<u16>>().boxed()
            }
            CategoricalPhysical::U32 => new.collect::<PrimitiveArray<u32>>().boxed(),
        }))
    }
}

fn unsupported(path: &FieldPath<'_>, data_type: &ArrowType) -> Error {
    Error::unsupported(
        format_args!("column `{path}` of Arrow type {data_type} in Polars"),
        "leave it out with `select`, or read it with `batches`",
    )
}

/// Refuses a struct with two fields of one name, which Arrow allows and with which Polars panics.
fn refuse_twins(fields: &[FieldRef], path: &FieldPath<'_>) -> Result<()> {
    let mut names = HashSet::with_capacity(fields.len());
    let Some(twin) = fields.iter().find(|field| !names.insert(field.name())) else { return Ok(()) };
    Err(Error::unsupported(
        format_args!("column `{path}` in Polars, a struct with two fields `{}`,", twin.name()),
        "rename one of them, leave the column out with `select`, or read it with `batches`",
    ))
}

/// An array of fixed-width values of any Arrow type.
fn numbers<T: NativeType + bytemuck::Pod>(values: &ArrayParts<'_>) -> Box<dyn PlArray> {
    let data_type = ArrowDataType::from(T::PRIMITIVE);
    PrimitiveArray::<T>::new(data_type, to_polars(values.buffer(0)), to_polars_validity(values)).boxed()
}

/// An array of arrays that were already converted, under the type that Polars' own arrays of this dtype have.
fn nested(values: &ArrayParts<'_>, mut inner: Vec<Box<dyn PlArray>>, dtype: &DataType) -> Option<Box<dyn PlArray>> {
    let nulls = to_polars_validity(values);
    let array = match dtype {
        DataType::List(_) => {
            let inner = inner.pop()?;
            let data_type = ListArray::<i64>::default_datatype(inner.dtype().clone());
            ListArray::new(data_type, to_polars_offsets(values.buffer(0)), inner, nulls).boxed()
        }
        DataType::Array(_, width) => {
            let inner = inner.pop()?;
            let data_type = FixedSizeListArray::default_datatype(inner.dtype().clone(), *width);
            FixedSizeListArray::new(data_type, values.len(), inner, nulls).boxed()
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().zip(&inner);
            let fields =
                fields.map(|(field, array)| ArrowField::new(field.name().clone(), array.dtype().clone(), true));
            StructArray::new(ArrowDataType::Struct(fields.collect()), values.len(), inner, nulls).boxed()
        }
        _ => return None,
    };
    debug_assert_eq!(*array.dtype(), dtype.to_physical().to_arrow(CompatLevel::newest()), "the type of {dtype}");
    Some(array)
}
