//! Arrow arrays to Polars columns on the same buffers; `Frame::to_polars`.

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray as ArrowListArray, MapArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType as ArrowType, Field},
};
use polars::{
    datatypes::DataType,
    frame::DataFrame,
    prelude::{
        CategoricalPhysical, Categories, Column, CompatLevel, Field as PlField, PlSmallStr, Series,
        TimeUnit as PlTimeUnit, TimeZone, pf16,
    },
    series::IsSorted,
};
use polars_arrow::{
    array::{
        Array as PlArray, BinaryArray, BooleanArray, FixedSizeListArray, ListArray, NullArray, PrimitiveArray,
        StructArray,
    },
    datatypes::ArrowDataType,
    types::NativeType,
};

use super::{
    buffers::{series, to_polars, to_polars_bits, to_polars_nulls, to_polars_offsets, to_polars_views},
    categories::{Incoming, Renumbering},
    dtype::{Marked, is_native, marked, native},
    plan,
};
use crate::{
    error::{Error, Kind, Result},
    frame::{CopyPolicy, Frame},
};

impl Frame {
    /// The frame as a Polars `DataFrame` on the mapped bytes.
    ///
    /// Costs in the order of columns, batches and categories: about a microsecond a column, whatever the number of
    /// rows, for every dtype of a frame that Polars published. Of a part of the rows, Polars counts the nulls, which
    /// reads one bit a row. What must be copied (types that Polars lacks, keys
    /// that this process numbers otherwise) is in [`Frame::explain`], and refused under
    /// [`CopyPolicy::Never`](crate::CopyPolicy::Never). The columns keep the mapping alive; changing one in Polars
    /// copies it first, so nothing is ever written to shared memory.
    ///
    /// # Errors
    ///
    /// [`is_unsupported`](Error::is_unsupported) for a type that Polars has nothing like (unions, intervals);
    /// [`is_would_copy`](Error::is_would_copy) under the copy policy.
    ///
    /// ```
    /// use coframe::Store;
    /// use polars::prelude::*;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let store = Store::at(dir.path().join("store"))?;
    /// let df = df!("name" => ["a", "b"], "x" => [Some(1.5), None])?;
    /// store.publish("table", &df)?;
    /// assert!(store.open("table")?.to_polars()?.equals_missing(&df));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_polars(&self) -> Result<DataFrame> {
        let mut crossing = Crossing { categories: Incoming::new(self.options().categories) };
        let marks = self.footer().metadata.as_ref().map(|metadata| &metadata.marks);
        let trusted = marks.is_some_and(|marks| marks.polars);
        let mut columns = Vec::with_capacity(self.columns());
        for (position, field) in self.schema().fields().iter().enumerate() {
            let dtype = crossing.dtype(field, field.name())?;
            let mut chunks = Vec::new();
            for (batch, start, len) in self.pieces() {
                let Some(array) = batch.columns().get(position) else { continue };
                if plan::shares(&mut crossing, array, field, &dtype, trusted)? {
                    let chunk = crossing.column(array, field, &dtype, trusted)?;
                    // Polars slices without counting nulls anew.
                    chunks.push(if len == array.len() { chunk } else { chunk.sliced(start, len) });
                } else if self.options().copies == CopyPolicy::Never {
                    let reason = plan::reason(&mut crossing, array, field, &dtype, trusted)?;
                    return Err(Kind::WouldCopy { column: field.name().clone(), reason }.into());
                } else {
                    chunks.push(crossing.column(&array.slice(start, len), field, &dtype, trusted)?);
                }
            }
            let name = PlSmallStr::from_str(field.name());
            let mut column =
                if chunks.is_empty() { Series::new_empty(name, &dtype) } else { series(name, chunks, &dtype, trusted) };
            let original = self.original(position);
            let sorted = marks.and_then(|marks| marks.sorted.iter().find(|(column, _)| *column == original));
            if let Some((_, descending)) = sorted {
                column.set_sorted_flag(if *descending { IsSorted::Descending } else { IsSorted::Ascending });
            }
            columns.push(Column::from(column));
        }
        DataFrame::new(self.rows(), columns)
            .map_err(|e| Error::polars(format_args!("put the columns of {} together", self.label()), e))
    }
}

/// What one frame's columns share while they cross.
pub(super) struct Crossing {
    pub(super) categories: Incoming,
}

