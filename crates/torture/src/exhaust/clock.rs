//! A clock that goes backwards: to a store it is the same as records and files with times of the future.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use coframe::Store;

use super::sizes::{numbers, same};
use crate::{Result, ensure};

/// More than the entries with which every publish sweeps.
const NAMES: usize = 20;
const YEAR: Duration = Duration::from_hours(365 * 24);
/// What an interrupted transfer leaves.
const PARTIAL: &str = ".draft-00000000000000000000000000000000.partial";

pub(super) fn back(directory: &Path) -> Result<String> {
    let path = directory.join("store");
    let store = Store::open_at(&path)?;
    let table = numbers(3)?;
    for i in 0..NAMES {
        store.publish(format!("name{i}"), &table)?;
    }
    File::create(path.join(PARTIAL))?;
    store.sweep()?;
    ensure!(path.join(PARTIAL).exists(), "a transfer that was interrupted just now cannot be resumed");
    set_back(&path)?;

    // A publisher died between its link and the switch; only a sweep of the whole store finds the file.
    let version = store.open("name1")?.version();
    let orphan = path.join(format!("name1@{}.arrow", version + 1000));
    fs::copy(path.join(format!("name1@{version}.arrow")), &orphan)?;
    let before = store.open("name0")?.version();
    let frame = store.publish("name0", &table)?;
    ensure!(frame.version() > before, "version {} after {before}", frame.version());
    ensure!(!orphan.exists(), "a publish did not sweep, because the last sweep was in the future");
    ensure!(!path.join(PARTIAL).exists(), "what a transfer left in the future stays until then");
    for i in 0..NAMES {
        same(&store.open(format!("name{i}"))?, &table, "a frame of the future")?;
    }
    let found = store.wait("name0", before, Duration::from_secs(30))?;
    ensure!(found == Some(frame.version()), "waiting found {found:?}");
    store.remove("name0")?;
    let left = store.sweep()?;
    ensure!(left.segments == 0 && left.problems.is_empty(), "a second sweep found {left:?}");
    Ok(format!("{NAMES} names, a year ahead"))
}

/// Dates the entries of a store, and what it records, a year ahead.
fn set_back(store: &Path) -> Result<()> {
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            File::open(entry.path())?.set_modified(SystemTime::now() + YEAR)?;
        }
    }
    let record = store.join(".swept");
    let text = fs::read_link(&record)?.display().to_string();
    let (at, entries) = text.split_once(',').ok_or("another record of a sweep than expected")?;
    let ahead = at.parse::<u128>()? + YEAR.as_millis();
    fs::remove_file(&record)?;
    std::os::unix::fs::symlink(format!("{ahead},{entries}"), record)?;
    Ok(())
}
