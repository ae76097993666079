//! Imports categories: chooses the mapping of a column, and converts the keys of its dictionary to keys of the mapping.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray, make_array},
    compute::cast,
    datatypes::DataType as ArrowType,
};
use polars::{
    datatypes::DataType,
    prelude::{CategoricalMapping, CategoricalPhysical, Categories, FrozenCategories, PlSmallStr},
};

use super::categories::{address, key};
use crate::{
    error::{Error, Result},
    frame::CategoryPolicy,
    ipc::ArrayParts,
};

/// The categories of one frame that is imported: finds or creates the `Categories` objects and numbers dictionaries.
pub(super) struct Incoming {
    pub(super) policy: CategoryPolicy,
    own: HashMap<(String, String, CategoricalPhysical), Arc<Categories>>,
    known: HashMap<Id, Known>,
}

/// Start and length of a dictionary, and the address of a mapping. Two dictionaries of a foreign file may share bytes,
/// so an entry is used only if [`Known::values`] is the same dictionary.
#[derive(PartialEq, Eq, Hash)]
struct Id {
    start: usize,
    len: usize,
    mapping: usize,
}

/// A dictionary that was compared with a mapping. Both are kept, so that no other can be created at their addresses.
struct Known {
    values: ArrayData,
    _mapping: Arc<CategoricalMapping>,
    numbering: Arc<Numbering>,
}

/// The conversion of the keys of a dictionary to keys of a mapping.
pub(super) struct Numbering {
    /// Number of values in the dictionary, each of which has a key below.
    len: usize,
    /// By position in the dictionary: the mapping's key, `None` for a null value. The table is `None` if each position
    /// is its own key.
    table: Option<Vec<Option<u32>>>,
}

impl Numbering {
    /// Whether every key of the dictionary is also its key in the mapping.
    pub(super) fn is_same(&self) -> bool {
        self.table.is_none()
    }

    /// The mapping's key for a key of the dictionary; `None` for a null and for a key outside the dictionary.
    pub(super) fn key(&self, old: usize) -> Option<u32> {
        match &self.table {
            Some(table) => table.get(old).copied().flatten(),
            None => u32::try_from(old).ok().filter(|_| old < self.len),
        }
    }
}

impl Incoming {
    pub(super) fn new(policy: CategoryPolicy) -> Self {
        Self { policy, own: HashMap::new(), known: HashMap::new() }
    }

