//! `coframe cp`: publishes a frame under another name.

use std::time::Instant;

use coframe::{Frame, Name, PublishOptions, Store, TableReader, arrow::array::RecordBatchReader};

use super::publish::PublishReport;
use crate::{context::Context, failure::Result, names::Target};

/// Publish a frame under another name, with its metadata
#[derive(clap::Args)]
pub(crate) struct Cp {
    /// NAME or NAME@VERSION
    from: Target,

    /// The other name
    to: Name,

    /// Number of old versions of the new name to keep even when unused
    #[arg(long, default_value_t = 0, value_name = "VERSIONS")]
    keep: u32,
}

impl Cp {
    pub(crate) fn run(self, context: &Context) -> Result {
        let started = Instant::now();
        let store = context.store()?;
        let frame = self.from.open(&store)?;
        let mut options = PublishOptions::new().keep(self.keep);
        for (key, value) in frame.metadata() {
            // Python unpickles the values of its keys in a sealed frame, and the copy will be sealed.
            if frame.is_sealed() || !key.starts_with("coframe.") {
                options = options.metadata(key, value);
            }
        }
        let copy = copy(&store, &frame, self.to.as_str(), options)?;
        PublishReport::new(&copy, started).print(context)
    }
}

fn copy(store: &Store, frame: &Frame, to: &str, options: PublishOptions) -> Result<Frame> {
    // Through Polars if it has the same types, because what Polars knows of a column (sorted flags) is then kept.
    if let Ok(df) = frame.to_polars()
        && TableReader::new(&df).is_ok_and(|reader| &reader.schema() == frame.schema())
    {
        return Ok(store.publish_with(to, &df, &options)?);
    }
    Ok(store.publish_with(to, frame.reader(), &options)?)
}
