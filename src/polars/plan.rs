//! What going to Polars would copy, and why, without doing it.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType as ArrowType, Field, FieldRef},
};
use polars::{datatypes::DataType, prelude::CategoricalPhysical};

use super::{
    categories::{Incoming, Renumbering},
    dtype::is_native,
    import::Crossing,
};
use crate::{
    error::Result,
    frame::Frame,
    ipc::{Copied, children},
};

/// What `Frame::to_polars` would copy.
pub(crate) fn copies(frame: &Frame) -> Result<Vec<Copied>> {
    let mut crossing = Crossing { categories: Incoming::new(frame.options().categories) };
    let marks = frame.footer().metadata.as_ref().map(|metadata| &metadata.marks);
    let trusted = marks.is_some_and(|marks| marks.polars);
    let mut all = Vec::new();
    for (column, field) in frame.schema().fields().iter().enumerate() {
        let dtype = crossing.dtype(field, field.name())?;
        let mut plan = Plan::new(&mut crossing, trusted);
        for batch in frame.batches() {
            if let Some(array) = batch.columns().get(column) {
                plan.array(array, field, &dtype)?;
            }
        }
        if plan.bytes > 0 {
            all.push(Copied { column, bytes: plan.bytes, reason: plan.reasons.join("; ") });
        }
    }
    Ok(all)
}

/// Why a column that is not shared is copied.
pub(super) fn reason(
    crossing: &mut Crossing,
    array: &ArrayRef,
    field: &Field,
    dtype: &DataType,
    trusted: bool,
) -> Result<String> {
    let mut plan = Plan::new(crossing, trusted);
    plan.array(array, field, dtype)?;
    Ok(plan.reasons.join("; "))
}

/// Whether an array reaches Polars without anything being done for each row.
pub(super) fn shares(
    crossing: &mut Crossing,
    array: &ArrayRef,
    field: &Field,
    dtype: &DataType,
    trusted: bool,
) -> Result<bool> {
    if !is_native(field) {
        return Ok(false);
    }
    match dtype {
        DataType::Categorical(..) | DataType::Enum(..) => {
            let values = array.as_any_dictionary().values();
            let agrees = matches!(*crossing.categories.renumbering(values, dtype, trusted)?, Renumbering::Same);
            Ok(trusted && agrees && same_width(array.data_type(), dtype))
        }
        DataType::Time => Ok(trusted),
        DataType::Struct(_) if !trusted && array.null_count() > 0 => Ok(false),
        DataType::List(inner) | DataType::Array(inner, _) => {
            let (values, item) = match field.data_type() {
                ArrowType::LargeList(item) => (array.as_list::<i64>().values(), item),
                ArrowType::FixedSizeList(item, _) => (array.as_fixed_size_list().values(), item),
                _ => return Ok(false),
            };
            shares(crossing, values, item, inner, trusted)
        }
        DataType::Struct(inner) => {
            let ArrowType::Struct(fields) = field.data_type() else { return Ok(false) };
            for ((child, field), inner) in array.as_struct().columns().iter().zip(fields).zip(inner) {
                if !shares(crossing, child, field, inner.dtype(), trusted)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Ok(true),
    }
}

/// Whether the keys of a dictionary have the width of the categories.
pub(super) fn same_width(dictionary: &ArrowType, dtype: &DataType) -> bool {
    let ArrowType::Dictionary(key, _) = dictionary else { return false };
    matches!(
        (key.as_ref(), dtype.cat_physical()),
        (ArrowType::UInt8, Ok(CategoricalPhysical::U8))
            | (ArrowType::UInt16, Ok(CategoricalPhysical::U16))
            | (ArrowType::UInt32, Ok(CategoricalPhysical::U32))
    )
}

struct Plan<'a> {
    crossing: &'a mut Crossing,
    trusted: bool,
    bytes: usize,
    reasons: Vec<String>,
}

impl<'a> Plan<'a> {
    fn new(crossing: &'a mut Crossing, trusted: bool) -> Self {
        Self { crossing, trusted, bytes: 0, reasons: Vec::new() }
    }

    fn copy(&mut self, bytes: usize, reason: String) {
        self.bytes += bytes;
        if bytes > 0 && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn array(&mut self, array: &ArrayRef, field: &Field, dtype: &DataType) -> Result<()> {
        if !is_native(field) {
            // A conversion of a nested column rewrites whatever differs inside, and may share the rest.
            let bytes = array.to_data().get_slice_memory_size().unwrap_or(0);
            let from = field.data_type();
            self.copy(bytes, format!("Polars has no {from}, it is converted to {dtype}"));
            return Ok(());
        }
        if matches!(dtype, DataType::Categorical(..) | DataType::Enum(..)) {
            return self.keys(array, dtype);
        }
        if !self.trusted && *dtype == DataType::Time {
            self.copy(array.len().div_ceil(8), "times are checked to lie inside a day".to_owned());
        }
        if !self.trusted && matches!(dtype, DataType::Struct(_)) && array.null_count() > 0 {
            let bytes = array.len().div_ceil(8) * children(array.data_type()).len();
            self.copy(bytes, "nulls of the struct become nulls of its fields".to_owned());
        }
        for (child, (field, dtype)) in inner(array, field, dtype) {
            self.array(&child, &field, &dtype)?;
        }
        Ok(())
    }

    fn keys(&mut self, array: &ArrayRef, dtype: &DataType) -> Result<()> {
        let width = match dtype.cat_physical() {
            Ok(CategoricalPhysical::U8) => 1,
            Ok(CategoricalPhysical::U16) => 2,
            _ => 4,
        };
        let bytes = array.len() * width;
        if !same_width(array.data_type(), dtype) {
            self.copy(bytes, format!("its keys ({}) are not as wide as Polars'", array.data_type()));
        } else if !self.trusted {
            self.copy(bytes, "its keys were not written by Polars, and are checked and rewritten".to_owned());
        } else if let Renumbering::Table(_) =
            &*self.crossing.categories.renumbering(array.as_any_dictionary().values(), dtype, true)?
        {
            let reason = "this process numbers the categories differently; CategoryPolicy::Own shares them";
            self.copy(bytes, reason.to_owned());
        }
        Ok(())
    }
}

/// The children of an array with their fields and dtypes.
fn inner(array: &ArrayRef, field: &Field, dtype: &DataType) -> Vec<(ArrayRef, (FieldRef, DataType))> {
    let fields = children(field.data_type());
    let arrays: Vec<ArrayRef> = match array.data_type() {
        ArrowType::LargeList(_) => vec![array.as_list::<i64>().values().clone()],
        ArrowType::FixedSizeList(..) => vec![array.as_fixed_size_list().values().clone()],
        ArrowType::Struct(_) => array.as_struct().columns().to_vec(),
        _ => Vec::new(),
    };
    let dtypes: Vec<DataType> = match dtype {
        DataType::List(inner) | DataType::Array(inner, _) => vec![inner.as_ref().clone()],
        DataType::Struct(fields) => fields.iter().map(|field| field.dtype().clone()).collect(),
        _ => Vec::new(),
    };
    arrays.into_iter().zip(fields.into_iter().zip(dtypes)).collect()
}
