//! What must hold for the frames of one store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

use coframe::{Store, SweepReport};

use super::progress;
use crate::{
    Result,
    content::{self, KEPT, LARGE, MIRROR, REMOVED},
    ensure,
};

/// All names of frames.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEPT.into_iter().chain(REMOVED).chain([MIRROR, LARGE])
}

pub(super) struct Frames {
    /// Entries of a store in which nothing is published.
    empty: BTreeSet<String>,
    /// Names that are published before the first check.
    kept: &'static [&'static str],
    /// Names that processes remove. Any other name stays once it was published.
    removed: &'static [&'static str],
    /// The highest version of each name that was reported or seen.
    latest: BTreeMap<String, u64>,
    /// The name and token of each version that was reported.
    reported: HashMap<u64, (String, u64)>,
    /// Frames whose values were compared.
    pub(super) compared: u64,
}

impl Frames {
    pub(super) fn new(store: &Store, kept: &'static [&'static str], removed: &'static [&'static str]) -> Result<Self> {
        let (latest, reported) = (BTreeMap::new(), HashMap::new());
        Ok(Self { empty: entries(store)?, kept, removed, latest, reported, compared: 0 })
    }

    /// A process published this version.
    pub(super) fn published(&mut self, name: &str, version: u64, token: u64) -> Result<()> {
        let other = self.reported.get(&version);
        ensure!(other.is_none(), "version {version} was given to two frames: {other:?}");
        self.opened(name, version, token)
    }

    /// A process published or opened this version.
    pub(super) fn opened(&mut self, name: &str, version: u64, token: u64) -> Result<()> {
        let latest = self.latest.entry(name.to_owned()).or_default();
        *latest = version.max(*latest);
        let frame = (name.to_owned(), token);
        let other = self.reported.insert(version, frame.clone()).filter(|other| *other != frame);
        ensure!(other.is_none(), "version {version} was given to two frames: {other:?}");
        Ok(())
    }

    /// The number of versions that were reported.
    pub(super) fn reported(&self) -> u64 {
        self.reported.len() as u64
    }

    /// Checks the store as the next reader finds it, after one sweep, and after another one. `others` checks the entries of
    /// the swept store that do not belong to frames.
    pub(super) fn check(&mut self, store: &Store, others: impl FnOnce(BTreeSet<String>) -> Result<()>) -> Result<()> {
        self.names(store)?;
        let swept = store.sweep()?;
        ensure!(swept.problems.is_empty(), "a sweep has problems: {:?}", swept.problems);
        let (found, expected) = (entries(store)?, self.expected(store)?);
        let fewer: Vec<_> = expected.difference(&found).collect();
        ensure!(fewer.is_empty(), "files are missing: {fewer:?}");
        others(found.difference(&expected).cloned().collect())?;
        let again = store.sweep()?;
        ensure!(again == SweepReport::default(), "a second sweep found what the first one left: {again:?}");
        self.names(store)
    }

    /// No latest version is lost, and every version that can be opened is whole.
    fn names(&mut self, store: &Store) -> Result<()> {
        for name in names() {
            progress();
            let versions = store.versions(name)?;
            let Some(latest) = versions.last().copied() else {
                ensure!(!self.kept.contains(&name), "`{name}` vanished");
                ensure!(self.removed.contains(&name) || !self.latest.contains_key(name), "`{name}` vanished");
                continue;
            };
            let seen = self.latest.entry(name.to_owned()).or_default();
            ensure!(latest >= *seen, "`{name}` lost its latest version: {seen} was published, {latest} is left");
            *seen = latest;
            let opened = store.open(name).map_err(|e| format!("`{name}` does not open: {e}"))?;
            ensure!(opened.version() == latest, "`{name}` opens as {}, not {latest}", opened.version());
            for version in versions {
                let frame = store.open_version(name, version).map_err(|e| format!("`{name}@{version}`: {e}"))?;
                let token = content::check(&frame)?;
                self.compared += 1;
                let known = self.reported.get(&version).filter(|(of, _)| of == name);
                ensure!(known.is_none_or(|(_, known)| *known == token), "`{name}@{version}` is another frame");
            }
        }
        Ok(())
    }

    /// The entries of a store that belong to frames, and those of a new store.
    fn expected(&self, store: &Store) -> Result<BTreeSet<String>> {
        let mut expected = self.empty.clone();
        for info in store.list()? {
            let name = info.name.as_str();
            let versions = store.versions(name)?;
            let keep = if store.open(name)?.is_mirror() { 0 } else { info.keep as usize };
            ensure!(versions.len() <= keep + 1, "a sweep left {versions:?} of `{name}`, which keeps {keep}");
            expected.insert(format!("{name}.arrow"));
            expected.extend(versions.iter().map(|version| format!("{name}@{version}.arrow")));
            if versions.len() > 1 {
                expected.insert(format!(".{name}.others"));
            }
        }
        Ok(expected)
    }

    /// Removes all frames. The store then has the entries of a new one.
    pub(super) fn clear(&self, store: &Store) -> Result<()> {
        for name in names() {
            store.remove(name)?;
        }
        store.sweep()?;
        progress();
        let (left, empty) = (entries(store)?, &self.empty);
        ensure!(left == *empty, "a store from which all was removed has {left:?}, a new one {empty:?}");
        Ok(())
    }
}

/// The names in a store's directory.
fn entries(store: &Store) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(store.path())? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
