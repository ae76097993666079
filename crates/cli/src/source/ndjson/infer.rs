//! The columns of NDJSON: its keys in order, each with a type that holds all inspected values exactly.

use std::{borrow::Cow, collections::HashMap, io::BufRead, mem};

use coframe::arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::value::RawValue;

use super::{
    error::{self, no_object},
    members::members,
    misfit::Misfit,
    trimmed,
};
use crate::failure::{Failure, Result};

/// The maximum depth of lists and objects; a table has a few levels.
const DEEPEST: usize = 64;

/// The kind of values that a key had.
#[derive(Debug, Default, PartialEq)]
enum Seen {
    #[default]
    Nothing,
    Boolean,
    Integer,
    /// Integers, some of which only an unsigned integer of 64 bits holds.
    Unsigned,
    Float,
    Text,
    List(Box<Seen>),
    Struct(Columns),
}

/// The keys of an object in the order of their first values, with the kinds of their values.
#[derive(Debug, Default, PartialEq)]
struct Columns {
    all: Vec<(String, Seen)>,
    positions: HashMap<String, usize>,
}

impl Columns {
    /// Returns the kind of a key's values. `next` is its position if this object has its keys in the usual order.
    fn entry(&mut self, key: &str, next: &mut usize) -> &mut Seen {
        let is_expected = self.all.get(*next).is_some_and(|(name, _)| name == key);
        let position = if is_expected { Some(*next) } else { self.positions.get(key).copied() };
        let position = position.unwrap_or_else(|| {
            self.all.push((key.to_owned(), Seen::Nothing));
            self.positions.insert(key.to_owned(), self.all.len() - 1);
            self.all.len() - 1
        });
        *next = position + 1;
        &mut self.all[position].1
    }

    fn fields(&self) -> Fields {
        self.all.iter().map(|(name, seen)| Field::new(name, data_type(seen), true)).collect()
    }
}

/// Reads the first rows. `as_text`: columns that become text in any case.
pub(super) fn infer(text: &mut dyn BufRead, rows: usize, as_text: &[String], label: &str) -> Result<Schema> {
    let mut columns = Columns::default();
    let (mut line, mut number, mut seen) = (Vec::new(), 0, 0);
    while seen < rows {
        line.clear();
        let read = text.read_until(b'\n', &mut line);
        if read.map_err(|error| crate::source::input::damaged(label, &error))? == 0 {
            break;
        }
        number += 1;
        let object = trimmed(&line);
        if object.is_empty() {
            continue;
        }
        seen += 1;
        let (mut wrong, mut next) = (None, 0);
        let member = |key: Cow<'_, str>, value| {
            let column = columns.entry(&key, &mut next);
            if !as_text.iter().any(|name| *name == key) {
                wrong = wrong.take().or(add(column, value, 0).err().map(|misfit| misfit.in_column(&key)));
            }
        };
        members(object, member).map_err(|error| no_object(label, number, &error.to_string()))?;
        if let Some(wrong) = wrong {
            return Err(error::misfit(label, number, &wrong, false));
        }
    }
    if seen == 0 {
        return Err(Failure::failed(format_args!("{label} is empty: it has no object whose keys name columns")));
    }
    Ok(Schema::new(columns.fields()))
}

