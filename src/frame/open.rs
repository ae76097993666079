//! Decodes a mapped segment into a frame.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::Schema;

use super::{CopyPolicy, Frame, OpenOptions, Origin, Shared, UNPUBLISHED};
use crate::{
    error::{Error, Kind, Result},
    ipc::{FileMap, Footer, Intact, PolarsHints, decode, has_checked_order},
    segment::{Mapping, Writer},
};

impl Frame {
    /// Decodes a mapped segment. Costs in the order of columns, batches and buffers when coframe wrote the file and
    /// it is still read-only; otherwise every value is validated.
    pub(crate) fn from_mapping(mapping: Arc<Mapping>, origin: Origin, options: &OpenOptions) -> Result<Self> {
        let writer = if mapping.is_sealed() { Writer::Own } else { Writer::Unknown };
        Self::from_writer(writer, mapping, origin, options)
    }

    /// Decodes a mapped segment, and validates every value if its writer is unknown.
    pub(super) fn from_writer(
        writer: Writer,
        mapping: Arc<Mapping>,
        origin: Origin,
        options: &OpenOptions,
    ) -> Result<Self> {
        let what = origin.what();
        let bytes = mapping.bytes();
        // The digest of a sealed segment shows that its metadata is what coframe wrote; values are not read then.
        let intact = if writer == Writer::Own { Intact::from_sealed(bytes) } else { None };
        let mut footer = Footer::read(&bytes, &what, intact.as_ref())?;
        let columns = options.columns.as_ref();
        let columns = columns.map(|names| positions(&footer.schema, names, &origin)).transpose()?;
        let map: FileMap = mapping.clone();
        let contents = decode(&map, &footer, &what, columns.as_deref(), intact.as_ref())?;
        if let (CopyPolicy::Never, Some(copy)) = (options.copies, contents.copied.first()) {
            let column = footer.schema.fields().get(copy.column).map(|field| field.name().clone()).unwrap_or_default();
            return Err(Kind::WouldCopy { column, reason: copy.reason.clone() }.into());
        }
        let rows = contents.rows().try_fold(0_usize, usize::checked_add);
        let rows = rows.ok_or_else(|| Error::corrupt(&what, "S5-buffers", "its batches have more rows than 2^64"))?;
        if intact.is_none() {
            distrust(&mut footer, rows, &what)?;
        }
        if mapping.is_mirror() {
            forget_unchecked(&mut footer);
        }
        let schema = match &columns {
            None => footer.schema.clone(),
            Some(columns) => footer.schema.project(columns).map_err(|e| Error::arrow("select columns", e))?.into(),
        };
        #[cfg(feature = "polars")]
        let options = options.clone();
        #[cfg(feature = "polars")]
        let shared = Shared { origin, mapping, footer, contents, options, rows };
        #[cfg(not(feature = "polars"))]
        let shared = Shared { origin, mapping, footer, contents, rows };
        let columns = columns.map(Into::into);
        Ok(Self { shared: Arc::new(shared), schema, columns, rows: 0..rows, batches: Arc::default() })
    }
}

impl Origin {
    /// Names the frame in errors.
    pub(super) fn what(&self) -> String {
        let store = self.store.display();
        match self.version {
            UNPUBLISHED => format!("the new frame `{}` for `{store}`", self.name),
            version => format!("the frame `{}@{version}` in `{store}`", self.name),
        }
    }
}

/// Removes the records about the values of a file that is not sealed: another process may have written them.
fn distrust(footer: &mut Footer, rows: usize, what: &str) -> Result<()> {
    let Some(metadata) = &mut footer.metadata else { return Ok(()) };
    if usize::try_from(metadata.rows) != Ok(rows) {
        let detail = format_args!("`coframe.rows` is {}, the batches have {rows} rows", metadata.rows);
        return Err(Error::corrupt(what, "M1-entries", detail));
    }
    metadata.keys = Vec::new();
    metadata.hints = PolarsHints::default();
    metadata.stats = None;
    Ok(())
}

/// Removes the records of a mirror that no check covered, because its bytes are not trusted. The number of versions to
/// keep is up to this store.
fn forget_unchecked(footer: &mut Footer) {
    let Some(metadata) = &mut footer.metadata else { return };
    metadata.keep = 0;
    let fields = footer.schema.fields();
    let is_checked = |column: usize| fields.get(column).is_some_and(|field| has_checked_order(field.data_type()));
    metadata.hints.sorted.retain(|(column, _)| is_checked(*column));
}

/// The positions of columns by name, in linear time; of several columns with one name, the first.
pub(super) fn positions<S: AsRef<str>>(schema: &Schema, names: &[S], origin: &Origin) -> Result<Vec<usize>> {
    // For a few names, a map of all columns costs more than a search.
    let known: Option<HashMap<&str, usize>> = (names.len() > 8).then(|| {
        let fields = schema.fields().iter().enumerate().rev();
        fields.map(|(position, field)| (field.name().as_str(), position)).collect()
    });
    let position = |name: &S| {
        let name = name.as_ref();
        let found = match &known {
            Some(known) => known.get(name).copied(),
            None => schema.fields().iter().position(|field| field.name() == name),
        };
        found.ok_or_else(|| no_column(name, origin))
    };
    names.iter().map(position).collect()
}

fn no_column(name: &str, origin: &Origin) -> Error {
    let (column, frame) = (name.to_owned(), origin.label());
    Kind::NoColumn { column, frame, store: origin.store.clone() }.into()
}
