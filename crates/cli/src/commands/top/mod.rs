//! stub
use crate::{context::Context, failure::Result};
/// x
#[derive(clap::Args)]
pub(crate) struct Top {}
impl Top {
    pub(crate) fn run(self, _context: &Context) -> Result {
        Ok(())
    }
}
