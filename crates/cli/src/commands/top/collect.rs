//! What `top` shows, read from the store.

use std::collections::{BTreeMap, BTreeSet};

use coframe::{FrameUser, Name, Store};
use serde::Serialize;

use crate::{
    commands::{
        ls::{self, FrameLine, StoreLine},
        show::Reader,
    },
    failure::Result,
};

/// The store at one moment.
#[derive(Serialize)]
pub(super) struct Sample {
    pub(super) store: StoreLine,
    pub(super) frames: Vec<Line>,
    pub(super) memory: Memory,
}

#[derive(Clone, Serialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) frame: FrameLine,
    /// Resident memory of all readers together, each page counted once.
    pub(super) pss: u64,
    pub(super) readers: Vec<Reader>,
}

/// Whether readers share memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// The number of processes that map a segment.
    pub(super) processes: usize,
    /// The bytes of all mapped segments, each counted once.
    pub(super) mapped: u64,
    /// The same, counted for each process that maps it: the memory that copies would take.
    pub(super) separate: u64,
    /// The resident memory of all processes in these segments.
    pub(super) pss: u64,
    /// Superseded segments that readers keep alive next to the latest ones.
    pub(super) superseded: usize,
    pub(super) superseded_bytes: u64,
}

impl Sample {
    pub(super) fn take(store: &Store) -> Result<Self> {
        let users = without_this_process(store.all_users_with_pss()?);
        let listing = ls::collect(store, &users)?;
        let memory = memory(store, &listing.frames, &users);
        let line = |frame: FrameLine| {
            let users = frame.name.parse::<Name>().ok().and_then(|name| users.get(&name));
            let readers: Vec<Reader> = users.into_iter().flatten().map(Reader::new).collect();
            Line { pss: readers.iter().filter_map(|reader| reader.pss).sum(), readers, frame }
        };
        Ok(Self { store: listing.store, frames: listing.frames.into_iter().map(line).collect(), memory })
    }
}

fn without_this_process(mut users: BTreeMap<Name, Vec<FrameUser>>) -> BTreeMap<Name, Vec<FrameUser>> {
    let me = std::process::id();
    for users in users.values_mut() {
        users.retain(|user| user.pid != me);
    }
    users.retain(|_, users| !users.is_empty());
    users
}

fn memory(store: &Store, frames: &[FrameLine], users: &BTreeMap<Name, Vec<FrameUser>>) -> Memory {
    let mut memory = Memory::default();
    let mut processes = BTreeSet::new();
    for (name, users) in users {
        let latest = frames.iter().find(|frame| frame.name == name.as_str());
        let mut segments: BTreeMap<u64, u64> = BTreeMap::new();
        for user in users {
            processes.insert(user.pid);
            let size = *segments.entry(user.version).or_insert_with(|| match latest {
                Some(latest) if latest.version == user.version => latest.bytes,
                // A frame that was removed meanwhile counts as empty.
                _ => store.open_version(name.as_str(), user.version).map_or(0, |frame| frame.size_bytes() as u64),
            });
            memory.separate += size;
            memory.pss += user.pss.unwrap_or(0);
        }
        let older = segments.iter().filter(|(version, _)| latest.is_some_and(|latest| **version < latest.version));
        for (_, bytes) in older {
            memory.superseded += 1;
            memory.superseded_bytes += bytes;
        }
        memory.mapped += segments.values().sum::<u64>();
    }
    memory.processes = processes.len();
    memory
}
