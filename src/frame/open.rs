//! A mapped segment becomes a frame.

use std::sync::Arc;

use super::{CopyPolicy, Frame, OpenOptions, Origin, Shared};
use crate::{
    error::{Error, Kind, Result},
    ipc::{Footer, Intact, Map, decode},
    segment::Mapping,
};

impl Frame {
    /// Decodes a mapped segment. Costs in the order of columns, batches and buffers when coframe wrote the file and
    /// it is still read-only; otherwise every value is validated.
    pub(crate) fn of_mapping(mapping: Arc<Mapping>, origin: Origin, options: &OpenOptions) -> Result<Self> {
        let what = format!("the frame `{}@{}` in `{}`", origin.name, origin.version, origin.store.display());
        let bytes = mapping.bytes();
        // The digest of a sealed segment shows that its metadata is what coframe wrote; values are not looked at then.
        let intact = if mapping.is_sealed() { Intact::of_sealed(bytes) } else { None };
        let footer = Footer::read(&bytes, &what, intact.as_ref())?;
        let columns = options.columns.as_ref().map(|names| positions(names, &footer, &origin)).transpose()?;
        let map: Map = mapping.clone();
        let contents = decode(&map, &footer, &what, columns.as_deref(), intact.as_ref())?;
        if let (CopyPolicy::Never, Some(copy)) = (options.copies, contents.copied.first()) {
            let column = footer.schema.fields().get(copy.column).map(|field| field.name().clone()).unwrap_or_default();
            return Err(Kind::WouldCopy { column, reason: copy.reason.clone() }.into());
        }
        let schema = match &columns {
            None => footer.schema.clone(),
            Some(columns) => footer.schema.project(columns).map_err(|e| Error::arrow("select columns", e))?.into(),
        };
        let rows = contents.rows().sum();
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

fn positions(names: &[String], footer: &Footer, origin: &Origin) -> Result<Vec<usize>> {
    let position = |name: &String| {
        footer.schema.index_of(name).map_err(|_| {
            let what = format!("column `{name}` in the frame `{}`", origin.name);
            Error::from(Kind::NotFound { what, store: origin.store.clone() })
        })
    };
    names.iter().map(position).collect()
}
