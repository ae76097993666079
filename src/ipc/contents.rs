//! What was decoded from a file: outlines, and Arrow's arrays as soon as somebody asks for them.

use std::{ops::Range, sync::OnceLock};

use arrow::{
    array::{ArrayRef, make_array},
    buffer::Buffer,
    datatypes::SchemaRef,
};

#[cfg(feature = "polars")]
use super::values::Values;
use super::{
    assemble::{Assembly, Dictionaries},
    decode::{Copied, Dictionary},
    outline::Outline,
    part::{Map, Part},
};

/// The arrays of one batch by position in the file's schema; `None` where a column is not wanted.
pub(super) type Columns = Vec<Option<ArrayRef>>;

/// The decoded part of a file.
pub(crate) struct Contents {
    /// Of the whole file.
    schema: SchemaRef,
    /// `None` where the arrays were made at once, because their values had to be validated.
    dictionaries: Option<Vec<Dictionary>>,
    batches: Vec<Outline>,
    /// Of each batch.
    arrays: OnceLock<Vec<Columns>>,
    /// What was copied; the columns are positions in the file's schema.
    pub(crate) copied: Vec<Copied>,
}

impl Contents {
    /// What an intact file holds, all of it aligned.
    pub(super) fn of_outlines(schema: SchemaRef, dictionaries: Vec<Dictionary>, batches: Vec<Outline>) -> Self {
        let dictionaries = Some(dictionaries);
        Self { schema, dictionaries, batches, arrays: OnceLock::new(), copied: Vec::new() }
    }

    /// Arrays that were validated.
    pub(super) fn of_arrays(
        schema: SchemaRef,
        batches: Vec<Outline>,
        arrays: Vec<Columns>,
        copied: Vec<Copied>,
    ) -> Self {
        Self { schema, dictionaries: None, batches, arrays: arrays.into(), copied }
    }

    /// The rows of each batch.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.batches.iter().map(|batch| batch.rows)
    }

    /// A column of a batch as an Arrow array. The first call makes all of them and validates none.
    pub(crate) fn array(&self, batch: usize, column: usize, map: &Map) -> Option<&ArrayRef> {
        self.arrays.get_or_init(|| self.assemble(map)).get(batch)?.get(column)?.as_ref()
    }

    /// A column of a batch as its parts, with as little made for them as can be.
    #[cfg(feature = "polars")]
    pub(crate) fn values<'a>(&'a self, batch: usize, column: usize, map: &'a Map) -> Option<Values<'a>> {
        let Some(dictionaries) = &self.dictionaries else {
            return self.array(batch, column, map).map(Values::of_array);
        };
        let outline = self.batches.get(batch)?;
        let node = (*outline.columns.get(column)?)?;
        Some(Values::of_outline(outline, node, dictionaries, map))
    }

    fn assemble(&self, map: &Map) -> Vec<Columns> {
        let bytes = &mapped(map);
        let mut dictionaries = Dictionaries::new();
        for Dictionary { id, values, outline, .. } in self.dictionaries.iter().flatten() {
            let data = Assembly { outline, bytes, dictionaries: &dictionaries, copied: 0 }.array(0, values);
            dictionaries.push((*id, data));
        }
        let columns = |outline: &Outline| {
            let mut assembly = Assembly { outline, bytes, dictionaries: &dictionaries, copied: 0 };
            let columns = outline.columns.iter().zip(self.schema.fields());
            columns.map(|(node, field)| Some(make_array(assembly.array((*node)?, field.data_type())))).collect()
        };
        self.batches.iter().map(columns).collect()
    }
}

/// The bytes at the places that outlines of a mapped file name.
pub(super) fn mapped(map: &Map) -> impl Fn(Range<usize>) -> Buffer + '_ {
    |place| Part::Place(map.clone(), place).into()
}
