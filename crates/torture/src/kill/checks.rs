//! What must hold when no process of a store is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use coframe::{
    Store,
    sync::{Counter, Latest, Mutex, Semaphore},
};

use super::{frames::Frames, mirrors::Mirrors, progress};
use crate::{
    Result,
    content::{KEPT, REMOVED},
    ensure,
    ledger::{Reader, Report},
    random::Random,
    roles,
};

/// How long the driver waits for a lock whose last owner is dead.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Checks {
    ledger: Reader,
    pub(super) frames: Frames,
    pub(super) mirrors: Mirrors,
    /// The highest value of each number that was reported or seen.
    numbers: BTreeMap<String, u64>,
    /// What processes reported of pulls and pushes.
    pub(super) events: BTreeMap<String, u64>,
    pub(super) reports: u64,
}

impl Checks {
    /// Of a store in which nothing is published.
    pub(super) fn new(directory: &Path, store: &Store) -> Result<Self> {
        let ledger = Reader::open(&directory.join("ledger"))?;
        let frames = Frames::new(store, &KEPT, &REMOVED)?;
        let mirrors = Mirrors::create(directory)?;
        Ok(Self { ledger, frames, mirrors, numbers: BTreeMap::new(), events: BTreeMap::new(), reports: 0 })
    }

    pub(super) fn all(&mut self, store: &Store, random: &mut Random) -> Result<()> {
        self.read_reports()?;
        let sessions = || Ok::<_, std::io::Error>(fs::read_dir(store.path().join("sessions"))?.count());
        let before = sessions()?;
        self.frames.check(store, |others| {
            let left = sessions()?;
            ensure!(left == 0, "one sweep left {left} of {before} sessions of dead owners");
            of_cells_and_maps(store, others)
        })?;
        self.cells(store, random)?;
        self.map(store, random)?;
        self.mirrors.check(random).map_err(|e| format!("the store of mirrors: {e}").into())
    }

    fn read_reports(&mut self) -> Result<()> {
        for report in self.ledger.read()? {
            self.reports += 1;
            match report {
                Report::Frame { name, version, token } => self.frames.published(&name, version, token)?,
                Report::Mirror { name, version, token } => {
                    let known = self.mirrors.frames.opened(&name, version, token);
                    known.map_err(|e| format!("the store of mirrors: {e}"))?;
                }
                Report::Event(what) => *self.events.entry(what).or_default() += 1,
                Report::Number { what, value } => {
                    let most = self.numbers.entry(what).or_default();
                    *most = value.max(*most);
                }
            }
        }
        Ok(())
    }

    /// Nothing is torn or lost in a cell, and no dead process keeps a lock or a permit.
    fn cells(&mut self, store: &Store, random: &mut Random) -> Result<()> {
        progress();
        let value = roles::raise(&Mutex::open(store, roles::LOCK)?, random)?;
        self.number(roles::LOCK, value)?;
        self.number(roles::COUNT, Counter::<u64>::open(store, roles::COUNT)?.get())?;
        let latest = Latest::open(store, roles::LATEST)?;
        self.number(roles::LATEST, roles::read_latest(&latest)?)?;
        drop(latest.writer().map_err(|e| format!("a dead writer keeps the latest value: {e}"))?);
        let permits = Semaphore::open(store, roles::PERMITS)?;
        let both = (permits.try_acquire_for(LIMIT)?, permits.try_acquire_for(LIMIT)?);
        ensure!(both.0.is_some() && both.1.is_some(), "a dead process keeps a permit");
        ensure!(permits.available()? == 0, "two permits are taken, and another one is free");
        Ok(())
    }

    fn map(&mut self, store: &Store, random: &mut Random) -> Result<()> {
        progress();
        let map = roles::Map::open(store, roles::MAP)?;
        self.number(roles::MAP, roles::sequence(&map)?)?;
        let number = roles::transfer(&map, random)?;
        self.number(roles::MAP, number)
    }

    fn number(&mut self, what: &str, found: u64) -> Result<()> {
        let seen = self.numbers.entry(what.to_owned()).or_default();
        ensure!(found >= *seen, "`{what}` lost a change: {seen} was reported, {found} is left");
        *seen = found;
        Ok(())
    }
}

/// Besides frames, a swept store has cells and maps: no file of a dead process.
fn of_cells_and_maps(store: &Store, mut others: BTreeSet<String>) -> Result<()> {
    let mut fewer = Vec::new();
    let mut take = |entry: String| {
        if !others.remove(&entry) {
            fewer.push(entry);
        }
    };
    for cell in store.cells()? {
        take(format!("{cell}.cell"));
    }
    for map in store.maps()? {
        take(format!("{map}.dict"));
    }
    for map in store.maps()? {
        let of_map = |entry: &&String| entry.starts_with(&format!("{map}@")) && entry.contains(".dict");
        let files: Vec<String> = others.iter().filter(of_map).cloned().collect();
        ensure!(files.len() == 3, "the map `{map}` has the files {files:?}");
        others.retain(|entry| !files.contains(entry));
    }
    ensure!(others.is_empty(), "one sweep left files of dead processes: {others:?}");
    ensure!(fewer.is_empty(), "files are missing: {fewer:?}");
    Ok(())
}

/// Open descriptors and maps of this process, and the entries of /dev/shm that belong to it.
pub(super) fn resources() -> Result<(usize, usize, Vec<String>)> {
    let descriptors = fs::read_dir("/proc/self/fd")?.count();
    let maps = fs::read_to_string("/proc/self/maps")?;
    let files = maps.lines().filter(|line| line.contains("coframe-torture-")).count();
    let mine = format!("coframe-torture-{}", std::process::id());
    let mut entries = Vec::new();
    for entry in fs::read_dir("/dev/shm")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == mine {
            entries.push(name);
        }
    }
    Ok((descriptors, files, entries))
}
