//! Plans the conversion to Polars: the columns that it would copy, and why.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType as ArrowType, Field, FieldRef},
};
use polars::{datatypes::DataType, prelude::CategoricalPhysical};

use super::{
    buffers::is_aligned,
    crossing::Crossing,
    dtype::{is_native, same_width},
};
use crate::{
    error::Result,
    frame::{CategoryPolicy, Frame},
    ipc::{ArrayParts, Copied, children},
};

/// The columns that `Frame::to_polars` would copy.
pub(crate) fn copies(frame: &Frame) -> Result<Vec<Copied>> {
    let mut crossing = Crossing::new(frame);
    let mut all = Vec::new();
    for (column, field) in frame.schema().fields().iter().enumerate() {
        let dtype = crossing.column_dtype(frame, column, field)?;
        let mut plan = Plan::new(&mut crossing);
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

/// The reason why a column is copied.
pub(super) fn reason(crossing: &mut Crossing, array: &ArrayRef, field: &Field, dtype: &DataType) -> Result<String> {
    let mut plan = Plan::new(crossing);
    plan.array(array, field, dtype)?;
    Ok(plan.reasons.join("; "))
}

struct Plan<'a> {
    crossing: &'a mut Crossing,
    bytes: usize,
    reasons: Vec<String>,
}

impl<'a> Plan<'a> {
    fn new(crossing: &'a mut Crossing) -> Self {
        Self { crossing, bytes: 0, reasons: Vec::new() }
    }

    fn copy(&mut self, bytes: usize, reason: String) {
        self.bytes += bytes;
        if bytes > 0 && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn array(&mut self, array: &ArrayRef, field: &Field, dtype: &DataType) -> Result<()> {
        if !is_native(field) {
            // A conversion of a nested column rewrites the parts that differ, and may share the rest.
            let bytes = array.to_data().get_slice_memory_size().unwrap_or(0);
            let from = field.data_type();
            self.copy(bytes, format!("Polars has no {from}, it is converted to {dtype}"));
            return Ok(());
        }
        if matches!(dtype, DataType::Categorical(..) | DataType::Enum(..)) {
            return self.keys(array, dtype);
        }
        if !self.crossing.trusted && *dtype == DataType::Time {
            self.copy(array.len().div_ceil(8), "times are checked to be within a day".to_owned());
        }
        if !self.crossing.trusted && matches!(dtype, DataType::Struct(_)) && array.null_count() > 0 {
            let bytes = array.len().div_ceil(8) * children(array.data_type()).count();
            self.copy(bytes, "nulls of the struct become nulls of its fields".to_owned());
        }
        if matches!(dtype, DataType::Int128 | DataType::UInt128) && !is_aligned(&ArrayParts::from_array(array)) {
            self.copy(array.len() * 16, "its values are not aligned to 16 bytes in the file".to_owned());
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
        } else if !self.crossing.keys_in_range {
            self.copy(
                bytes,
                "not all of its keys are known to be within its dictionary; they are rewritten".to_owned(),
            );
        } else if !self
            .crossing
            .categories
            .numbering(&ArrayParts::from_array(array), dtype, self.crossing.trusted)?
            .is_same()
        {
            let reason = match self.crossing.categories.policy {
                CategoryPolicy::Shared => {
                    "this process numbers the categories differently; CategoryPolicy::Private shares them"
                }
                CategoryPolicy::Private => "another column numbers the same categories differently",
            };
            self.copy(bytes, reason.to_owned());
        }
        Ok(())
    }
}

/// The children of an array with their fields and dtypes.
fn inner(array: &ArrayRef, field: &Field, dtype: &DataType) -> Vec<(ArrayRef, (FieldRef, DataType))> {
    let fields = children(field.data_type()).cloned();
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
    arrays.into_iter().zip(fields.zip(dtypes)).collect()
}
