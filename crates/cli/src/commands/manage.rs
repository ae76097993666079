//! `coframe cp`, `mv`, `rm` and `sweep`: what happens to names.

use std::{collections::BTreeSet, time::Instant};

use coframe::{Frame, Name, PublishOptions, Store, TableReader, arrow::array::RecordBatchReader};
use serde::Serialize;

use super::publish::Published;
use crate::{
    context::Context,
    failure::{Failure, Result},
    names::{self, Target},
    output,
};

/// Publish a frame under another name, with its metadata
#[derive(clap::Args)]
pub(crate) struct Cp {
    /// NAME or NAME@VERSION
    from: Target,

    /// The other name
    to: Name,

    /// Number of old versions of the new name to keep even when unused
    #[arg(long, default_value_t = 0, value_name = "VERSIONS")]
    keep: u32,
}

impl Cp {
    pub(crate) fn run(self, context: &Context) -> Result {
        let begun = Instant::now();
        let store = context.store()?;
        let frame = self.from.open(&store)?;
        let mut options = PublishOptions::new().keep(self.keep);
        for (key, value) in frame.metadata() {
            // Python unpickles the values of its own keys in a sealed frame, and the copy will be sealed.
            if frame.is_sealed() || !key.starts_with("coframe.") {
                options = options.metadata(key, value);
            }
        }
        let copy = copy(&store, &frame, self.to.as_str(), options)?;
        Published::new(&copy, begun).print(context)
    }
}

fn copy(store: &Store, frame: &Frame, to: &str, options: PublishOptions) -> Result<Frame> {
    // By way of Polars where it has these very types: what it knows of a column (sorted, checked) goes along then.
    if let Ok(df) = frame.to_polars()
        && TableReader::new(&df).is_ok_and(|reader| &reader.schema() == frame.schema())
    {
        return Ok(store.publish_with(to, &df, &options)?);
    }
    Ok(store.publish_with(to, frame.reader(), &options)?)
}

/// Rename a frame, without a copy
///
/// The latest version becomes a new version of the other name; older ones are removed. A process that has the frame open
/// keeps it. Handles of the old name no longer open.
#[derive(clap::Args)]
pub(crate) struct Mv {
    /// The frame
    from: Name,

    /// The new name; its latest version is superseded if it exists
    to: Name,
}

impl Mv {
    pub(crate) fn run(self, context: &Context) -> Result {
        let begun = Instant::now();
        if self.from == self.to {
            return Err(Failure::usage(format_args!("`{}` is the name of the frame; choose another one", self.to)));
        }
        let frame = context.store()?.rename(self.from.as_str(), self.to.as_str())?;
        Published::new(&frame, begun).print(context)
    }
}

/// Remove frames with all their versions, or cells or dicts
///
/// A process that has one open keeps it; the memory is freed with the last user.
#[derive(clap::Args)]
pub(crate) struct Rm {
    /// Names, or patterns such as 'tmp-*'
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// The names are those of cells
    #[arg(long, conflicts_with = "dicts")]
    cells: bool,

    /// The names are those of dicts
    #[arg(long)]
    dicts: bool,

    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Removed {
    removed: Vec<String>,
    missing: Vec<String>,
}

impl Rm {
    pub(crate) fn run(self, context: &Context) -> Result {
        let store = context.store()?;
        let all = self.all(&store)?;
        // All arguments first: one that is wrong leaves every frame where it is.
        let meant = self.names.iter().map(|text| meant(&all, text)).collect::<Result<Vec<_>>>()?;
        let mut removed = Removed { removed: Vec::new(), missing: Vec::new() };
        let mut seen = BTreeSet::new();
        for (text, names) in self.names.iter().zip(meant) {
            let mut found = false;
            for name in names {
                if seen.contains(name.as_str()) {
                    found = true;
                } else if self.remove(&store, &all, &name)? {
                    found = true;
                    seen.insert(name.to_string());
                    removed.removed.push(name.to_string());
                }
            }
            if !found && !removed.missing.contains(text) {
                removed.missing.push(text.clone());
            }
        }
        if context.json {
            output::print_json(&removed)?;
        } else if !removed.removed.is_empty() {
            let done = if self.dry_run { "would remove" } else { "removed" };
            output::print_line(format_args!("{done} {}", removed.removed.join(", ")))?;
        }
        if removed.missing.is_empty() {
            return Ok(());
        }
        let missing = removed.missing.join("`, `");
        let path = store.path().display();
        Err(Failure::missing(format_args!(
            "{} `{missing}` not found in the store `{path}`; coframe ls --all lists them",
            self.kind()
        )))
    }

    fn kind(&self) -> &'static str {
        match (self.cells, self.dicts) {
            (true, _) => "cell",
            (_, true) => "dict",
            _ => "frame",
        }
    }

    fn all(&self, store: &Store) -> Result<Vec<Name>> {
        Ok(match (self.cells, self.dicts) {
            (true, _) => store.cells()?,
            (_, true) => store.maps()?,
            _ => store.names()?,
        })
    }

    /// Removes a name; false if it does not exist.
    fn remove(&self, store: &Store, all: &[Name], name: &Name) -> Result<bool> {
        if self.dry_run {
            return Ok(all.contains(name));
        }
        Ok(match (self.cells, self.dicts) {
            (true, _) => store.remove_cell(name.as_str())?,
            (_, true) => store.remove_map(name.as_str())?,
            _ => store.remove(name.as_str())?,
        })
    }
}

/// The names that an argument means.
fn meant(all: &[Name], text: &str) -> Result<Vec<Name>> {
    if names::is_pattern(text) {
        return names::matching(all, text);
    }
    if text.contains('@') {
        return Err(Failure::usage(format_args!(
            "`{text}` is one version; rm takes names, with all their versions (coframe sweep removes superseded ones that \
             are unused)"
        )));
    }
    text.parse().map(|name| vec![name]).map_err(|error: coframe::Error| Failure::usage(error))
}

/// Remove what dead processes left, and superseded versions that no process uses
#[derive(clap::Args)]
pub(crate) struct Sweep {}

#[derive(Serialize)]
struct SweptLine {
    segments: usize,
    sessions: usize,
    bytes: u64,
    problems: Vec<String>,
}

impl Sweep {
    #[expect(clippy::unused_self, reason = "every command runs alike")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let swept = context.store()?.sweep()?;
        if context.json {
            let (segments, sessions, bytes) = (swept.segments, swept.sessions, swept.bytes);
            return output::print_json(&SweptLine { segments, sessions, bytes, problems: swept.problems });
        }
        for problem in &swept.problems {
            output::note(format!("skipped: {problem}"));
        }
        let (segments, sessions) =
            (output::plural(swept.segments, "segment"), output::plural(swept.sessions, "session"));
        let bytes = output::size(swept.bytes);
        output::print_line(format_args!("removed {segments} ({bytes}) and {sessions} of dead processes"))
    }
}
