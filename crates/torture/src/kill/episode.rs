//! One store, from its creation to its removal.

use std::{fs, path::PathBuf, time::Duration};

use coframe::{
    Store,
    sync::{Counter, Latest, Mutex, Semaphore},
};

use super::{
    Tally,
    checks::{Checks, resources},
    processes::{End, Processes},
};
use crate::{
    Result,
    content::{self, KEPT, LARGE},
    ensure,
    random::Random,
    roles::{self, PUSHED, RESUMED, UNANSWERED},
};

/// Kills in one phase.
const KILLS_OF_PHASE: u64 = 12;

/// A directory that is removed however the episode ends.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Kills the given number of processes of a new store, and checks every promise in between.
pub(super) fn run(seed: u64, kills: u64) -> Result<Tally> {
    let before = resources()?;
    let directory = Directory(format!("/dev/shm/coframe-torture-{}", std::process::id()).into());
    fs::create_dir(&directory.0)?;
    let tally = in_directory(&directory, seed, kills)?;
    drop(directory);
    let after = resources()?;
    ensure!(after == before, "descriptors, maps and entries of /dev/shm went from {before:?} to {after:?}");
    Ok(tally)
}

fn in_directory(directory: &Directory, seed: u64, kills: u64) -> Result<Tally> {
    let mut random = Random::new(seed);
    let store = Store::open_at(directory.0.join("store"))?;
    // Creates what a store has once it was used: the directory of sessions, and the record of a sweep.
    drop(store.session()?);
    let mut checks = Checks::new(&directory.0, &store)?;
    create(&store, &mut random)?;
    publish_large(&store, &mut checks, &mut random)?;

    let mut processes = Processes::new(&directory.0);
    while processes.tally.kills < kills {
        let target = kills.min(processes.tally.kills + KILLS_OF_PHASE);
        while processes.tally.kills < target {
            processes.reap(false)?;
            processes.start_missing(&mut random)?;
            processes.resume(&mut random)?;
            std::thread::sleep(Duration::from_micros(random.below(8000)));
            processes.hit(&mut random)?;
        }
        let how = if random.one_in(2) { End::Kill } else { End::Request };
        processes.end(how, &mut random)?;
        checks.all(&store, &mut random)?;
        processes.tally.phases += 1;
        if random.one_in(3) {
            publish_large(&store, &mut checks, &mut random)?;
        }
    }
    checks.mirrors.clear().map_err(|e| format!("the store of mirrors: {e}"))?;
    clear(&store)?;
    checks.frames.clear(&store)?;

    let mut tally = std::mem::take(&mut processes.tally);
    let event = |what| checks.events.get(what).copied().unwrap_or(0);
    (tally.resumed, tally.pushes, tally.unanswered) = (event(RESUMED), event(PUSHED), event(UNANSWERED));
    (tally.pulls, tally.damaged) = (checks.mirrors.frames.reported(), checks.mirrors.damaged);
    tally.frames = checks.frames.compared + checks.mirrors.frames.compared;
    (tally.episodes, tally.reports) = (1, checks.reports);
    Ok(tally)
}

/// Only here, and not in every phase, so that a pull which was interrupted in one phase can be resumed in the next one.
fn publish_large(store: &Store, checks: &mut Checks, random: &mut Random) -> Result<()> {
    let (frame, token) = content::publish(store, LARGE, random)?;
    checks.frames.published(LARGE, frame.version(), token)
}

/// What all roles open, and no process removes.
fn create(store: &Store, random: &mut Random) -> Result<()> {
    for name in KEPT {
        content::publish(store, name, random)?;
    }
    Mutex::create(store, roles::LOCK, [0_u64; 16])?;
    Latest::create(store, roles::LATEST, [0_u64; 64])?;
    Counter::<u64>::create(store, roles::COUNT)?;
    Semaphore::create(store, roles::PERMITS, 2)?;
    roles::create_map(store).map(drop)
}

/// Removes what is not a frame.
fn clear(store: &Store) -> Result<()> {
    for cell in store.cells()? {
        store.remove_cell(cell.as_str())?;
    }
    for map in store.maps()? {
        store.remove_map(map.as_str())?;
    }
    Ok(())
}
