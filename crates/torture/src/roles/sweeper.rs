//! Sweeps, without a pause.

use coframe::Store;

use super::{Context, Role};
use crate::{Result, ensure};

pub(super) struct Sweeper;

impl Role for Sweeper {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        if context.random.one_in(4) {
            Store::end_dead_sessions(context.store.path())?;
        } else {
            let problems = context.store.sweep()?.problems;
            ensure!(problems.is_empty(), "a sweep has problems: {problems:?}");
        }
        // Leaves the store lock to others for a moment.
        std::thread::sleep(std::time::Duration::from_micros(200 + context.random.below(800)));
        Ok(())
    }
}
