//! The versions of a name as they are published, for `coframe wait` and `watch`.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use coframe::Store;

use crate::{context::Context, failure::Result};

/// How often to check whether the store was removed and created again.
const LOOK: Duration = Duration::from_secs(1);

/// The versions of a name, also after the store is removed and created again, where versions start at 1.
pub(super) struct Versions<'a> {
    context: &'a Context,
    pub(super) store: Store,
    made: Option<(u64, u64)>,
    seen: u64,
}

impl<'a> Versions<'a> {
    pub(super) fn above(seen: u64, context: &'a Context) -> Result<Self> {
        let store = context.store_or_new()?;
        let made = made(store.path());
        Ok(Self { context, store, made, seen })
    }

    pub(super) fn next(&mut self, name: &str, timeout: Duration) -> Result<Option<u64>> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(version) = self.store.wait(name, self.seen, left.min(LOOK))? {
                self.seen = version;
                return Ok(Some(version));
            }
            let made = made(&self.context.path);
            if made.is_some() && made != self.made {
                *self = Self::above(0, self.context)?;
            } else if left <= LOOK {
                return Ok(None);
            }
        }
    }
}

/// Distinguishes a store from another one at the same path, by the file that counts its versions.
fn made(store: &Path) -> Option<(u64, u64)> {
    let counter = store.join("store").metadata().ok()?;
    Some((counter.dev(), counter.ino()))
}
