//! A copy of the source with all mutants that compile, and its test binaries.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    find::{self, Mutant, Site},
    render::{self, Rendered},
};

/// Parts of a tree that a build does not read.
const SKIPPED: [&str; 4] = [".git", "target", "node_modules", ".venv"];
const LIBRARY: &str = "src/lib.rs";
/// The parts of the library that are changed.
const AREAS: [&str; 3] = ["src/segment", "src/ipc", "src/store"];

/// A copy of the library whose test binaries contain all mutants.
pub(crate) struct Build {
    pub(crate) tree: PathBuf,
    /// With their files, by id.
    pub(crate) mutants: BTreeMap<usize, (String, Mutant)>,
    /// Those that did not compile.
    pub(crate) dropped: BTreeSet<usize>,
    /// Test binaries, by the name of their target.
    pub(crate) binaries: Vec<(String, PathBuf)>,
}

struct Source {
    text: String,
    sites: Vec<Site>,
}

/// Copies the tree at `root` to `tree` and builds the tests with `arguments` to `cargo test`. `known` are mutants that do
/// not compile.
pub(crate) fn build(root: &Path, tree: &Path, arguments: &[String], known: &BTreeSet<usize>) -> Result<Build, String> {
    copy(root, tree, Path::new(""))?;
    let sources = read_sources(root)?;
    let mut mutants = BTreeMap::new();
    for (file, source) in &sources {
        for mutant in source.sites.iter().flat_map(|site| &site.mutants) {
            mutants.insert(mutant.id, (file.clone(), mutant.clone()));
        }
    }
    let mut live: BTreeSet<usize> = mutants.keys().copied().filter(|id| !known.contains(id)).collect();
    add_selector(root, tree)?;
    // The compiler reports errors of one phase at a time, so this takes some rounds.
    for round in 1.. {
        let rendered = write(tree, &sources, &live)?;
        let messages = cargo_test(tree, arguments)?;
        let errors: Vec<&Value> = messages.iter().filter(|message| message["message"]["level"] == "error").collect();
        if errors.is_empty() {
            let dropped = mutants.keys().copied().filter(|id| !live.contains(id)).collect();
            mutants.retain(|id, _| live.contains(id));
            return Ok(Build { tree: tree.to_owned(), dropped, mutants, binaries: binaries(&messages) });
        }
        let mut wrong = BTreeSet::new();
        for error in &errors {
            let found = mutants_of(&error["message"], &rendered);
            // A moved value is used again because a jump before it is left out.
            let jumps = found.iter().filter(|id| mutants[id].1.text.is_empty());
            let jumps: Vec<usize> = if found.len() > 1 { jumps.copied().collect() } else { Vec::new() };
            wrong.extend(if jumps.is_empty() { found } else { jumps });
        }
        if wrong.is_empty() {
            return Err(format!("an error that no mutant causes: {}", errors[0]["message"]["rendered"]));
        }
        println!("round {round}: {} of {} mutants do not compile", wrong.len(), live.len());
        live.retain(|id| !wrong.contains(id));
    }
    unreachable!("each round drops a mutant or returns")
}

/// Copies what has changed, except for the files that get mutants. An unchanged file keeps its time, so that a second
/// run builds less.
fn copy(root: &Path, tree: &Path, part: &Path) -> Result<(), String> {
    let (from, to) = (root.join(part), tree.join(part));
    fs::create_dir_all(&to).map_err(|e| format!("{}: {e}", to.display()))?;
    for entry in fs::read_dir(&from).map_err(|e| format!("{}: {e}", from.display()))?.flatten() {
        let (path, part) = (entry.path(), part.join(entry.file_name()));
        let is_written = part == Path::new(LIBRARY) || AREAS.iter().any(|area| part.starts_with(area));
        if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            continue;
        }
        if path.is_dir() {
            copy(root, tree, &part)?;
        } else if !is_written && fs::read(tree.join(&part)).ok() != fs::read(&path).ok() {
            fs::copy(&path, tree.join(&part)).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

fn read_sources(root: &Path) -> Result<BTreeMap<String, Source>, String> {
    let mut files = Vec::new();
    for area in AREAS {
        collect(&root.join(area), &mut files)?;
    }
    files.sort();
    let (mut sources, mut next) = (BTreeMap::new(), 0);
    for path in files {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let sites = find::sites(&text, &mut next).map_err(|e| format!("{}: {e}", path.display()))?;
        let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        sources.insert(file, Source { text, sites });
    }
    Ok(sources)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn add_selector(root: &Path, tree: &Path) -> Result<(), String> {
    let library = root.join(LIBRARY);
    let text = fs::read_to_string(&library).map_err(|e| format!("{}: {e}", library.display()))?;
    update(&tree.join(LIBRARY), &text.replacen("\nmod name;", "\nmod mutants;\nmod name;", 1))?;
    update(&tree.join("src/mutants.rs"), include_str!("../selector.rs"))
}

fn update(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(
    tree: &Path,
    sources: &BTreeMap<String, Source>,
    live: &BTreeSet<usize>,
) -> Result<BTreeMap<String, Rendered>, String> {
    let mut all = BTreeMap::new();
    for (file, source) in sources {
        let rendered = render::render(&source.text, &source.sites, live);
        update(&tree.join(file), &rendered.text)?;
        all.insert(file.clone(), rendered);
    }
    Ok(all)
}

fn cargo_test(tree: &Path, arguments: &[String]) -> Result<Vec<Value>, String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--no-run", "--locked", "--message-format=json", "-p", "coframe"])
        .args(arguments)
        .current_dir(tree)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cargo: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let explained = messages.iter().any(|message| message["message"]["level"] == "error");
    if output.status.success() || explained { Ok(messages) } else { Err("cargo test failed".to_owned()) }
}

/// The mutants that an error is about: at its own place, or else at one that it mentions, or else of the same function.
fn mutants_of(error: &Value, rendered: &BTreeMap<String, Rendered>) -> Vec<usize> {
    let spans = |message: &Value| message["spans"].as_array().cloned().unwrap_or_default();
    let (own, mentioned): (Vec<Value>, Vec<Value>) =
        spans(error).into_iter().partition(|span| span["is_primary"] == true);
    let children = error["children"].as_array().into_iter().flatten().flat_map(spans);
    let mentioned: Vec<Value> = mentioned.into_iter().chain(children).collect();
    for (spans, functions) in [(&own, false), (&mentioned, false), (&own, true)] {
        let found: Vec<usize> = spans.iter().flat_map(|span| mutants_at(span, rendered, functions)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn mutants_at(span: &Value, rendered: &BTreeMap<String, Rendered>, functions: bool) -> Vec<usize> {
    let byte = |key: &str| span[key].as_u64().and_then(|byte| usize::try_from(byte).ok());
    let range = byte("byte_start").zip(byte("byte_end")).map(|(start, end): (usize, usize)| Range { start, end });
    let file = span["file_name"].as_str().and_then(|file| rendered.get(file));
    file.zip(range).map(|(file, range)| file.mutants_at(&range, functions).to_vec()).unwrap_or_default()
}

fn binaries(messages: &[Value]) -> Vec<(String, PathBuf)> {
    let tests = messages.iter().filter(|message| message["profile"]["test"] == true);
    let named = tests.filter_map(|message| {
        let path = message["executable"].as_str()?;
        Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
    });
    named.collect()
}
