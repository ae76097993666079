//! Schemas that note which maps have sorted keys: arrow's export of a field loses that flag.

use arrow::{
    datatypes::{DataType, Field},
    error::ArrowError,
    ffi::FFI_ArrowSchema,
};

use crate::cast::{any, inner};

/// The flag of Arrow's C data interface.
const MAP_KEYS_SORTED: i64 = 4;

/// Whether a map in the type, or in the values of a dictionary there, has sorted keys.
pub(crate) fn has(data_type: &DataType) -> bool {
    any(data_type, &|inside| matches!(inside, DataType::Map(_, true)))
}

/// The schema of a field, with that flag.
pub(crate) fn schema(field: &Field) -> Result<FFI_ArrowSchema, ArrowError> {
    let exported = FFI_ArrowSchema::try_from(field)?;
    if !has(field.data_type()) {
        return Ok(exported);
    }
    let children = inner(field.data_type()).into_iter().map(|child| schema(child)).collect::<Result<Vec<_>, _>>()?;
    let values = match field.data_type() {
        DataType::Dictionary(_, values) => Some(schema(&Field::new("", values.as_ref().clone(), true))?),
        _ => None,
    };
    let mut built = FFI_ArrowSchema::try_new(exported.format(), children, values)?
        .with_name(field.name())?
        .with_metadata(field.metadata())?;
    let is_sorted = matches!(field.data_type(), DataType::Map(_, true));
    built.flags = exported.flags | if is_sorted { MAP_KEYS_SORTED } else { 0 };
    Ok(built)
}
