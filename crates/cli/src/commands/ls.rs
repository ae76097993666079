//! `coframe ls`: the contents of the store.

use std::{collections::BTreeMap, ffi::OsStr, fs, os::unix::fs::MetadataExt, path::Path, time::SystemTime};

use coframe::{FrameInfo, FrameUser, Name, Store};
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Result, chain},
    names, output,
    text::Text,
};

/// List frames with their sizes, versions and users, and the room in the store
///
/// USERS counts the processes that map a version of the frame now, as far as this user may see. SUPERSEDED lists older
/// versions that still exist, each with its users. FROM names the server of a frame that was pulled.
#[derive(clap::Args)]
pub(crate) struct Ls {
    /// Only names that match, such as 'trades-*'
    pattern: Option<String>,

    /// List cells and dicts too, with the bytes of their files
    #[arg(long)]
    all: bool,
}

/// What `ls` and `top` show of a store.
#[derive(Serialize)]
pub(crate) struct Listing {
    pub(crate) store: StoreLine,
    pub(crate) frames: Vec<FrameLine>,
    /// With --all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cells: Option<Vec<Other>>,
    /// With --all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dicts: Option<Vec<Other>>,
}

/// A cell or a dict, with the size of its file.
#[derive(Serialize)]
pub(crate) struct Other {
    name: String,
    bytes: u64,
}

/// Returns cells or dicts, with the sizes of the files that have their name and this extension.
fn others(store: &Store, names: Vec<Name>, extension: &str) -> Vec<Other> {
    let entries: Vec<_> = fs::read_dir(store.path()).into_iter().flatten().flatten().collect();
    let bytes = |name: &Name| {
        let file = format!("{name}.{extension}");
        // The name of a dict is a link to its data file.
        let linked = fs::read_link(store.path().join(&file)).ok();
        let linked = linked.and_then(|path| path.file_name().map(OsStr::to_owned));
        let is_its = |entry: &&fs::DirEntry| {
            let found = entry.file_name();
            found == OsStr::new(&file) || linked.as_ref() == Some(&found)
        };
        // Their files have holes: only the pages in memory or on the disk count.
        entries.iter().filter(is_its).map(|entry| bytes_used(&entry.path())).sum()
    };
    names.iter().map(|name| Other { name: name.to_string(), bytes: bytes(name) }).collect()
}

/// Returns the bytes that a file, or the files of a directory, take.
fn bytes_used(path: &Path) -> u64 {
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    let inside: u64 = inside.map(|entry| bytes_used(&entry.path())).sum();
    inside + path.symlink_metadata().map_or(0, |metadata| metadata.blocks() * 512)
}

#[derive(Default, Serialize)]
pub(crate) struct StoreLine {
    pub(crate) path: String,
    pub(crate) frames: usize,
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    pub(crate) cells: usize,
    pub(crate) dicts: usize,
    /// Bytes of cells and dicts.
    pub(crate) shared_bytes: u64,
    pub(crate) free: u64,
    pub(crate) total: u64,
}

#[derive(Clone, Serialize)]
pub(crate) struct FrameLine {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) bytes: u64,
    pub(crate) created: Option<u64>,
    pub(crate) users: usize,
    pub(crate) superseded: Vec<Superseded>,
    /// Where a mirror came from.
    pub(crate) origin: Option<String>,
    /// Why it cannot be opened; all fields except the name are then zero.
    pub(crate) error: Option<String>,
    #[serde(skip)]
    pub(crate) time: Option<SystemTime>,
}

#[derive(Clone, Serialize)]
pub(crate) struct Superseded {
    pub(crate) version: u64,
    pub(crate) users: usize,
}

impl Ls {
    pub(crate) fn run(self, context: &Context) -> Result {
        let store = context.store()?;
        let mut listing = collect(&store, &store.all_users()?)?;
        if let Some(pattern) = &self.pattern {
            let all: Vec<Name> = store.names()?;
            let shown = names::matching(&all, pattern)?;
            listing.frames.retain(|frame| shown.iter().any(|name| name.as_str() == frame.name));
        }
        if self.all {
            let shown = |names: Vec<Name>| match &self.pattern {
                Some(pattern) => names::matching(&names, pattern),
                None => Ok(names),
            };
            listing.cells = Some(others(&store, shown(store.cells()?)?, "cell"));
            listing.dicts = Some(others(&store, shown(store.maps()?)?, "dict"));
        }
        if context.json {
            return output::print_json(&listing);
        }
        output::print(&text(&listing))
    }
}

