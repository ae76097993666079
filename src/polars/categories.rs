//! Exports categories: one dictionary for each `Categories` object of a frame.

use std::{collections::HashMap, sync::Arc};

use arrow::array::{Array, ArrayData, StringViewBuilder};
use polars::{datatypes::DataType, prelude::CategoricalMapping};
use polars_arrow::array::{Array as PlArray, FixedSizeListArray, ListArray, PrimitiveArray, StructArray};

use crate::error::{Error, Result};

/// A mapping may have this many more categories than a frame uses before it is compacted.
const SPARE_CATEGORIES: usize = 1 << 16;

/// The dictionary of one `Categories` object in one segment.
pub(super) struct Dictionary {
    pub(super) values: ArrayData,
    /// From the mapping's key to the dictionary's, if the dictionary was compacted.
    pub(super) renumbered: Option<HashMap<u32, u32>>,
}

/// The dictionaries of a frame that is exported, by the address of their mapping.
pub(super) type Dictionaries = HashMap<usize, Dictionary>;

pub(super) fn address(mapping: &Arc<CategoricalMapping>) -> usize {
    Arc::as_ptr(mapping).addr()
}

/// Creates the dictionaries of all columns: for a categorical, the prefix of its mapping up to the largest key in any
/// of the columns; for an enum, all categories.
///
/// Refuses a mapping that is not the one of its `Categories`, because a reader would use that one for the keys.
pub(super) fn dictionaries<'a>(
    columns: &(impl Iterator<Item = (&'a DataType, &'a dyn PlArray)> + Clone),
    rows: usize,
) -> Result<Dictionaries> {
    let mut stray = None;
    let mut largest: HashMap<usize, (Arc<CategoricalMapping>, usize)> = HashMap::new();
    let mut made = Dictionaries::new();
    for (dtype, array) in columns.clone() {
        visit(dtype, array, &mut |dtype, keys| match dtype {
            dtype if !owns_mapping(dtype) => stray = Some(dtype.clone()),
            DataType::Categorical(_, mapping) => {
                let entry = largest.entry(address(mapping)).or_insert_with(|| (mapping.clone(), 0));
                // A null slot can contain an invalid key.
                entry.1 = entry.1.max(keys.count()).min(mapping.num_cats_upper_bound());
            }
            DataType::Enum(cats, mapping) => {
                let values = || strings(cats.categories().values_iter());
                made.entry(address(mapping)).or_insert_with(|| Dictionary { values: values(), renumbered: None });
            }
            _ => {}
        });
    }
    if let Some(dtype) = stray {
        return Err(Error::unsupported(
            format_args!("a column of dtype {dtype} whose mapping is not that of its categories"),
            "build the dtype with `DataType::from_categories` or `from_frozen_categories`",
        ));
    }
    for (address, (mapping, count)) in largest {
        let compact = count > (4 * rows).max(SPARE_CATEGORIES);
        let dictionary = if compact { compacted(&mapping, columns.clone()) } else { prefix(&mapping, count) };
        made.insert(address, dictionary);
    }
    Ok(made)
}

/// Whether a categorical or enum dtype has the mapping of its categories. Safe code can build one that has another.
fn owns_mapping(dtype: &DataType) -> bool {
    match dtype {
        DataType::Categorical(categories, mapping) => Arc::ptr_eq(&categories.mapping(), mapping),
        DataType::Enum(categories, mapping) => Arc::ptr_eq(categories.mapping(), mapping),
        _ => true,
    }
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayData {
    let mut builder = StringViewBuilder::new();
    values.for_each(|value| builder.append_value(value));
    builder.finish().into_data()
}

pub(super) fn key(position: usize) -> u32 {
    // Polars counts categories in 32 bits.
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn prefix(mapping: &CategoricalMapping, count: usize) -> Dictionary {
    let values = (0..count).map(|position| mapping.cat_to_str(key(position)).unwrap_or_default());
    Dictionary { values: strings(values), renumbered: None }
}

fn compacted<'a>(
    mapping: &Arc<CategoricalMapping>,
    columns: impl Iterator<Item = (&'a DataType, &'a dyn PlArray)>,
) -> Dictionary {
    let mut used = std::collections::BTreeSet::new();
    for (dtype, array) in columns {
        visit(dtype, array, &mut |dtype, keys| {
            if matches!(dtype, DataType::Categorical(_, other) if Arc::ptr_eq(mapping, other)) {
                keys.collect(&mut used);
            }
        });
    }
    let values = used.iter().map(|key| mapping.cat_to_str(*key).unwrap_or_default());
    let values = strings(values);
    let renumbered = used.iter().enumerate().map(|(new, old)| (*old, key(new))).collect();
    Dictionary { values, renumbered: Some(renumbered) }
}

/// The keys of one categorical or enum array.
struct Keys<'a>(&'a dyn PlArray);

impl Keys<'_> {
    /// Calls with the key of each row that is not null.
    fn each(&self, mut call: impl FnMut(u32)) {
        let any = self.0.as_any();
        if let Some(keys) = any.downcast_ref::<PrimitiveArray<u32>>() {
            keys.non_null_values_iter().for_each(call);
        } else if let Some(keys) = any.downcast_ref::<PrimitiveArray<u16>>() {
            keys.non_null_values_iter().for_each(|key| call(key.into()));
        } else if let Some(keys) = any.downcast_ref::<PrimitiveArray<u8>>() {
            keys.non_null_values_iter().for_each(|key| call(key.into()));
        }
    }

    /// One more than the largest key, including keys in null slots, which must be in range too.
    fn count(&self) -> usize {
        fn largest<T: Copy + Ord + Into<u64>>(keys: &[T]) -> u64 {
            keys.iter().copied().max().map_or(0, |key| key.into() + 1)
        }
        let any = self.0.as_any();
        let wide = any.downcast_ref::<PrimitiveArray<u32>>().map(|keys| largest(keys.values()));
        let medium = || any.downcast_ref::<PrimitiveArray<u16>>().map(|keys| largest(keys.values()));
        let narrow = || any.downcast_ref::<PrimitiveArray<u8>>().map(|keys| largest(keys.values()));
        let count = wide.or_else(medium).or_else(narrow).unwrap_or(0);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn collect(&self, into: &mut std::collections::BTreeSet<u32>) {
        self.each(|key| {
            into.insert(key);
        });
    }
}

/// Calls with every categorical or enum array inside an array.
fn visit(dtype: &DataType, array: &dyn PlArray, call: &mut dyn FnMut(&DataType, &Keys<'_>)) {
    let any = array.as_any();
    match dtype {
        DataType::Categorical(..) | DataType::Enum(..) => call(dtype, &Keys(array)),
        DataType::List(inner) => {
            if let Some(list) = any.downcast_ref::<ListArray<i64>>() {
                visit(inner, list.values().as_ref(), call);
            }
        }
        DataType::Array(inner, _) => {
            if let Some(list) = any.downcast_ref::<FixedSizeListArray>() {
                visit(inner, list.values().as_ref(), call);
            }
        }
        DataType::Struct(fields) => {
            if let Some(parent) = any.downcast_ref::<StructArray>() {
                for (field, child) in fields.iter().zip(parent.values()) {
                    visit(field.dtype(), child.as_ref(), call);
                }
            }
        }
        _ => {}
    }
}
