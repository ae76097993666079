//! stub
use crate::{context::Context, failure::Result};
/// x
#[derive(clap::Args)]
pub(crate) struct Doctor {}
impl Doctor {
    pub(crate) fn run(self, _context: &Context) -> Result {
        Ok(())
    }
}