/// Returns all frames of a store, including damaged ones.
pub(crate) fn collect(store: &Store, users: &BTreeMap<Name, Vec<FrameUser>>) -> Result<Listing> {
    let none = Vec::new();
    let infos = store.list()?;
    let mut frames: Vec<FrameLine> =
        infos.iter().map(|info| line(info, users.get(&info.name).unwrap_or(&none))).collect();
    for name in store.names()? {
        if infos.binary_search_by(|info| info.name.cmp(&name)).is_err() {
            frames.extend(damaged(store, &name));
        }
    }
    frames.sort_by(|a, b| a.name.cmp(&b.name));
    let usage = store.usage()?;
    let store = StoreLine {
        path: store.path().display().to_string(),
        frames: usage.frames,
        segments: usage.segments,
        bytes: usage.bytes,
        cells: usage.cells,
        dicts: usage.maps,
        shared_bytes: usage.shared_bytes,
        free: usage.free,
        total: usage.total,
    };
    Ok(Listing { store, frames, cells: None, dicts: None })
}

fn line(info: &FrameInfo, users: &[FrameUser]) -> FrameLine {
    let of = |version: u64| users.iter().filter(|user| user.version == version).count();
    FrameLine {
        name: info.name.to_string(),
        version: info.version,
        rows: info.num_rows,
        columns: info.num_columns,
        bytes: info.size_bytes as u64,
        created: info.created.map(output::milliseconds),
        users: distinct(users),
        superseded: info
            .superseded
            .iter()
            .map(|version| Superseded { version: *version, users: of(*version) })
            .collect(),
        origin: info.origin.clone(),
        error: None,
        time: info.created,
    }
}

/// Counts processes; one may map several versions.
fn distinct(users: &[FrameUser]) -> usize {
    let mut pids: Vec<u32> = users.iter().map(|user| user.pid).collect();
    pids.dedup();
    pids.len()
}

/// Returns a frame that cannot be opened; `None` if it was removed or published meanwhile.
fn damaged(store: &Store, name: &Name) -> Option<FrameLine> {
    let error = store.open(name.as_str()).err().filter(|error| !error.is_not_found())?;
    Some(FrameLine {
        name: name.to_string(),
        version: 0,
        rows: 0,
        columns: 0,
        bytes: 0,
        created: None,
        users: 0,
        superseded: Vec::new(),
        origin: None,
        error: Some(chain(&error)),
        time: None,
    })
}

fn text(listing: &Listing) -> Text {
    let mut header = vec!["NAME", "VERSION", "ROWS", "COLUMNS", "SIZE", "AGE", "USERS", "SUPERSEDED"];
    let mut rows: Vec<Vec<String>> = listing.frames.iter().map(row).collect();
    if listing.frames.iter().any(|frame| frame.origin.is_some()) {
        header.push("FROM");
        for (row, frame) in rows.iter_mut().zip(&listing.frames) {
            row.push(frame.origin.clone().unwrap_or_default());
        }
    }
    let table = output::columns(&header, rows, &[1, 2, 3, 4, 5, 6]);
    let mut lines = vec![table, Text::default()];
    for (header, others) in [("CELL", &listing.cells), ("DICT", &listing.dicts)] {
        let Some(others) = others.as_ref().filter(|others| !others.is_empty()) else { continue };
        let rows = others.iter().map(|other| vec![other.name.clone(), output::size(other.bytes)]).collect();
        lines.extend([output::columns(&[header, "SIZE"], rows, &[1]), Text::default()]);
    }
    lines.push(Text::new(totals(&listing.store)));
    Text::lines(lines)
}

fn row(frame: &FrameLine) -> Vec<String> {
    if let Some(error) = &frame.error {
        let dashes = std::iter::repeat_n("-".to_owned(), 6);
        return std::iter::once(frame.name.clone()).chain(dashes).chain([error.clone()]).collect();
    }
    let superseded = |s: &Superseded| format!("@{} ({})", s.version, output::plural(s.users, "user"));
    vec![
        frame.name.clone(),
        frame.version.to_string(),
        output::thousands(frame.rows),
        frame.columns.to_string(),
        output::size(frame.bytes),
        output::age(frame.time),
        frame.users.to_string(),
        frame.superseded.iter().map(superseded).collect::<Vec<_>>().join(", "),
    ]
}

/// Returns the totals of cells and dicts as a part of a sentence; empty without any.
pub(crate) fn others_total(cells: usize, dicts: usize, bytes: u64) -> String {
    let counts = [(cells, "cell"), (dicts, "dict")];
    let counted = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| output::plural(*count, what));
    match counted.collect::<Vec<_>>().join(" and ") {
        counted if counted.is_empty() => counted,
        counted => format!(", {} in {counted}", output::size(bytes)),
    }
}

/// Returns one line about the whole store.
pub(crate) fn totals(store: &StoreLine) -> String {
    format!(
        "{}, {} in {}{}; {} of {} free in {}",
        output::plural(store.frames, "frame"),
        output::size(store.bytes),
        output::plural(store.segments, "segment"),
        others_total(store.cells, store.dicts, store.shared_bytes),
        output::size(store.free),
        output::size(store.total),
        store.path
    )
}
