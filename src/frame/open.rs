//! A mapped segment becomes a frame.

use std::sync::Arc;

use super::{CopyPolicy, Frame, OpenOptions, Origin, Shared};
use crate::{
    error::{Error, Kind, Result},
    ipc::{Contents, Footer, decode},
    segment::Mapping,
};

impl Frame {
    /// Decodes a mapped segment. Costs in the order of columns, batches and buffers when coframe wrote the file and
    /// it is still read-only; otherwise every value is validated.
    pub(crate) fn of_mapping(mapping: Arc<Mapping>, origin: Origin, options: &OpenOptions) -> Result<Self> {
        let what = format!("the frame `{}@{}` in `{}`", origin.name, origin.version, origin.store.display());
        let bytes = mapping.bytes();
        let footer = Footer::read(&bytes, &what)?;
        let columns = options.columns.as_ref().map(|names| positions(names, &footer, &origin)).transpose()?;
        let trusted = footer.metadata.is_some() && mapping.is_sealed();
        let buffer = |start, len| mapping.buffer(start, len);
        let contents = decode(bytes, &footer, &what, columns.as_deref(), trusted, &buffer)?;
        let Contents { schema, batches, mut copied } = contents;
        if let (CopyPolicy::Never, Some(copy)) = (options.copies, copied.first()) {
            let column = schema.fields().get(copy.column).map(|field| field.name().clone()).unwrap_or_default();
            return Err(Kind::WouldCopy { column, reason: copy.reason.clone() }.into());
        }
        if let Some(columns) = &columns {
            for copy in &mut copied {
                copy.column = columns.get(copy.column).copied().unwrap_or(copy.column);
            }
        }
        let rows = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
        let options = options.clone();
        let shared = Shared { origin, mapping, footer, copied, options, rows };
        Ok(Self {
            shared: Arc::new(shared),
            schema,
            whole: batches.into(),
            columns: columns.map(Into::into),
            rows: 0..rows,
            sliced: Arc::default(),
        })
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
