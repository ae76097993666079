//! The decoded content of a file: outlines, and Arrow arrays, each created on demand.

use std::sync::OnceLock;

use arrow::{
    array::{ArrayRef, make_array},
    datatypes::SchemaRef,
};

#[cfg(feature = "polars")]
use super::array_parts::ArrayParts;
use super::{
    assemble::Assembly,
    lazy_dictionaries::LazyDictionaries,
    outline::{Dictionary, Outline},
    part::{FileMap, mapped},
};

/// The arrays of one batch by position in the file's schema; `None` where a column is not wanted.
pub(in crate::ipc) type Columns = Vec<Option<ArrayRef>>;

/// A copy that could not be avoided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Position of the column in the schema that was read.
    pub(crate) column: usize,
    pub(crate) bytes: usize,
    pub(crate) reason: String,
}

/// The decoded part of a file.
pub(crate) struct DecodedFile {
    /// Of the whole file.
    schema: SchemaRef,
    batches: Vec<Outline>,
    arrays: Arrays,
    /// The copies, in the order of columns (positions in the file's schema).
    pub(crate) copied: Vec<Copied>,
}

enum Arrays {
    /// The columns of each batch, created when the file was opened, because their values had to be validated.
    Validated(Vec<Columns>),
    /// Arrays that are created one by one, on demand.
    Lazy { dictionaries: LazyDictionaries, batches: Vec<OnceLock<LazyColumns>> },
}

/// The arrays of one batch by position in the file's schema.
type LazyColumns = Box<[OnceLock<Option<ArrayRef>>]>;

impl DecodedFile {
    /// The content of an intact file, all of which is aligned.
    pub(in crate::ipc) fn from_outlines(
        schema: SchemaRef,
        dictionaries: Vec<Dictionary>,
        batches: Vec<Outline>,
    ) -> Self {
        let cells = batches.iter().map(|_| OnceLock::new()).collect();
        let arrays = Arrays::Lazy { dictionaries: LazyDictionaries::new(dictionaries), batches: cells };
        Self { schema, batches, arrays, copied: Vec::new() }
    }

    /// Arrays that were validated.
    pub(in crate::ipc) fn from_arrays(
        schema: SchemaRef,
        batches: Vec<Outline>,
        arrays: Vec<Columns>,
        copied: Vec<Copied>,
    ) -> Self {
        Self { schema, batches, arrays: Arrays::Validated(arrays), copied }
    }

    /// The rows of each batch.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.batches.iter().map(|batch| batch.rows)
    }

    /// A column of a batch as an Arrow array. The first call creates the array, and validates nothing.
    pub(crate) fn array(&self, batch: usize, column: usize, map: &FileMap) -> Option<&ArrayRef> {
        let (dictionaries, batches) = match &self.arrays {
            Arrays::Validated(arrays) => return arrays.get(batch)?.get(column)?.as_ref(),
            Arrays::Lazy { dictionaries, batches } => (dictionaries, batches),
        };
        let outline = self.batches.get(batch)?;
        let node = (*outline.columns.get(column)?)?;
        let field = self.schema.fields().get(column)?;
        let columns = batches.get(batch)?.get_or_init(|| outline.columns.iter().map(|_| OnceLock::new()).collect());
        let make = || {
            let (bytes, dictionaries) = (&mapped(map), &|id| dictionaries.get(id, map));
            let mut assembly = Assembly { outline, bytes, dictionaries, copied: 0 };
            // This cannot fail: where arrow validates, the arrays were created and validated before.
            assembly.array(node, field.data_type()).ok().map(make_array)
        };
        columns.get(column)?.get_or_init(make).as_ref()
    }

    /// A column of a batch as its parts, without creating an Arrow array if possible.
    #[cfg(feature = "polars")]
    pub(crate) fn values<'a>(&'a self, batch: usize, column: usize, map: &'a FileMap) -> Option<ArrayParts<'a>> {
        let Arrays::Lazy { dictionaries, .. } = &self.arrays else {
            return self.array(batch, column, map).map(ArrayParts::from_array);
        };
        let outline = self.batches.get(batch)?;
        let node = (*outline.columns.get(column)?)?;
        Some(ArrayParts::from_outline(outline, node, dictionaries, map))
    }
}
