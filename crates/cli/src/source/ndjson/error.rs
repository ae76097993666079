//! Errors about a line of NDJSON.

use coframe::arrow::datatypes::DataType;

use crate::{
    failure::Failure,
    source::{MORE, brief},
};

pub(in crate::source) fn no_object(label: &str, line: usize, error: &str) -> Failure {
    // The parser was given one line, which is always the first to it.
    let error = error.replace(" at line 1 column ", ", column ");
    Failure::failed(format_args!("{label}, line {line}: not one JSON object ({error}); correct or remove the line"))
}

/// Returns the error of a value that a column of this type cannot hold exactly. `more`: whether inspecting more rows
/// may help.
pub(in crate::source) fn wrong_type(
    label: &str,
    line: usize,
    column: &str,
    value: &str,
    data_type: &DataType,
    more: bool,
) -> Failure {
    let more = if more { MORE } else { "" };
    let next = match (data_type, value.as_bytes().first()) {
        (DataType::Utf8, Some(b'[' | b'{')) => {
            "make it a string in the file, or split the rows into two files".to_owned()
        }
        _ => format!("read {more}the column as text (--string {column})"),
    };
    let value = brief(value);
    Failure::failed(format_args!(
        "{label}, line {line}, column `{column}`: `{value}` cannot be {data_type} without a loss, as other rows are; {next}"
    ))
}
