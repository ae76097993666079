//! A file system without room.

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use coframe::Store;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::{Calls, exercise, prepared, recovered};
use crate::{
    Result,
    content::{self, KEPT},
    ensure,
    random::Random,
};

/// Room for a random number of bytes, so that each write is the one that fails.
pub(super) fn full(directory: &Path, rounds: u64) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(1);
    prepared(&store, &mut random)?;
    let mut all = Calls::new(coframe::Error::is_no_space);
    for round in 0..rounds {
        let filler = directory.join("filler");
        let room = statvfs(directory)?;
        let free = room.f_bavail * room.f_frsize;
        let leave = random.below(if round % 2 == 0 { 60_000 } else { 1_500_000 });
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&filler)?;
        fallocate(&file, FallocateFlags::empty(), 0, free.saturating_sub(leave).max(1))?;
        let calls = exercise(&store, &mut random, all.expected)
            .map_err(|e| format!("round {round}, {leave} bytes left: {e}"))?;
        all.succeeded += calls.succeeded;
        all.refused += calls.refused;
        // To read takes no room.
        for name in KEPT {
            content::check(&store.open(name).map_err(|e| format!("round {round}: `{name}` does not open: {e}"))?)?;
        }
        fs::remove_file(filler)?;
    }
    recovered(&store, &mut random)?;
    ensure!(all.refused > rounds && all.succeeded > rounds, "{} refused, {} succeeded", all.refused, all.succeeded);
    Ok(format!("{} calls in a full file system failed with an error, {} succeeded", all.refused, all.succeeded))
}
