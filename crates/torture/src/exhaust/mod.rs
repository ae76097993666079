//! Room, descriptors, maps and memory that run out, sizes at their limits, and a clock that goes backwards.

mod cgroup;
mod clock;
mod limits;
mod room;
mod sizes;

use std::time::Duration;

use coframe::{Store, sync::Mutex};

use crate::{
    Result,
    cases::{self, Case},
    content::{self, KEPT},
    random::Random,
    roles,
};

/// For cases of the long form.
const LONG: Duration = Duration::from_mins(15);

const CASES: [Case; 18] = [
    Case::new("full", |directory| room::full(directory, 60)).on_small_file_system(64),
    Case::new("full-long", |directory| room::full(directory, 1000)).on_small_file_system(64).within(LONG),
    Case::new("descriptors", limits::descriptors),
    Case::new("maps", limits::maps).within(LONG),
    Case::new("memory", |directory| limits::memory(directory, 12)),
    Case::new("memory-long", |directory| limits::memory(directory, 200)).within(LONG),
    Case::new("memory-step", limits::memory_step),
    Case::new("cgroup", cgroup::full).within(LONG),
    Case::new("cgroup-step", cgroup::step),
    Case::new("nothing", sizes::nothing),
    Case::new("columns", sizes::columns),
    Case::new("batches", sizes::batches),
    Case::new("rows", sizes::rows),
    Case::new("versions", sizes::versions),
    Case::new("clock", clock::back),
    Case::new("names", sizes::names),
    Case::new("many-names", sizes::many_names).within(LONG),
    Case::new("large-value", sizes::large_value).within(LONG),
];

/// Runs the cases; those that take minutes or gigabytes only if `deep`.
pub(crate) fn run(deep: bool) -> Result<()> {
    let skipped: &[&str] = if deep {
        &["memory-step", "cgroup-step", "full", "memory", "names"]
    } else {
        &["memory-step", "cgroup-step", "cgroup", "full-long", "memory-long", "many-names", "large-value", "maps"]
    };
    let chosen: Vec<Case> = CASES.into_iter().filter(|case| !skipped.contains(&case.name)).collect();
    cases::run_all("exhaust", &chosen)
}

pub(crate) fn run_case(name: &str) -> Result<()> {
    cases::run_here(&CASES, name)
}

/// What `exercise` called.
struct Calls {
    succeeded: u64,
    refused: u64,
    /// An example of the errors.
    last: String,
    /// Whether an error names what was short.
    expected: fn(&coframe::Error) -> bool,
}

impl Calls {
    fn new(expected: fn(&coframe::Error) -> bool) -> Self {
        Self { succeeded: 0, refused: 0, last: String::new(), expected }
    }

    /// An error of the library is an answer if it names what was short. Any other error is something that the library
    /// promised, and that did not hold.
    fn count<T>(&mut self, result: Result<T>) -> Result<()> {
        match result {
            Ok(_) => self.succeeded += 1,
            Err(error) if error.downcast_ref().is_some_and(self.expected) => {
                self.refused += 1;
                self.last = error.to_string();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Any error, except one that blames the data.
fn not_corrupt(error: &coframe::Error) -> bool {
    !error.is_corrupt()
}

/// A store with a frame of each name, a lock and a map.
fn prepared(store: &Store, random: &mut Random) -> Result<()> {
    for name in KEPT {
        content::publish(store, name, random)?;
    }
    Mutex::create(store, roles::LOCK, [0_u64; 16])?;
    roles::create_map(store).map(drop)
}

/// Calls what takes room, descriptors and maps. Calls may fail with an `expected` error only.
fn exercise(store: &Store, random: &mut Random, expected: fn(&coframe::Error) -> bool) -> Result<Calls> {
    let mut calls = Calls::new(expected);
    for name in KEPT {
        calls.count(content::publish(store, name, random))?;
        calls.count(store.open(name).map_err(Into::into).and_then(|frame| content::check(&frame)))?;
    }
    calls.count(in_session(store, random))?;
    calls.count(lock(store, random))?;
    calls.count(map(store, random))?;
    calls.count(churn(store))?;
    calls.count(store.list().map_err(Into::into))?;
    calls.count(store.sweep().map_err(Into::into))?;
    Ok(calls)
}

fn in_session(store: &Store, random: &mut Random) -> Result<()> {
    let session = store.session()?;
    let (frame, _) = content::publish(session.store(), "part", random)?;
    drop(session);
    content::check(&frame).map(drop)
}

fn lock(store: &Store, random: &mut Random) -> Result<u64> {
    roles::raise(&Mutex::open(store, roles::LOCK)?, random)
}

fn map(store: &Store, random: &mut Random) -> Result<u64> {
    let map = roles::Map::open(store, roles::MAP)?;
    roles::transfer(&map, random)?;
    roles::sequence(&map)
}

/// A cell and a map that are created and removed.
fn churn(store: &Store) -> Result<()> {
    Mutex::<[u64; 512]>::open_or_create(store, "churn", [0; 512])?;
    store.remove_cell("churn")?;
    let map = roles::Map::open_or_create(store, "churn")?;
    map.put(&1, &1)?;
    drop(map);
    store.remove_map("churn")?;
    Ok(())
}

/// With everything at hand again, all calls succeed, and no frame and no change was lost.
fn recovered(store: &Store, random: &mut Random) -> Result<()> {
    let swept = store.sweep()?;
    crate::ensure!(swept.problems.is_empty(), "a sweep has problems: {:?}", swept.problems);
    exercise(store, random, |_| false).map_err(|e| format!("refused although nothing is short: {e}"))?;
    Ok(())
}
