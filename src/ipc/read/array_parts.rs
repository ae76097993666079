//! Uniform access to the buffers of one array, from an outline of the file or from an Arrow array.

use std::ops::Range;

use arrow::array::{Array, ArrayData, ArrayRef, make_array};

use super::{
    lazy_dictionaries::LazyDictionaries,
    outline::Outline,
    part::{FileMap, SharedBytes},
};

/// The parts of one array. Buffers start at its first value.
pub(crate) struct ArrayParts<'a>(Backing<'a>);

enum Backing<'a> {
    Outline { outline: &'a Outline, node: usize, dictionaries: &'a LazyDictionaries, map: &'a FileMap },
    Array(ArrayData),
}

impl<'a> ArrayParts<'a> {
    pub(in crate::ipc) fn from_outline(
        outline: &'a Outline,
        node: usize,
        dictionaries: &'a LazyDictionaries,
        map: &'a FileMap,
    ) -> Self {
        Self(Backing::Outline { outline, node, dictionaries, map })
    }

    /// The parts of an array from `Array::to_data`: at offset 0, except for the bits of booleans.
    pub(crate) fn from_array(array: &ArrayRef) -> Self {
        Self(Backing::Array(array.to_data()))
    }

    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Backing::Outline { outline, node, .. } => outline.len(*node),
            Backing::Array(data) => data.len(),
        }
    }

    pub(crate) fn null_count(&self) -> usize {
        match &self.0 {
            Backing::Outline { outline, node, .. } => outline.nulls(*node),
            Backing::Array(data) => data.null_count(),
        }
    }

    /// A bit for each row, which is unset if the row is null, and the offset of the first bit; `None` if no row is
    /// null.
    pub(crate) fn validity(&self) -> Option<(SharedBytes, usize)> {
        match &self.0 {
            Backing::Outline { outline, node, map, .. } => outline.validity(*node).map(|place| (part(map, place), 0)),
            Backing::Array(data) => {
                data.nulls().map(|nulls| (SharedBytes::Buffer(nulls.buffer().clone()), nulls.offset()))
            }
        }
    }

    /// The values of a boolean array, from a bit offset on.
    pub(crate) fn bits(&self) -> (SharedBytes, usize) {
        let offset = match &self.0 {
            Backing::Outline { .. } => 0,
            Backing::Array(data) => data.offset(),
        };
        (self.buffer(0), offset)
    }

    pub(crate) fn buffer(&self, index: usize) -> SharedBytes {
        match &self.0 {
            Backing::Outline { outline, node, map, .. } => {
                outline.buffers(*node).get(index).map(|place| part(map, place)).unwrap_or_default()
            }
            Backing::Array(data) => data.buffers().get(index).cloned().map(SharedBytes::Buffer).unwrap_or_default(),
        }
    }

    /// The buffers after the first, each as a separate part: Polars takes the storage of one for all of it.
    pub(crate) fn data(&self) -> impl Iterator<Item = SharedBytes> {
        let (mapped, arrays) = match &self.0 {
            Backing::Outline { outline, node, map, .. } => {
                let places = outline.buffers(*node).get(1..).unwrap_or_default();
                (Some(places.iter().map(|place| part(map, place))), &[][..])
            }
            Backing::Array(data) => (None, data.buffers().get(1..).unwrap_or_default()),
        };
        mapped.into_iter().flatten().chain(arrays.iter().cloned().map(SharedBytes::Buffer))
    }

    /// The arrays inside it.
    pub(crate) fn children(&self) -> impl Iterator<Item = ArrayParts<'_>> {
        let (mapped, arrays) = match &self.0 {
            Backing::Outline { outline, node, dictionaries, map } => {
                let child = move |child| ArrayParts::from_outline(outline, child, dictionaries, map);
                (Some(outline.children(*node).map(child)), &[][..])
            }
            Backing::Array(data) => (None, data.child_data()),
        };
        mapped.into_iter().flatten().chain(arrays.iter().map(|data| ArrayParts(Backing::Array(data.clone()))))
    }

    /// The Arrow array, if it exists.
    pub(crate) fn array(&self) -> Option<ArrayRef> {
        match &self.0 {
            Backing::Outline { .. } => None,
            Backing::Array(data) => Some(make_array(data.clone())),
        }
    }

    /// Number of values in its dictionary.
    pub(crate) fn dictionary_len(&self) -> Option<usize> {
        match &self.0 {
            Backing::Outline { outline, node, dictionaries, .. } => dictionaries.len(outline.dictionary(*node)?),
            Backing::Array(data) => data.child_data().first().map(ArrayData::len),
        }
    }

    /// The values of its dictionary.
    pub(crate) fn dictionary(&self) -> Option<ArrayRef> {
        match &self.0 {
            Backing::Outline { outline, node, dictionaries, map } => {
                dictionaries.get(outline.dictionary(*node)?, map).map(make_array)
            }
            Backing::Array(data) => data.child_data().first().cloned().map(make_array),
        }
    }
}

fn part(map: &FileMap, place: &Range<usize>) -> SharedBytes {
    SharedBytes::Mapped(map.clone(), place.clone())
}