    /// The dtype for a categorical of these `Categories`.
    pub(super) fn categorical(&mut self, name: &str, namespace: &str, physical: CategoricalPhysical) -> DataType {
        let (pl_name, pl_namespace) = (PlSmallStr::from_str(name), PlSmallStr::from_str(namespace));
        let categories = match self.policy {
            CategoryPolicy::Shared => Categories::new(pl_name, pl_namespace, physical),
            CategoryPolicy::Private => {
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
    /// Reads each dictionary once. If `trusted`, Polars published the frame, and all dictionaries of one mapping are
    /// the same (FORMAT.md, rule P1): then the first of each length is read, and no array is created for the others.
    pub(super) fn numbering(
        &mut self,
        keys: &ArrayParts<'_>,
        dtype: &DataType,
        trusted: bool,
    ) -> Result<Arc<Numbering>> {
        let mapping = dtype.cat_mapping().map_err(|e| Error::polars("find the categories of a column", e))?;
        let missing = || Error::invalid("a categorical column", "its array has no dictionary");
        let read = || keys.dictionary().map(|values| values.to_data()).ok_or_else(missing);
        let values = if trusted { None } else { Some(read()?) };
        let start = values.as_ref().and_then(|values| values.buffers().first()).map_or(0, |b| b.as_ptr().addr());
        let len = keys.dictionary_len().ok_or_else(missing)?;
        let id = Id { start, len, mapping: address(mapping) };
        let is_it = |known: &&Known| values.as_ref().is_none_or(|values| values.ptr_eq(&known.values));
        if let Some(known) = self.known.get(&id).filter(is_it) {
            return Ok(known.numbering.clone());
        }
        let values = values.map_or_else(read, Ok)?;
        let is_enum = matches!(dtype, DataType::Enum(..));
        let numbering = Arc::new(compare(&make_array(values.clone()), mapping, is_enum)?);
        let known = Known { values, _mapping: mapping.clone(), numbering: numbering.clone() };
        self.known.insert(id, known);
        Ok(numbering)
    }
}

fn compare(values: &ArrayRef, mapping: &CategoricalMapping, is_enum: bool) -> Result<Numbering> {
    let mut table = Vec::with_capacity(values.len());
    let mut same = true;
    each_string(values, &mut |value| {
        let position = key(table.len());
        let key = match value {
            None => None,
            // Categories are unique within a mapping.
            Some(value) if mapping.cat_to_str(position) == Some(value) => Some(position),
            Some(value) if is_enum => mapping.get_cat(value),
            Some(value) => Some(mapping.insert_cat(value).map_err(|e| Error::polars("add a category", e))?),
        };
        same &= key == Some(position);
        table.push(key);
        Ok(())
    })?;
    Ok(Numbering { len: table.len(), table: (!same).then_some(table) })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayData, ArrayRef, DictionaryArray, StringArray, StringViewArray, UInt32Array, make_array},
        buffer::Buffer,
        datatypes::{DataType as ArrowType, UInt32Type},
    };
    use polars::prelude::{CategoricalPhysical, DataType};

    use super::{CategoryPolicy, Incoming, Numbering};
    use crate::ipc::ArrayParts;

    struct Column {
        incoming: Incoming,
        dtype: DataType,
    }

    impl Column {
        fn new() -> Self {
            let mut incoming = Incoming::new(CategoryPolicy::Private);
            let dtype = incoming.categorical("c", "tests", CategoricalPhysical::U32);
            Self { incoming, dtype }
        }

        fn number(&mut self, values: ArrayRef, trusted: bool) -> Arc<Numbering> {
            let dictionary = DictionaryArray::<UInt32Type>::new(UInt32Array::from(Vec::<u32>::new()), values);
            let keys: ArrayRef = Arc::new(dictionary);
            self.incoming.numbering(&ArrayParts::from_array(&keys), &self.dtype, trusted).unwrap()
        }

        fn category(&self, key: Option<u32>) -> Option<&str> {
            self.dtype.cat_mapping().unwrap().cat_to_str(key?)
        }

        /// The categories that a numbering gives the keys of a dictionary and two keys beyond it.
        fn read(&self, numbering: &Numbering, len: usize) -> Vec<Option<&str>> {
            (0..len + 2).map(|old| self.category(numbering.key(old))).collect()
        }
    }

    #[test]
    fn a_dictionary_with_a_shorter_one_as_its_prefix_is_read_completely() {
        let whole = StringViewArray::from(vec!["a", "b", "c", "d", "e"]);
        for trusted in [false, true] {
            let mut column = Column::new();
            let short = column.number(Arc::new(whole.slice(0, 2)), trusted);
            assert!(short.is_same());
            assert_eq!(column.read(&short, 2), [Some("a"), Some("b"), None, None]);
            let long = column.number(Arc::new(whole.clone()), trusted);
            let expected = [Some("a"), Some("b"), Some("c"), Some("d"), Some("e"), None, None];
            assert_eq!(column.read(&long, 5), expected, "trusted: {trusted}");
        }
    }

    #[test]
    fn dictionaries_that_share_offsets_or_views_but_not_bytes_are_distinguished() {
        let offsets = StringArray::from(vec!["ab", "c"]).into_parts().0.into_inner().into_inner();
        let texts = |bytes: &'static [u8]| {
            let data = ArrayData::builder(ArrowType::Utf8).len(2);
            let data = data.add_buffer(offsets.clone()).add_buffer(Buffer::from(bytes)).build().unwrap();
            make_array(data)
        };
        let mut column = Column::new();
        let first = column.number(texts(b"abc"), false);
        let second = column.number(texts(b"xyz"), false);
        assert_eq!(column.read(&first, 2)[..2], [Some("ab"), Some("c")]);
        assert_eq!(column.read(&second, 2)[..2], [Some("xy"), Some("z")]);
    }

    #[test]
    fn a_dropped_mapping_and_another_at_its_address_are_distinguished() {
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
        let mut column = Column::new();
        for _ in 0..100 {
            // Each round's dtype is dropped, and with it its mapping, unless the numbering keeps it.
            column.incoming.own.clear();
            column.dtype = DataType::Null;
            column.dtype = column.incoming.categorical("c", "tests", CategoricalPhysical::U32);
            let numbering = column.number(values.clone(), false);
            assert_eq!(column.read(&numbering, 2)[..2], [Some("a"), Some("b")]);
        }
    }
}
