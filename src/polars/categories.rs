//! Categories: one dictionary for each `Categories` object on the way out, one mapping on the way in.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray, StringViewBuilder},
    compute::cast,
    datatypes::DataType as ArrowType,
};
use polars::{
    datatypes::DataType,
    prelude::{CategoricalMapping, CategoricalPhysical, Categories, FrozenCategories, PlSmallStr},
};
use polars_arrow::array::{Array as PlArray, FixedSizeListArray, ListArray, PrimitiveArray, StructArray};

use crate::{
    error::{Error, Result},
    frame::CategoryPolicy,
    ipc::Values,
};

/// A mapping may reach this far beyond what a frame refers to before it is compacted.
const SPARE_CATEGORIES: usize = 1 << 16;

/// The dictionary of one `Categories` object in one segment.
pub(super) struct Dictionary {
    pub(super) values: ArrayData,
    /// From the mapping's key to the dictionary's, where the dictionary was compacted.
    pub(super) renumbered: Option<HashMap<u32, u32>>,
}

/// The dictionaries of a frame on its way out, by the address of their mapping.
pub(super) type Dictionaries = HashMap<usize, Dictionary>;

pub(super) fn address(mapping: &Arc<CategoricalMapping>) -> usize {
    Arc::as_ptr(mapping).addr()
}

/// Makes the dictionaries of all columns: for a categorical the prefix of its mapping up to the largest key that any
/// of the columns has, for an enum all categories.
pub(super) fn dictionaries<'a>(
    columns: &(impl Iterator<Item = (&'a DataType, &'a dyn PlArray)> + Clone),
    rows: usize,
) -> Dictionaries {
    let mut largest: HashMap<usize, (Arc<CategoricalMapping>, usize)> = HashMap::new();
    let mut made = Dictionaries::new();
    for (dtype, array) in columns.clone() {
        visit(dtype, array, &mut |dtype, keys| match dtype {
            DataType::Categorical(_, mapping) => {
                let entry = largest.entry(address(mapping)).or_insert_with(|| (mapping.clone(), 0));
                // Whatever stands below a null may be no key at all.
                entry.1 = entry.1.max(keys.count()).min(mapping.num_cats_upper_bound());
            }
            DataType::Enum(cats, mapping) => {
                let values = || strings(cats.categories().values_iter());
                made.entry(address(mapping)).or_insert_with(|| Dictionary { values: values(), renumbered: None });
            }
            _ => {}
        });
    }
    for (address, (mapping, count)) in largest {
        let compact = count > (4 * rows).max(SPARE_CATEGORIES);
        let dictionary = if compact { compacted(&mapping, columns.clone()) } else { prefix(&mapping, count) };
        made.insert(address, dictionary);
    }
    made
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayData {
    let mut builder = StringViewBuilder::new();
    values.for_each(|value| builder.append_value(value));
    builder.finish().into_data()
}

fn key(position: usize) -> u32 {
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

    /// One more than the largest key, keys below nulls included: those are to be in range too.
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

/// Categories on the way in: finds or makes the objects, and how the keys of a dictionary map to them.
pub(super) struct Incoming {
    pub(super) policy: CategoryPolicy,
    own: HashMap<(String, String, CategoricalPhysical), Arc<Categories>>,
    /// By the addresses of the dictionary's values and of the mapping. The values are held, so that no other dictionary
    /// can come to stand at their address.
    renumbered: Vec<((usize, usize), ArrayRef, Arc<Renumbering>)>,
}

/// How the keys of a dictionary become keys of a mapping.
pub(super) enum Renumbering {
    /// They agree.
    Same,
    /// By position; `None` for a value that is no category.
    Table(Vec<Option<u32>>),
}

impl Incoming {
    pub(super) fn new(policy: CategoryPolicy) -> Self {
        Self { policy, own: HashMap::new(), renumbered: Vec::new() }
    }

    /// The dtype for a categorical of these `Categories`.
    pub(super) fn categorical(&mut self, name: &str, namespace: &str, physical: CategoricalPhysical) -> DataType {
        let (pl_name, pl_namespace) = (PlSmallStr::from_str(name), PlSmallStr::from_str(namespace));
        let categories = match self.policy {
            CategoryPolicy::Shared => Categories::new(pl_name, pl_namespace, physical),
            CategoryPolicy::Own => {
                let id = (name.to_owned(), namespace.to_owned(), physical);
                self.own.entry(id).or_insert_with(|| Categories::random(pl_namespace, physical)).clone()
            }
        };
        DataType::from_categories(categories)
    }

    /// The dtype of an enum with these categories.
    pub(super) fn enumeration(categories: &[&str]) -> Result<DataType> {
        let frozen = FrozenCategories::new(categories.iter().copied());
        frozen.map(DataType::from_frozen_categories).map_err(|e| Error::polars("rebuild the categories of an enum", e))
    }

    /// Compares the dictionary of an array of keys with a mapping. New values are added to a categorical's mapping, in
    /// order.
    ///
    /// Costs in the order of categories, once for each dictionary; once for each mapping where `trusted` says that
    /// coframe wrote the dictionaries from Polars (FORMAT.md, rule P1: they are all the same).
    pub(super) fn renumbering(
        &mut self,
        keys: &Values<'_>,
        dtype: &DataType,
        trusted: bool,
    ) -> Result<Arc<Renumbering>> {
        let mapping = dtype.cat_mapping().map_err(|e| Error::polars("find the categories of a column", e))?;
        let values = if trusted { None } else { keys.dictionary() };
        // Batches share the values' buffers, but not the array object over them.
        let start = |values: &ArrayRef| values.to_data().buffers().first().map_or(0, |buffer| buffer.as_ptr().addr());
        let id = (values.as_ref().map_or(0, start), address(mapping));
        if let Some((_, _, known)) = self.renumbered.iter().find(|(known, ..)| *known == id) {
            return Ok(known.clone());
        }
        let missing = || Error::invalid("a categorical column", "its array has no dictionary");
        let values = values.or_else(|| keys.dictionary()).ok_or_else(missing)?;
        let renumbering = Arc::new(compare(&values, mapping, matches!(dtype, DataType::Enum(..)))?);
        self.renumbered.push((id, values, renumbering.clone()));
        Ok(renumbering)
    }
}

fn compare(values: &ArrayRef, mapping: &CategoricalMapping, is_enum: bool) -> Result<Renumbering> {
    let mut table = Vec::with_capacity(values.len());
    let mut same = true;
    each_string(values, &mut |value| {
        let position = key(table.len());
        let key = match value {
            None => None,
            // A mapping has no category twice.
            Some(value) if mapping.cat_to_str(position) == Some(value) => Some(position),
            Some(value) if is_enum => mapping.get_cat(value),
            Some(value) => Some(mapping.insert_cat(value).map_err(|e| Error::polars("add a category", e))?),
        };
        same &= key == Some(position);
        table.push(key);
        Ok(())
    })?;
    Ok(if same { Renumbering::Same } else { Renumbering::Table(table) })
}

/// Calls with each string of an array.
fn each_string(values: &ArrayRef, call: &mut dyn FnMut(Option<&str>) -> Result<()>) -> Result<()> {
    match values.data_type() {
        ArrowType::Utf8View => values.as_string_view().iter().try_for_each(call),
        ArrowType::LargeUtf8 => values.as_string::<i64>().iter().try_for_each(call),
        _ => {
            let views =
                cast(values, &ArrowType::Utf8View).map_err(|e| Error::arrow("read the categories of a column", e))?;
            views.as_string_view().iter().try_for_each(call)
        }
    }
}
