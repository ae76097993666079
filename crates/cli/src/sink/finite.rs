//! Columns with NaN or infinity, for which JSON has no word.

use coframe::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Float16Type, Float32Type, Float64Type},
};

use crate::output;

/// Names of such columns, gathered while batches are written.
#[derive(Default)]
pub(super) struct NotFinite(Vec<String>);

impl NotFinite {
    pub(super) fn look(&mut self, batch: &RecordBatch) {
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if !self.0.contains(field.name()) && has_not_finite(column) {
                self.0.push(field.name().clone());
            }
        }
    }

    /// Says on standard error what became of them: the data would not show it.
    pub(super) fn tell(&self) {
        if !self.0.is_empty() {
            let names = self.0.join("`, `");
            output::note(&format!("NaN and infinity became null, since JSON has none: column `{names}`"));
        }
    }
}

fn has_not_finite(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().flatten().any(|value| !value.is_finite()),
        DataType::List(_) => array.as_list::<i32>().iter().flatten().any(|items| has_not_finite(&items)),
        DataType::LargeList(_) => array.as_list::<i64>().iter().flatten().any(|items| has_not_finite(&items)),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().iter().flatten().any(|items| has_not_finite(&items)),
        DataType::Struct(_) => array.as_struct().columns().iter().any(has_not_finite),
        DataType::Dictionary(..) => has_not_finite(array.as_any_dictionary().values()),
        _ => false,
    }
}
