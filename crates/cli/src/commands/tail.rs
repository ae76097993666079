//! `coframe tail`: the last rows of a frame.

use super::rows::RowOptions;
use crate::{context::Context, failure::Result};

/// Print the last rows of a frame
#[derive(clap::Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    what: RowOptions,
}

impl Tail {
    pub(crate) fn run(self, context: &Context) -> Result {
        let frame = self.what.frame(context)?;
        let part = frame.slice(frame.num_rows().saturating_sub(self.what.rows)..)?;
        self.what.print(&frame, part.batches(), context)
    }
}
