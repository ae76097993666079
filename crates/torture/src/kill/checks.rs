//! What must hold when no process of a store is left.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use coframe::{
    Store, SweepReport,
    sync::{Counter, Latest, Mutex, Semaphore},
};

use super::progress;
use crate::{
    Result,
    content::{self, KEPT, MIRROR, REMOVED},
    ensure,
    ledger::{Reader, Report},
    random::Random,
    roles,
};

/// How long the driver waits for a lock whose last owner is dead.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Checks {
    ledger: Reader,
    /// Entries of a store in which nothing is published.
    empty: BTreeSet<String>,
    /// The highest version of each name that was reported or seen.
    latest: BTreeMap<String, u64>,
    /// The name and token of each version that was reported.
    frames_of: HashMap<u64, (String, u64)>,
    /// The highest value of each number that was reported or seen.
    numbers: BTreeMap<String, u64>,
    pub(super) reports: u64,
    pub(super) frames: u64,
}

impl Checks {
    pub(super) fn new(directory: &Path, empty: BTreeSet<String>) -> Result<Self> {
        let ledger = Reader::open(&directory.join("ledger"))?;
        let (latest, frames_of, numbers) = (BTreeMap::new(), HashMap::new(), BTreeMap::new());
        Ok(Self { ledger, empty, latest, frames_of, numbers, reports: 0, frames: 0 })
    }

    pub(super) fn all(&mut self, store: &Store, random: &mut Random) -> Result<()> {
        self.read_reports()?;
        // Before the sweep, as the next reader finds the store, and after it.
        self.names(store)?;
        let sessions = fs::read_dir(store.path().join("sessions"))?.count();
        let swept = store.sweep()?;
        ensure!(swept.problems.is_empty(), "a sweep has problems: {:?}", swept.problems);
        let left = fs::read_dir(store.path().join("sessions"))?.count();
        ensure!(left == 0, "one sweep left {left} of {sessions} sessions of dead owners");
        Self::entries(&self.empty, store)?;
        let again = store.sweep()?;
        ensure!(again == SweepReport::default(), "a second sweep found what the first one left: {again:?}");
        self.names(store)?;
        self.cells(store, random)?;
        self.map(store, random)
    }

    fn read_reports(&mut self) -> Result<()> {
        for report in self.ledger.read()? {
            self.reports += 1;
            match report {
                Report::Frame { name, version, token } => {
                    let latest = self.latest.entry(name.clone()).or_default();
                    *latest = version.max(*latest);
                    let other = self.frames_of.insert(version, (name, token));
                    ensure!(other.is_none(), "version {version} was given to two frames: {other:?}");
                }
                Report::Number { what, value } => {
                    let most = self.numbers.entry(what).or_default();
                    *most = value.max(*most);
                }
            }
        }
        Ok(())
    }

    /// No latest version is lost, and every version that can be opened is whole.
    fn names(&mut self, store: &Store) -> Result<()> {
        for name in KEPT.iter().chain(&REMOVED).chain([&MIRROR]) {
            progress();
            let versions = store.versions(name)?;
            let Some(latest) = versions.last().copied() else {
                ensure!(!KEPT.contains(name), "`{name}` vanished");
                // Mirrors are never removed either.
                ensure!(*name != MIRROR || !self.latest.contains_key(*name), "`{name}` vanished");
                continue;
            };
            let seen = self.latest.entry((*name).to_owned()).or_default();
            ensure!(latest >= *seen, "`{name}` lost its latest version: {seen} was published, {latest} is left");
            *seen = latest;
            let opened = store.open(name).map_err(|e| format!("`{name}` does not open: {e}"))?;
            ensure!(opened.version() == latest, "`{name}` opens as {}, not {latest}", opened.version());
            for version in versions {
                let frame = store.open_version(name, version).map_err(|e| format!("`{name}@{version}`: {e}"))?;
                let token = content::check(&frame)?;
                self.frames += 1;
                let known = self.frames_of.get(&version).filter(|(of, _)| of == name);
                ensure!(known.is_none_or(|(_, known)| *known == token), "`{name}@{version}` is another frame");
            }
        }
        Ok(())
    }

    /// After a sweep the directory has nothing but what is published: no file of a dead process.
    fn entries(empty: &BTreeSet<String>, store: &Store) -> Result<()> {
        let mut expected = empty.clone();
        for name in store.names()? {
            let name = name.as_str();
            let versions = store.versions(name)?;
            let latest = store.open(name)?;
            let keep = store.list()?.into_iter().find(|info| info.name.as_str() == name).map_or(0, |info| info.keep);
            let keep = if latest.is_mirror() { 0 } else { keep as usize };
            ensure!(versions.len() <= keep + 1, "a sweep left {versions:?} of `{name}`, which keeps {keep}");
            expected.insert(format!("{name}.arrow"));
            expected.extend(versions.iter().map(|version| format!("{name}@{version}.arrow")));
            if versions.len() > 1 {
                expected.insert(format!(".{name}.others"));
            }
        }
        expected.extend(store.cells()?.iter().map(|cell| format!("{cell}.cell")));
        let found = entries(store)?;
        for map in store.maps()? {
            let of_map = |entry: &&String| entry.starts_with(&format!("{map}@")) && entry.contains(".dict");
            let files: Vec<String> = found.iter().filter(of_map).cloned().collect();
            ensure!(files.len() == 3, "the map `{map}` has the files {files:?}");
            expected.insert(format!("{map}.dict"));
            expected.extend(files);
        }
        let more: Vec<_> = found.difference(&expected).collect();
        let fewer: Vec<_> = expected.difference(&found).collect();
        ensure!(more.is_empty(), "one sweep left files of dead processes: {more:?}");
        ensure!(fewer.is_empty(), "files are missing: {fewer:?}");
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

/// The names in a store's directory.
pub(super) fn entries(store: &Store) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(store.path())? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
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
