//! Writes one dictionary per field, even if the batches have different ones.
//!
//! The record batches of a segment contain plain keys, and the dictionaries follow the last batch. So a dictionary can
//! grow while a table is written, and is still written once, without replacements or deltas (FORMAT.md, rule D1). With
//! a second, different dictionary, the encoder would write a file that arrow-rs and Polars misread.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayData, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, make_array, new_empty_array},
    datatypes::{
        ArrowNativeType, DataType, Field, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
    row::{RowConverter, SortField},
};

use super::{
    batches::gather_column,
    canonical::{gather, written},
};
use crate::error::{Error, Result};
use crate::ipc::{
    keys::{count, each_keys},
    tree::{children, has_dictionary, map_type, rebuild, step},
};

/// The type with every dictionary replaced by its keys, as in a record batch.
pub(in crate::ipc) fn keys_type(data_type: &DataType) -> DataType {
    map_type(data_type, &|inner| match inner {
        DataType::Dictionary(key, _) => *key,
        other => other,
    })
}

/// The dictionaries of one column, in depth-first order of its dictionary fields.
pub(in crate::ipc) struct Dictionaries {
    field: FieldRef,
    unifiers: Vec<DictionaryUnifier>,
    /// Whether the keys of all dictionaries were checked as they were written.
    looked: bool,
}

impl Dictionaries {
    pub(in crate::ipc) fn new(field: &FieldRef) -> Self {
        let mut unifiers = Vec::new();
        collect(field.name(), field.data_type(), &mut unifiers);
        Self { field: field.clone(), unifiers, looked: true }
    }

    /// Takes the dictionaries out of a column, and returns its keys.
    ///
    /// Keys are shared while batches have the same dictionary or a longer one. Otherwise they are rewritten.
    pub(in crate::ipc) fn strip(&mut self, column: &ArrayRef) -> Result<ArrayRef> {
        let mut unifiers = self.unifiers.iter_mut();
        strip(column.to_data(), &mut unifiers).map(make_array)
    }

    /// Records the largest keys of a column that is being written.
    pub(in crate::ipc) fn look(&mut self, keys: &ArrayRef) {
        let mut unifiers = self.unifiers.iter_mut();
        let whole = each_keys(keys, self.field.data_type(), &mut |keys| {
            let Some(unifier) = unifiers.next() else { return };
            unifier.reach = unifier.reach.zip(count(keys)).map(|(reach, count)| reach.max(count));
        });
        self.looked &= whole;
    }

    /// Whether every written key is within its dictionary, including keys in null slots.
    pub(in crate::ipc) fn hold_all_keys(&self) -> bool {
        self.looked && self.unifiers.iter().all(|unifier| unifier.reach.is_some_and(|reach| reach <= unifier.len))
    }

    /// An empty column that has the final dictionaries, for the encoder of dictionary messages.
    pub(in crate::ipc) fn finish(&self) -> Result<ArrayRef> {
        let values: Result<Vec<ArrayData>> = self.unifiers.iter().map(DictionaryUnifier::finish).collect();
        let mut values = values?.into_iter();
        Ok(make_array(filled(&self.field, &mut values)))
    }
}

/// The dictionary of one field while it grows.
struct DictionaryUnifier {
    path: String,
    value_type: DataType,
    /// Distinct values, in order of arrival.
    parts: Vec<ArrayRef>,
    len: usize,
    /// One more than the largest key that was written; `None` after a negative one.
    reach: Option<usize>,
    /// From a value's row encoding to its key; created when a second, different dictionary arrives.
    index: Option<Index>,
    /// The dictionary whose keys need no rewriting.
    adopted: Option<ArrayData>,
}

/// The encoder of values, and the key of each encoded value.
type Index = (RowConverter, HashMap<Box<[u8]>, usize>);

fn collect(path: &str, data_type: &DataType, unifiers: &mut Vec<DictionaryUnifier>) {
    if let DataType::Dictionary(_, value) = data_type {
        let (path, value_type) = (path.to_owned(), value.as_ref().clone());
        unifiers.push(DictionaryUnifier {
            path,
            value_type,
            parts: Vec::new(),
            len: 0,
            reach: Some(0),
            index: None,
            adopted: None,
        });
    }
    for field in children(data_type) {
        collect(&format!("{path}.{}", step(data_type, field.name())), field.data_type(), unifiers);
    }
}

fn strip<'a>(data: ArrayData, unifiers: &mut impl Iterator<Item = &'a mut DictionaryUnifier>) -> Result<ArrayData> {
    if let DataType::Dictionary(key, _) = data.data_type() {
        let key = key.as_ref().clone();
        let unifier =
            unifiers.next().ok_or_else(|| Error::invalid("a dictionary column", "its field is not in the schema"))?;
        return match unifier.remapping(&data)? {
            None => Ok(rebuild(data, key, Vec::new())),
            Some(map) => remap(&data, &key, &map, &unifier.path),
        };
    }
    if !has_dictionary(data.data_type()) {
        return Ok(data);
    }
    let inner: Result<Vec<_>> = data.child_data().iter().map(|child| strip(child.clone(), unifiers)).collect();
    let data_type = keys_type(data.data_type());
    Ok(rebuild(data, data_type, inner?))
}