impl Crossing {
    /// The Polars dtype of a field. `path` names it in errors.
    pub(super) fn dtype(&mut self, field: &Field, path: &str) -> Result<DataType> {
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

    fn plain_dtype(&mut self, native: &ArrowType, path: &str) -> Result<DataType> {
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
            ArrowType::LargeList(item) => DataType::List(Box::new(self.dtype(item, &format!("{path}.[]"))?)),
            ArrowType::FixedSizeList(item, width) => {
                let width = usize::try_from(*width).map_err(|_| unsupported(path, native))?;
                DataType::Array(Box::new(self.dtype(item, &format!("{path}.[]"))?), width)
            }
            ArrowType::Struct(fields) => {
                let field = |f: &std::sync::Arc<Field>| {
                    Ok(PlField::new(f.name().into(), self.dtype(f, &format!("{path}.{}", f.name()))?))
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

    /// One array of a column: brought to a type that Polars can take, then shared.
    fn column(&mut self, array: &ArrayRef, field: &Field, dtype: &DataType, trusted: bool) -> Result<Box<dyn PlArray>> {
        let missing = || unsupported(field.name(), array.data_type());
        if is_native(field) {
            return self.import(array, field, dtype, trusted)?.ok_or_else(missing);
        }
        let native = native(field).ok_or_else(missing)?;
        let converted = convert(array, &native, field.name())?;
        let native = field.clone().with_data_type(native);
        self.import(&converted, &native, dtype, trusted)?.ok_or_else(missing)
    }

    /// `None` where array and dtype do not belong together, which `dtype` rules out.
    fn import(
        &mut self,
        array: &ArrayRef,
        field: &Field,
        dtype: &DataType,
        trusted: bool,
    ) -> Result<Option<Box<dyn PlArray>>> {
        Ok(Some(match dtype {
            DataType::Boolean => {
                let array = array.as_boolean();
                BooleanArray::new(ArrowDataType::Boolean, to_polars_bits(array.values(), None), nulls(array)).boxed()
            }
            DataType::Int8 => primitive::<i8>(array, dtype),
            DataType::Int16 => primitive::<i16>(array, dtype),
            DataType::Int32 | DataType::Date => primitive::<i32>(array, dtype),
            DataType::Int64 | DataType::Datetime(..) | DataType::Duration(_) | DataType::Time => {
                primitive::<i64>(array, dtype)
            }
            DataType::Int128 | DataType::Decimal(..) => primitive::<i128>(array, dtype),
            DataType::UInt8 => primitive::<u8>(array, dtype),
            DataType::UInt16 => primitive::<u16>(array, dtype),
            DataType::UInt32 => primitive::<u32>(array, dtype),
            DataType::UInt64 => primitive::<u64>(array, dtype),
            DataType::UInt128 => primitive::<u128>(array, dtype),
            DataType::Float16 => primitive::<pf16>(array, dtype),
            DataType::Float32 => primitive::<f32>(array, dtype),
            DataType::Float64 => primitive::<f64>(array, dtype),
            DataType::String => {
                let array = array.as_string_view();
                let views = array.views().inner().clone();
                to_polars_views::<str>(ArrowDataType::Utf8View, views, array.data_buffers(), nulls(array)).boxed()
            }
            DataType::Binary => {
                let array = array.as_binary_view();
                let views = array.views().inner().clone();
                to_polars_views::<[u8]>(ArrowDataType::BinaryView, views, array.data_buffers(), nulls(array)).boxed()
            }
            DataType::BinaryOffset => {
                let array = array.as_binary::<i64>();
                let offsets = to_polars_offsets(array.offsets().inner().inner().clone());
                let values = to_polars(array.values().clone());
                BinaryArray::new(ArrowDataType::LargeBinary, offsets, values, nulls(array)).boxed()
            }
            DataType::Null => NullArray::new(ArrowDataType::Null, array.len()).boxed(),
            DataType::Categorical(..) | DataType::Enum(..) => self.keys(array, dtype, trusted)?,
            DataType::List(inner) => {
                let (ArrowType::LargeList(item), array) = (field.data_type(), array.as_list::<i64>()) else {
                    return Ok(None);
                };
                let Some(values) = self.import(array.values(), item, inner, trusted)? else { return Ok(None) };
                let offsets = to_polars_offsets(array.offsets().inner().inner().clone());
                ListArray::new(physical(dtype), offsets, values, nulls(array)).boxed()
            }
            DataType::Array(inner, _) => {
                let (ArrowType::FixedSizeList(item, _), array) = (field.data_type(), array.as_fixed_size_list()) else {
                    return Ok(None);
                };
                let Some(values) = self.import(array.values(), item, inner, trusted)? else { return Ok(None) };
                FixedSizeListArray::new(physical(dtype), array.len(), values, nulls(array)).boxed()
            }
            DataType::Struct(inner) => {
                let (ArrowType::Struct(fields), array) = (field.data_type(), array.as_struct()) else {
                    return Ok(None);
                };
                let mut values = Vec::with_capacity(inner.len());
                for ((child, field), inner) in array.columns().iter().zip(fields).zip(inner) {
                    let Some(child) = self.import(child, field, inner.dtype(), trusted)? else { return Ok(None) };
                    values.push(child);
                }
                StructArray::new(physical(dtype), array.len(), values, nulls(array)).boxed()
            }
            _ => return Ok(None),
        }))
    }

    /// The keys of a dictionary array as the physical values of a categorical or enum.
    fn keys(&mut self, array: &ArrayRef, dtype: &DataType, trusted: bool) -> Result<Box<dyn PlArray>> {
        let keys = array.as_any_dictionary();
        let renumbering = self.categories.renumbering(keys.values(), dtype, trusted)?;
        let shared = trusted && matches!(*renumbering, Renumbering::Same) && plan::same_width(array.data_type(), dtype);
        let width = dtype.cat_physical().map_err(|e| Error::polars("read the width of a category", e))?;
        if shared {
            return Ok(match width {
                CategoricalPhysical::U8 => numbers::<u8>(keys.keys(), &DataType::UInt8),
                CategoricalPhysical::U16 => numbers::<u16>(keys.keys(), &DataType::UInt16),
                CategoricalPhysical::U32 => numbers::<u32>(keys.keys(), &DataType::UInt32),
            });
        }
        let old = keys.normalized_keys();
        let new = old.iter().enumerate().map(|(row, old)| match (&*renumbering, keys.keys().is_null(row)) {
            (_, true) => None,
            (Renumbering::Same, false) => u32::try_from(*old).ok(),
            (Renumbering::Table(table), false) => table.get(*old).copied().flatten(),
        });
        Ok(match width {
            CategoricalPhysical::U8 => {
                new.map(|key| key.and_then(|key| u8::try_from(key).ok())).collect::<PrimitiveArray<u8>>().boxed()
            }
            CategoricalPhysical::U16 => {
                new.map(|key| key.and_then(|key| u16::try_from(key).ok())).collect::<PrimitiveArray<u16>>().boxed()
            }
            CategoricalPhysical::U32 => new.collect::<PrimitiveArray<u32>>().boxed(),
        })
    }
}

fn unsupported(path: &str, data_type: &ArrowType) -> Error {
    Error::unsupported(
        format_args!("column `{path}` of Arrow type {data_type} in Polars"),
        "leave it out with `select`, or read it with `batches`",
    )
}

fn nulls(array: &dyn Array) -> Option<polars_arrow::bitmap::Bitmap> {
    to_polars_nulls(array.nulls())
}

/// The type that Polars' own arrays of this dtype have.
fn physical(dtype: &DataType) -> ArrowDataType {
    dtype.to_physical().to_arrow(CompatLevel::newest())
}

fn primitive<T: NativeType + bytemuck::Pod>(array: &ArrayRef, dtype: &DataType) -> Box<dyn PlArray> {
    numbers::<T>(array.as_ref(), dtype)
}

/// An array of fixed-width values, whatever Arrow calls them.
fn numbers<T: NativeType + bytemuck::Pod>(array: &dyn Array, dtype: &DataType) -> Box<dyn PlArray> {
    let data = array.to_data();
    let width = size_of::<T>();
    let values = data.buffers().first().cloned().unwrap_or_default();
    let values = values.slice_with_length(data.offset() * width, data.len() * width);
    PrimitiveArray::<T>::new(physical(dtype), to_polars(values), to_polars_nulls(data.nulls())).boxed()
}

/// Brings an array to the type that Polars can take.
fn convert(array: &ArrayRef, native: &ArrowType, path: &str) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let error = |e| Error::arrow(format_args!("convert column `{path}` for Polars"), e);
    let array = unmap(array);
    cast_with_options(&array, native, &options).map_err(error)
}

/// A map as the list of entries that it is; arrow's cast has no such step.
fn unmap(array: &ArrayRef) -> ArrayRef {
    let ArrowType::Map(entries, _) = array.data_type() else { return array.clone() };
    let map: &MapArray = array.as_map();
    let list = ArrowListArray::new(
        entries.clone(),
        map.offsets().clone(),
        std::sync::Arc::new(map.entries().clone()),
        map.nulls().cloned(),
    );
    std::sync::Arc::new(list)
}
