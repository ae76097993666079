//! Opens, lists, waits, and compares every value.

use std::{collections::BTreeMap, time::Duration};

use super::{Context, Held, Role};
use crate::{
    Result,
    content::{self, KEPT, MIRROR, REMOVED},
    ensure,
};

#[derive(Default)]
pub(super) struct Reader {
    held: Held,
    seen: BTreeMap<&'static str, u64>,
}

impl Role for Reader {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        let (kept, removed) = (*context.random.pick(&KEPT), *context.random.pick(&REMOVED));
        match context.random.below(16) {
            0..8 => self.open(context, kept),
            8..10 => self.open(context, removed),
            10 => self.open(context, MIRROR),
            11 => {
                let seen = self.seen.get(kept).copied().unwrap_or(0);
                let newer = context.store.wait(kept, seen, Duration::from_millis(3))?;
                ensure!(newer.is_none_or(|newer| newer > seen), "`wait` returned an old version of `{kept}`");
                Ok(())
            }
            12 => {
                let names = context.store.names()?;
                let missing = KEPT.iter().find(|kept| !names.iter().any(|name| name.as_str() == **kept));
                ensure!(missing.is_none(), "{missing:?} is not listed");
                context.store.usage()?;
                Ok(())
            }
            13 => {
                // A name may be removed between listing and reading it; `list` skips it then.
                let listed = context.store.list()?;
                ensure!(listed.len() >= KEPT.len(), "{} names are listed", listed.len());
                Ok(())
            }
            _ => self.held.check(&mut context.random),
        }
    }
}

impl Reader {
    fn open(&mut self, context: &mut Context, name: &'static str) -> Result<()> {
        let frame = match context.store.open(name) {
            Ok(frame) => frame,
            Err(error) if error.is_not_found() && !KEPT.contains(&name) => return Ok(()),
            Err(error) => return Err(format!("`{name}` does not open: {error}").into()),
        };
        let seen = self.seen.insert(name, frame.version()).unwrap_or(0);
        ensure!(frame.version() >= seen, "`{name}` went from version {seen} back to {}", frame.version());
        content::check(&frame)?;
        self.held.add(frame, &mut context.random)
    }
}
