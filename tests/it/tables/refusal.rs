//! What an error may say of a table that was refused.

use coframe::arrow::datatypes::{DataType, Schema};

use super::types::{has_dictionary, inner};

/// A table is refused only for types that docs/LIMITATIONS.md names, and the error names the column.
#[track_caller]
pub(crate) fn check(error: &str, causes: &str, schema: &Schema) {
    let named = schema.fields().iter().find(|field| names(error, field.name()));
    let field = named.unwrap_or_else(|| panic!("no column of {schema} is named in: {error}"));
    let is_known = has_nested_dictionary(field.data_type()) || has(field.data_type(), &is_time);
    assert!(is_known || is_runs_of_booleans(field.data_type(), causes), "{field}: {error}; {causes}");
}

pub(crate) fn names(error: &str, column: &str) -> bool {
    error.contains(&format!("`{column}`")) || error.contains(&format!("`{column}."))
}

fn has_nested_dictionary(data_type: &DataType) -> bool {
    has(data_type, &|inner| matches!(inner, DataType::Dictionary(_, values) if has_dictionary(values)))
}

/// arrow miscounts the nulls of booleans where it joins runs of unions of them (docs/LIMITATIONS.md).
fn is_runs_of_booleans(data_type: &DataType, causes: &str) -> bool {
    let is_runs = |inner: &DataType| match inner {
        DataType::RunEndEncoded(_, values) => has(values.data_type(), &|leaf| *leaf == DataType::Boolean),
        _ => false,
    };
    causes.contains("null_bit_buffer size too small") && has(data_type, &is_runs)
}

/// Times beyond their day are refused.
pub(crate) fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

/// Whether a type, something inside it, or the values of a dictionary there pass the test.
pub(crate) fn has(data_type: &DataType, test: &dyn Fn(&DataType) -> bool) -> bool {
    let values = match data_type {
        DataType::Dictionary(_, values) => has(values, test),
        _ => false,
    };
    test(data_type) || values || inner(data_type).iter().any(|field| has(field.data_type(), test))
}
