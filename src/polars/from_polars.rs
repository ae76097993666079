//! Polars arrays to Arrow arrays on the same buffers.

use arrow::{
    array::{ArrayData, ArrayDataBuilder},
    datatypes::{DataType as ArrowType, Field},
};
use bytemuck::Pod;
use polars::{datatypes::DataType, prelude::pf16};
use polars_arrow::{
    array::{
        Array as PlArray, BinaryArray, BinaryViewArrayGeneric, BooleanArray, FixedSizeListArray, ListArray,
        PrimitiveArray, StructArray, ViewType,
    },
    types::NativeType,
};

use super::{
    buffers::{assemble, to_arrow, to_arrow_bits, to_arrow_nulls},
    categories::{Dictionaries, address},
};
use crate::error::{Error, Result};

/// Shares one physical Polars array of the given dtype; `field` is the result of `to_field` for the dtype.
pub(super) fn export(
    array: &dyn PlArray,
    dtype: &DataType,
    field: &Field,
    dictionaries: &Dictionaries,
) -> Result<ArrayData> {
    let exported = match dtype {
        DataType::Boolean => booleans(array, field),
        DataType::Int8 => primitive::<i8>(array, field),
        DataType::Int16 => primitive::<i16>(array, field),
        DataType::Int32 | DataType::Date => primitive::<i32>(array, field),
        DataType::Int64 | DataType::Datetime(..) | DataType::Duration(_) | DataType::Time => {
            primitive::<i64>(array, field)
        }
        DataType::Int128 | DataType::Decimal(..) => primitive::<i128>(array, field),
        DataType::UInt8 => primitive::<u8>(array, field),
        DataType::UInt16 => primitive::<u16>(array, field),
        DataType::UInt32 => primitive::<u32>(array, field),
        DataType::UInt64 => primitive::<u64>(array, field),
        DataType::UInt128 => primitive::<u128>(array, field),
        DataType::Float16 => primitive::<pf16>(array, field),
        DataType::Float32 => primitive::<f32>(array, field),
        DataType::Float64 => primitive::<f64>(array, field),
        DataType::String => views::<str>(array, field),
        DataType::Binary => views::<[u8]>(array, field),
        DataType::BinaryOffset => binaries(array, field),
        DataType::Null => Some(ArrayData::new_null(&ArrowType::Null, array.len())),
        DataType::Categorical(..) | DataType::Enum(..) => categories(array, dtype, field, dictionaries),
        DataType::List(inner) => lists(array, inner, field, dictionaries)?,
        DataType::Array(inner, _) => fixed_lists(array, inner, field, dictionaries)?,
        DataType::Struct(_) => structs(array, dtype, field, dictionaries)?,
        _ => None,
    };
    exported.ok_or_else(|| {
        let what = format!("column `{}` of dtype {dtype}, whose array is {:?},", field.name(), array.dtype());
        Error::unsupported(what, "rebuild the column with Polars' own constructors")
    })
}

fn builder(array: &dyn PlArray, field: &Field) -> ArrayDataBuilder {
    ArrayData::builder(field.data_type().clone()).len(array.len()).nulls(to_arrow_nulls(array))
}

fn primitive<T: NativeType + Pod>(array: &dyn PlArray, field: &Field) -> Option<ArrayData> {
    let values = array.as_any().downcast_ref::<PrimitiveArray<T>>()?.values();
    Some(assemble(builder(array, field).add_buffer(to_arrow(values))))
}

fn booleans(array: &dyn PlArray, field: &Field) -> Option<ArrayData> {
    let bits = to_arrow_bits(array.as_any().downcast_ref::<BooleanArray>()?.values());
    // Arrow has one offset for values and nulls, so the null buffer keeps its own offset inside.
    let builder = builder(array, field).offset(bits.offset()).add_buffer(bits.inner().clone());
    Some(assemble(builder))
}

fn views<T: ViewType + ?Sized>(array: &dyn PlArray, field: &Field) -> Option<ArrayData> {
    let array = array.as_any().downcast_ref::<BinaryViewArrayGeneric<T>>()?;
    let data = array.data_buffers().iter().map(to_arrow);
    let buffers = std::iter::once(to_arrow(array.views())).chain(data).collect();
    Some(assemble(builder(array, field).buffers(buffers)))
}

fn binaries(array: &dyn PlArray, field: &Field) -> Option<ArrayData> {
    let array = array.as_any().downcast_ref::<BinaryArray<i64>>()?;
    let buffers = vec![to_arrow(array.offsets().buffer()), to_arrow(array.values())];
    Some(assemble(builder(array, field).buffers(buffers)))
}

fn categories(array: &dyn PlArray, dtype: &DataType, field: &Field, all: &Dictionaries) -> Option<ArrayData> {
    let dictionary = all.get(&address(dtype.cat_mapping().ok()?))?;
    let ArrowType::Dictionary(key, _) = field.data_type() else { return None };
    let any = array.as_any();
    let keys = match (key.as_ref(), &dictionary.renumbered) {
        (ArrowType::UInt8, None) => to_arrow(any.downcast_ref::<PrimitiveArray<u8>>()?.values()),
        (ArrowType::UInt16, None) => to_arrow(any.downcast_ref::<PrimitiveArray<u16>>()?.values()),
        (_, None) => to_arrow(any.downcast_ref::<PrimitiveArray<u32>>()?.values()),
        // Only 32-bit mappings grow large enough to be compacted.
        (_, Some(renumbered)) => {
            let old = any.downcast_ref::<PrimitiveArray<u32>>()?.values();
            old.iter().map(|key| renumbered.get(key).copied().unwrap_or(0)).collect::<Vec<u32>>().into()
        }
    };
    Some(assemble(builder(array, field).add_buffer(keys).add_child_data(dictionary.values.clone())))
}

fn lists(array: &dyn PlArray, inner: &DataType, field: &Field, all: &Dictionaries) -> Result<Option<ArrayData>> {
    let (Some(list), ArrowType::LargeList(item)) = (array.as_any().downcast_ref::<ListArray<i64>>(), field.data_type())
    else {
        return Ok(None);
    };
    let values = export(list.values().as_ref(), inner, item, all)?;
    let builder = builder(array, field).add_buffer(to_arrow(list.offsets().buffer())).add_child_data(values);
    Ok(Some(assemble(builder)))
}

fn fixed_lists(array: &dyn PlArray, inner: &DataType, field: &Field, all: &Dictionaries) -> Result<Option<ArrayData>> {
    let any = array.as_any();
    let (Some(list), ArrowType::FixedSizeList(item, _)) = (any.downcast_ref::<FixedSizeListArray>(), field.data_type())
    else {
        return Ok(None);
    };
    let values = export(list.values().as_ref(), inner, item, all)?;
    Ok(Some(assemble(builder(array, field).add_child_data(values))))
}

fn structs(array: &dyn PlArray, dtype: &DataType, field: &Field, all: &Dictionaries) -> Result<Option<ArrayData>> {
    let (Some(parent), ArrowType::Struct(fields), DataType::Struct(inner)) =
        (array.as_any().downcast_ref::<StructArray>(), field.data_type(), dtype)
    else {
        return Ok(None);
    };
    let children = parent.values().iter().zip(inner).zip(fields);
    let children = children.map(|((child, inner), field)| export(child.as_ref(), inner.dtype(), field, all));
    Ok(Some(assemble(builder(array, field).child_data(children.collect::<Result<_>>()?))))
}
