//! `coframe head`: the first rows of a frame.

use super::rows::RowOptions;
use crate::{context::Context, failure::Result};

/// Print the first rows of a frame
#[derive(clap::Args)]
pub(crate) struct Head {
    #[command(flatten)]
    what: RowOptions,
}

impl Head {
    pub(crate) fn run(self, context: &Context) -> Result {
        let frame = self.what.frame(context)?;
        let part = frame.slice(..self.what.rows.min(frame.num_rows()))?;
        self.what.print(&frame, part.batches(), context)
    }
}
