//! Errors about a line of NDJSON.

use coframe::arrow::datatypes::DataType;

use super::misfit::{Kind, Misfit};
use crate::{
    failure::Failure,
    source::{MORE, brief},
};

pub(super) fn no_object(label: &str, line: usize, error: &str) -> Failure {
    // The parser was given one line, which is always the first to it.
    let error = error.replace(" at line 1 column ", ", column ");
    Failure::failed(format_args!("{label}, line {line}: not one JSON object ({error}); correct or remove the line"))
}

/// Returns the error of a line. `more`: whether inspecting more rows may help.
pub(super) fn misfit(label: &str, line: usize, misfit: &Misfit, more: bool) -> Failure {
    let Misfit { column, path, kind } = misfit;
    let place = format!("{label}, line {line}");
    let column_place = format!("{place}, column `{}`", brief(column));
    let key = brief(&format!("{column}{path}"));
    Failure::failed(match kind {
        Kind::Twice => format!("{place}: the key `{key}` occurs twice; correct the line"),
        Kind::Unknown => format!(
            "{place}: no inspected row has the key `{key}`; read more rows for the keys and types (--infer-rows 0)"
        ),
        Kind::Escape(error) => {
            let error = error.split(" at line ").next().unwrap_or(error);
            format!("{column_place}: a string is not text ({error}); correct it")
        }
        Kind::Value(value, data_type) => {
            let within = if path.is_empty() { String::new() } else { format!(" at `{key}`") };
            let more = if more { MORE } else { "" };
            let is_nested = !path.is_empty() || data_type.is_nested();
            let next = match (data_type, value.as_bytes().first()) {
                (DataType::Utf8, Some(b'[' | b'{')) => {
                    "make it a string in the file, or split the rows into two files".to_owned()
                }
                (_, Some(b'[' | b'{')) => "correct it, or split the rows into two files".to_owned(),
                _ if is_nested && more.is_empty() => "correct it, or split the rows into two files".to_owned(),
                _ if is_nested => format!("read {more}correct it"),
                _ => format!("read {more}the column as text (--string {column})"),
            };
            let value = brief(value);
            format!("{column_place}: `{value}`{within} cannot be {data_type} without a loss, as other rows are; {next}")
        }
    })
}
