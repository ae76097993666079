//! The dictionaries of an intact file, each created when a column first needs it.

use std::{collections::HashMap, sync::OnceLock};

use arrow::array::ArrayData;

use super::{
    assemble::Assembly,
    outline::Dictionary,
    part::{FileMap, mapped},
};

/// Dictionaries by id.
pub(in crate::ipc) struct LazyDictionaries {
    dictionaries: Vec<Dictionary>,
    arrays: Vec<OnceLock<Option<ArrayData>>>,
    /// The position of each by its id.
    positions: HashMap<i64, usize>,
}

impl LazyDictionaries {
    pub(in crate::ipc) fn new(dictionaries: Vec<Dictionary>) -> Self {
        let arrays = dictionaries.iter().map(|_| OnceLock::new()).collect();
        let positions =
            dictionaries.iter().enumerate().map(|(position, dictionary)| (dictionary.id, position)).collect();
        Self { dictionaries, arrays, positions }
    }

    /// The values of a dictionary.
    pub(in crate::ipc) fn get(&self, id: i64, map: &FileMap) -> Option<ArrayData> {
        self.made(*self.positions.get(&id)?, map)
    }

    /// The number of values in a dictionary, without creating its array.
    #[cfg(feature = "polars")]
    pub(in crate::ipc) fn len(&self, id: i64) -> Option<usize> {
        self.dictionaries.get(*self.positions.get(&id)?).map(|dictionary| dictionary.outline.len(0))
    }

    fn made(&self, position: usize, map: &FileMap) -> Option<ArrayData> {
        let Dictionary { values, outline, .. } = self.dictionaries.get(position)?;
        // The values of a dictionary refer to those before it only, so no dictionary waits for itself.
        let earlier = |id: i64| {
            let earlier = self.positions.get(&id).filter(|earlier| **earlier < position);
            earlier.and_then(|earlier| self.made(*earlier, map))
        };
        let make =
            || Assembly { outline, bytes: &mapped(map), dictionaries: &earlier, copied: 0 }.array(0, values).ok();
        self.arrays.get(position)?.get_or_init(make).clone()
    }
}
