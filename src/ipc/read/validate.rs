//! Validates the values of arrays against their types.

use arrow::{
    array::{Array, ArrayData, ArrayRef, RecordBatch, make_array},
    datatypes::DataType,
    error::ArrowError,
};

use crate::error::{Error, Result};
use crate::ipc::{keys, times};

/// Reads every value of a batch and checks it against its type; of the columns in `keys`, keys below nulls too.
pub(crate) fn validate(batch: &RecordBatch, keys: &[usize], what: &str) -> Result<()> {
    let columns = batch.columns().iter().zip(batch.schema_ref().fields());
    for (position, (column, field)) in columns.enumerate() {
        let bad = |e| Error::corrupt(what, "V1-values", format_args!("column `{}`: {e}", field.name()));
        validate_whole(column).map_err(bad)?;
        if keys.contains(&position) && !keys::lie_in_dictionaries(column, false) {
            let detail = format_args!("column `{}`: a key in a null slot is outside its dictionary", field.name());
            return Err(Error::corrupt(what, "D3-keys", detail));
        }
    }
    Ok(())
}

/// Validates an array with everything inside it.
fn validate_whole(array: &ArrayRef) -> Result<(), ArrowError> {
    array.to_data().validate_full()?;
    times::check(array, times::Dictionaries::Check)
}

/// Builds an array and validates it. The values of its dictionaries were validated already and are not read again.
pub(in crate::ipc) fn validated(data: ArrayData) -> Result<ArrayRef, ArrowError> {
    // The sizes of all arrays inside it.
    data.validate()?;
    values(&data)?;
    let array = make_array(data);
    times::check(&array, times::Dictionaries::Skip)?;
    Ok(array)
}

fn values(data: &ArrayData) -> Result<(), ArrowError> {
    data.validate_nulls()?;
    data.validate_values()?;
    if matches!(data.data_type(), DataType::Dictionary(..)) {
        return Ok(());
    }
    data.child_data().iter().try_for_each(values)
}
