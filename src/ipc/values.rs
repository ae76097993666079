//! One array as its parts, whether an Arrow array was made of it or not.

use std::ops::Range;

use arrow::array::{Array, ArrayData, ArrayRef, make_array};

use super::{
    lazy_dictionaries::LazyDictionaries,
    outline::Outline,
    part::{Map, Part},
};

/// The parts of one array. Buffers start at its first value.
pub(crate) struct Values<'a>(Form<'a>);

enum Form<'a> {
    Outline { outline: &'a Outline, node: usize, dictionaries: &'a LazyDictionaries, map: &'a Map },
    Array(ArrayData),
}

impl<'a> Values<'a> {
    pub(super) fn of_outline(
        outline: &'a Outline,
        node: usize,
        dictionaries: &'a LazyDictionaries,
        map: &'a Map,
    ) -> Self {
        Self(Form::Outline { outline, node, dictionaries, map })
    }

    /// Of an array as `Array::to_data` gives it: at offset 0, but for the bits of booleans.
    pub(crate) fn of_array(array: &ArrayRef) -> Self {
        Self(Form::Array(array.to_data()))
    }

    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Form::Outline { outline, node, .. } => outline.len(*node),
            Form::Array(data) => data.len(),
        }
    }

    pub(crate) fn null_count(&self) -> usize {
        match &self.0 {
            Form::Outline { outline, node, .. } => outline.nulls(*node),
            Form::Array(data) => data.null_count(),
        }
    }

    /// A bit for each row, unset where it is null, from a bit offset on; `None` where no row is.
    pub(crate) fn validity(&self) -> Option<(Part, usize)> {
        match &self.0 {
            Form::Outline { outline, node, map, .. } => outline.validity(*node).map(|place| (part(map, place), 0)),
            Form::Array(data) => data.nulls().map(|nulls| (Part::Buffer(nulls.buffer().clone()), nulls.offset())),
        }
    }

    /// The values of a boolean array, from a bit offset on.
    pub(crate) fn bits(&self) -> (Part, usize) {
        let offset = match &self.0 {
            Form::Outline { .. } => 0,
            Form::Array(data) => data.offset(),
        };
        (self.buffer(0), offset)
    }

    pub(crate) fn buffer(&self, index: usize) -> Part {
        match &self.0 {
            Form::Outline { outline, node, map, .. } => {
                outline.buffers(*node).get(index).map(|place| part(map, place)).unwrap_or_default()
            }
            Form::Array(data) => data.buffers().get(index).cloned().map(Part::Buffer).unwrap_or_default(),
        }
    }

    /// The buffers after the first, each as a separate part: Polars takes the storage of one for all of it.
    pub(crate) fn data(&self) -> impl Iterator<Item = Part> {
        let (mapped, arrays) = match &self.0 {
            Form::Outline { outline, node, map, .. } => {
                let places = outline.buffers(*node).get(1..).unwrap_or_default();
                (Some(places.iter().map(|place| part(map, place))), &[][..])
            }
            Form::Array(data) => (None, data.buffers().get(1..).unwrap_or_default()),
        };
        mapped.into_iter().flatten().chain(arrays.iter().cloned().map(Part::Buffer))
    }

    /// The arrays inside it.
    pub(crate) fn children(&self) -> impl Iterator<Item = Values<'_>> {
        let (mapped, arrays) = match &self.0 {
            Form::Outline { outline, node, dictionaries, map } => {
                let child = move |child| Values::of_outline(outline, child, dictionaries, map);
                (Some(outline.children(*node).map(child)), &[][..])
            }
            Form::Array(data) => (None, data.child_data()),
        };
        mapped.into_iter().flatten().chain(arrays.iter().map(|data| Values(Form::Array(data.clone()))))
    }

    /// The Arrow array, where there is one.
    pub(crate) fn array(&self) -> Option<ArrayRef> {
        match &self.0 {
            Form::Outline { .. } => None,
            Form::Array(data) => Some(make_array(data.clone())),
        }
    }

    /// Number of values in its dictionary.
    pub(crate) fn dictionary_len(&self) -> Option<usize> {
        match &self.0 {
            Form::Outline { outline, node, dictionaries, .. } => dictionaries.len(outline.dictionary(*node)?),
            Form::Array(data) => data.child_data().first().map(ArrayData::len),
        }
    }

    /// The values of its dictionary.
    pub(crate) fn dictionary(&self) -> Option<ArrayRef> {
        match &self.0 {
            Form::Outline { outline, node, dictionaries, map } => {
                dictionaries.get(outline.dictionary(*node)?, map).map(make_array)
            }
            Form::Array(data) => data.child_data().first().cloned().map(make_array),
        }
    }
}

fn part(map: &Map, place: &Range<usize>) -> Part {
    Part::Mapped(map.clone(), place.clone())
}
