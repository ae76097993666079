//! `coframe rm`: removes frames, cells and dicts.

use std::collections::BTreeSet;

use coframe::{Name, Store};
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Failure, Result},
    names, output,
};

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
        // All arguments are resolved first, so that a wrong one removes nothing.
        let meant = self.names.iter().map(|text| resolve(&all, text)).collect::<Result<Vec<_>>>()?;
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

    /// Removes a name. Returns false if it does not exist.
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

/// Returns the names that an argument matches.
fn resolve(all: &[Name], text: &str) -> Result<Vec<Name>> {
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