impl DictionaryUnifier {
    /// The new keys of an incoming array; `None` if its keys need not change.
    fn remapping(&mut self, data: &ArrayData) -> Result<Option<Vec<usize>>> {
        let Some(values) = data.child_data().first() else { return Ok(None) };
        let known = match &self.adopted {
            None => false,
            Some(old) if ArrayData::ptr_eq(old, values) => return Ok(None),
            Some(old) => old.len() <= values.len() && *old == values.slice(0, old.len()),
        };
        // The first dictionary, or one that continues the adopted one, is used unchanged.
        if self.index.is_none() && (self.adopted.is_none() || known) {
            self.adopted = Some(values.clone());
            self.parts = vec![make_array(values.clone())];
            self.len = values.len();
            return Ok(None);
        }
        self.merge(&make_array(values.clone())).map(Some)
    }

    /// Adds the values that are new, and returns the key of each incoming one.
    fn merge(&mut self, values: &ArrayRef) -> Result<Vec<usize>> {
        let error = |e| Error::arrow(format_args!("merge the dictionaries of column `{}`", self.path), e);
        if self.index.is_none() {
            let converter = RowConverter::new(vec![SortField::new(self.value_type.clone())]).map_err(error)?;
            let mut index = (converter, HashMap::new());
            for part in &self.parts {
                let rows = index.0.convert_columns(std::slice::from_ref(part)).map_err(error)?;
                for (key, row) in rows.iter().enumerate() {
                    index.1.entry(row.as_ref().into()).or_insert(key);
                }
            }
            self.index = Some(index);
        }
        let Some((converter, index)) = &mut self.index else { return Ok(Vec::new()) };
        let rows = converter.convert_columns(std::slice::from_ref(values)).map_err(error)?;
        let mut new = Vec::new();
        let mut map = Vec::with_capacity(values.len());
        for (position, row) in rows.iter().enumerate() {
            let key = *index.entry(row.as_ref().into()).or_insert_with(|| {
                new.push((position, 1));
                self.len += 1;
                self.len - 1
            });
            map.push(key);
        }
        if !new.is_empty() {
            // arrow's `take` panics on structs with lists of size 0.
            let count = new.len();
            let chosen = gather(values, new.into_iter(), 0, count).map_err(error)?;
            // In its written form it does not keep the rest of the batch's dictionary in memory.
            self.parts.push(written(&self.path, &chosen)?);
        }
        Ok(map)
    }

    fn finish(&self) -> Result<ArrayData> {
        let parts: Vec<&dyn Array> = self.parts.iter().map(AsRef::as_ref).collect();
        let values = match self.parts.as_slice() {
            [] => new_empty_array(&self.value_type),
            [one] => one.clone(),
            _ => gather_column(&parts)
                .map_err(|e| Error::arrow(format_args!("merge the dictionaries of column `{}`", self.path), e))?,
        };
        written(&self.path, &values).map(|values| values.to_data())
    }
}

fn remap(data: &ArrayData, key: &DataType, map: &[usize], path: &str) -> Result<ArrayData> {
    let keys = make_array(rebuild(data.clone(), key.clone(), Vec::new()));
    let result = match key {
        DataType::Int8 => remap_keys::<Int8Type>(&keys, map),
        DataType::Int16 => remap_keys::<Int16Type>(&keys, map),
        DataType::Int32 => remap_keys::<Int32Type>(&keys, map),
        DataType::Int64 => remap_keys::<Int64Type>(&keys, map),
        DataType::UInt8 => remap_keys::<UInt8Type>(&keys, map),
        DataType::UInt16 => remap_keys::<UInt16Type>(&keys, map),
        DataType::UInt32 => remap_keys::<UInt32Type>(&keys, map),
        _ => remap_keys::<UInt64Type>(&keys, map),
    };
    result.map(|array| array.to_data()).ok_or_else(|| {
        Error::unsupported(
            format_args!("column `{path}`, whose batches together have more categories than its {key} keys can count,"),
            "cast its keys to a wider type",
        )
    })
}

/// `None` when a key does not fit the key type.
fn remap_keys<T: ArrowPrimitiveType>(keys: &ArrayRef, map: &[usize]) -> Option<ArrayRef> {
    let keys = keys.as_primitive::<T>();
    let new = |key: Option<T::Native>| match key {
        None => Some(None),
        Some(key) => map.get(key.as_usize()).copied().and_then(T::Native::from_usize).map(Some),
    };
    let new: Option<PrimitiveArray<T>> =
        keys.iter().map(new).collect::<Option<Vec<_>>>().map(|keys| keys.into_iter().collect());
    new.map(|keys| -> ArrayRef { Arc::new(keys) })
}

/// An empty array of the field's type whose dictionaries hold the given values.
fn filled(field: &Field, values: &mut impl Iterator<Item = ArrayData>) -> ArrayData {
    let data_type = field.data_type();
    let empty = ArrayData::new_empty(data_type);
    let inner = match data_type {
        DataType::Dictionary(..) => values.next().into_iter().collect(),
        nested if has_dictionary(nested) => children(nested).map(|child| filled(child, values)).collect(),
        _ => return empty,
    };
    rebuild(empty, data_type.clone(), inner)
}
