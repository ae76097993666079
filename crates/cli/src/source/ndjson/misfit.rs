//! Finds out why a line was refused.

use std::{borrow::Cow, collections::HashMap, mem};

use coframe::arrow::datatypes::{DataType, Fields};
use serde_json::value::RawValue;

use super::members::members;
use crate::source::exact::is_exact;

/// A part of a line that its column cannot hold.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) column: String,
    /// Where it is inside of the column: `.key[item]`.
    pub(super) path: String,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The key occurs twice in its object.
    Twice,
    /// No inspected row has the key.
    Unknown,
    /// A value that is not of the type exactly.
    Value(String, DataType),
    /// A string or a key with an escape that is not a character.
    Escape(String),
}

impl Misfit {
    fn new(kind: Kind) -> Self {
        Self { column: String::new(), path: String::new(), kind }
    }

    pub(super) fn escape(error: &serde_json::Error) -> Self {
        Self::new(Kind::Escape(error.to_string()))
    }

    pub(super) fn value(value: &RawValue, data_type: DataType) -> Self {
        Self::new(Kind::Value(value.get().to_owned(), data_type))
    }

    /// Returns the misfit as one of the column.
    pub(super) fn in_column(self, column: &str) -> Self {
        Self { column: column.to_owned(), ..self }
    }

    /// Returns the misfit as one of the object that has it under the key.
    pub(super) fn under(self, key: &str) -> Self {
        Self { path: format!(".{key}{}", self.path), ..self }
    }

    /// Returns the misfit as one of the list that has it in this place.
    pub(super) fn at(self, item: usize) -> Self {
        Self { path: format!("[{item}]{}", self.path), ..self }
    }
}

/// Returns the first misfit of a line that is one object; a repeated key comes before others. `as_text`: columns whose
/// numbers and booleans may be text.
pub(super) fn of_line(line: &[u8], columns: &Fields, as_text: &[String]) -> serde_json::Result<Option<Misfit>> {
    let found = of_object(line, columns, as_text)?;
    Ok(found.map(|(column, misfit)| misfit.in_column(&column)))
}

/// Returns the first misfit of an object, and its key.
fn of_object<'a>(
    text: &'a [u8],
    fields: &Fields,
    as_text: &[String],
) -> serde_json::Result<Option<(Cow<'a, str>, Misfit)>> {
    let mut seen = vec![false; fields.len()];
    // `Fields::find` compares with each name.
    let positions: HashMap<&str, usize> =
        fields.iter().enumerate().map(|(at, field)| (field.name().as_str(), at)).collect();
    let (mut twice, mut found) = (None, None);
    let member = |key: Cow<'a, str>, value: &'a RawValue| {
        let Some(position) = positions.get(&*key).copied() else {
            found.get_or_insert_with(|| (key, Misfit::new(Kind::Unknown)));
            return;
        };
        if mem::replace(&mut seen[position], true) {
            twice.get_or_insert_with(|| (key, Misfit::new(Kind::Twice)));
        } else if found.is_none() {
            let field = &fields[position];
            found = of_value(value, field.data_type(), as_text.contains(field.name())).map(|misfit| (key, misfit));
        }
    };
    members(text, member)?;
    Ok(twice.or(found))
}

fn of_value(value: &RawValue, data_type: &DataType, as_text: bool) -> Option<Misfit> {
    let text = value.get();
    let fits = match (data_type, text.as_bytes().first()?) {
        (_, b'n') | (DataType::Boolean, b't' | b'f') => true,
        (DataType::List(item), b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let of_item = |(at, value)| of_value(value, item.data_type(), false).map(|misfit| misfit.at(at));
            return items.into_iter().enumerate().find_map(of_item);
        }
        (DataType::Struct(fields), b'{') => {
            return match of_object(text.as_bytes(), fields, &[]) {
                Ok(found) => found.map(|(key, misfit)| misfit.under(&key)),
                // The text was parsed as a part of its line, except for the escapes of its keys.
                Err(error) => Some(Misfit::escape(&error)),
            };
        }
        (DataType::Utf8, b'"') => {
            let error = serde_json::from_str::<Cow<'_, str>>(text).err()?;
            return Some(Misfit::escape(&error));
        }
        (DataType::Utf8, b'-' | b'0'..=b'9' | b't' | b'f') => as_text,
        (DataType::Int64, b'-' | b'0'..=b'9') => text != "-0" && text.parse::<i64>().is_ok(),
        (DataType::UInt64, b'-' | b'0'..=b'9') => text.parse::<u64>().is_ok(),
        (DataType::Float64, b'-' | b'0'..=b'9') => is_exact(text),
        _ => false,
    };
    (!fits).then(|| Misfit::value(value, data_type.clone()))
}