/// Widens a kind by a value, or returns the value that does not fit and the type of those before it.
fn add(seen: &mut Seen, value: &RawValue, depth: usize) -> std::result::Result<(), Misfit> {
    let text = value.get();
    let misfit = |seen: Seen| Err(Misfit::value(value, data_type(&seen)));
    let found = match text.as_bytes().first() {
        Some(b'n') => return Ok(()),
        Some(b't' | b'f') => Seen::Boolean,
        Some(b'"') => Seen::Text,
        Some(b'[' | b'{') if depth >= DEEPEST => return misfit(mem::take(seen)),
        Some(b'[') => {
            let mut inner = match mem::take(seen) {
                Seen::Nothing => Box::default(),
                Seen::List(inner) => inner,
                other => return misfit(other),
            };
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            let mut add_item = |(at, item)| add(&mut inner, item, depth + 1).map_err(|misfit| misfit.at(at));
            items.into_iter().enumerate().try_for_each(&mut add_item)?;
            Seen::List(inner)
        }
        Some(b'{') => {
            let mut fields = match mem::take(seen) {
                Seen::Nothing => Columns::default(),
                Seen::Struct(fields) => fields,
                other => return misfit(other),
            };
            let (mut wrong, mut next) = (None, 0);
            let member = |key: Cow<'_, str>, value| {
                let added = add(fields.entry(&key, &mut next), value, depth + 1);
                wrong = wrong.take().or(added.err().map(|misfit| misfit.under(&key)));
            };
            // The text was parsed as a part of its line, except for the escapes of its keys.
            members(text.as_bytes(), member).map_err(|error| Misfit::escape(&error))?;
            wrong.map_or(Ok(()), Err)?;
            Seen::Struct(fields)
        }
        _ => number(text),
    };
    *seen = match (mem::take(seen), found) {
        (Seen::Nothing, found) => found,
        (before, found) if before == found => found,
        (Seen::Integer | Seen::Unsigned | Seen::Float, Seen::Float) | (Seen::Float, Seen::Integer | Seen::Unsigned) => {
            Seen::Float
        }
        // A negative number among them is detected when the rows are read.
        (Seen::Integer, Seen::Unsigned) | (Seen::Unsigned, Seen::Integer) => Seen::Unsigned,
        (before, _) => return misfit(before),
    };
    Ok(())
}

fn number(text: &str) -> Seen {
    match text.parse::<i64>() {
        Ok(_) => Seen::Integer,
        Err(_) if text.parse::<u64>().is_ok() => Seen::Unsigned,
        // Whether a float holds it is detected when the rows are read.
        Err(_) => Seen::Float,
    }
}

fn data_type(seen: &Seen) -> DataType {
    match seen {
        Seen::Nothing => DataType::Null,
        Seen::Boolean => DataType::Boolean,
        Seen::Integer => DataType::Int64,
        Seen::Unsigned => DataType::UInt64,
        Seen::Float => DataType::Float64,
        Seen::Text => DataType::Utf8,
        Seen::List(inner) => DataType::List(Field::new_list_field(data_type(inner), true).into()),
        Seen::Struct(columns) => DataType::Struct(columns.fields()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(lines: &str) -> Result<Vec<String>> {
        let schema = infer(&mut lines.as_bytes(), usize::MAX, &["free".to_owned()], "`x`")?;
        Ok(schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect())
    }

    #[test]
    fn keys_keep_their_order_and_types_hold_all_values() {
        let lines = r#"
            {"b": 1, "a": null, "free": [1]}

            {"a": "x", "b": 2.5, "c": [null, {"d": true}], "free": 1}
            {"c": [{"e": 18446744073709551615}], "f": 1}"#;
        let found = types(lines).unwrap();
        let lists = r#"c List(Struct("d": Boolean, "e": UInt64))"#;
        assert_eq!(found, ["b Float64", "a Utf8", "free Null", lists, "f Int64"]);
    }

    #[test]
    fn a_value_of_another_type_is_named_with_its_line() {
        for (first, second) in [("1", "\"1\""), ("[1]", "{}"), ("{\"b\":[1]}", "{\"b\":[\"x\"]}"), ("true", "1")] {
            let error = types(&format!("{{\"a\":{first}}}\n\n{{\"a\":{second}}}\n")).unwrap_err();
            let Failure::Failed(line) = error else { panic!("{error:?}") };
            assert!(line.starts_with("`x`, line 3, column `a`: "), "{line}");
        }
    }

    /// Nanoseconds that this thread has run, whatever else the machine does.
    fn processor_time() -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    #[test]
    fn the_time_for_different_keys_grows_with_their_number() {
        let lines = |keys: usize| {
            (0..keys).map(|key| format!("{{\"k{key}\":{{\"k{key}\":1}}}}\n")).collect::<Vec<_>>().concat()
        };
        let time = |keys: usize| {
            let text = lines(keys);
            let once = || {
                let started = processor_time();
                assert_eq!(types(&text).unwrap().len(), keys);
                processor_time() - started
            };
            (0..3).map(|_| once()).min().unwrap()
        };
        let (few, many) = (time(2_000), time(32_000));
        // 16 times as many keys; a search among all of them takes more than 100 times as long.
        assert!(many < few * 64, "{few} ns, {many} ns");
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(types(&deep).is_err());
    }
}
