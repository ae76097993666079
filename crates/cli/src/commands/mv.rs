//! `coframe mv`: renames a frame.

use std::time::Instant;

use coframe::Name;

use super::publish::PublishReport;
use crate::{
    context::Context,
    failure::{Failure, Result},
};

/// Rename a frame, without a copy
///
/// The latest version becomes a new version of the other name; older ones are removed. A process that has the frame open
/// keeps it. Handles of the old name no longer open.
#[derive(clap::Args)]
pub(crate) struct Mv {
    /// The frame
    from: Name,

    /// The new name; its latest version is superseded if it exists
    to: Name,
}

impl Mv {
    pub(crate) fn run(self, context: &Context) -> Result {
        let started = Instant::now();
        if self.from == self.to {
            return Err(Failure::usage(format_args!("`{}` is the name of the frame; choose another one", self.to)));
        }
        let frame = context.store()?.rename(self.from.as_str(), self.to.as_str())?;
        PublishReport::new(&frame, started).print(context)
    }
}
