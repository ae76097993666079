//! Which files import each other: by `use`, by paths in the code, and by Python's imports.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The files that a file imports.
pub(crate) type Graph = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

/// Files with an ending, at any depth of a folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

type Words = Vec<String>;

fn words(path: &str) -> Words {
    path.split("::").map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// A file of a crate.
struct Module {
    file: PathBuf,
    /// What its paths start from when they start with its own name.
    path: Words,
    /// Paths of its `use` items and in its code.
    imports: Vec<Words>,
    /// Paths of its `pub use` items: a file that imports them imports the file that has them.
    exports: Vec<Words>,
}

/// The code without comments, strings' contents apart, and without its unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.split(" // ").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The paths of a tree such as `a::{b, c::{self, D}}`.
fn expand(tree: &str, before: &Words, found: &mut Vec<Words>) {
    let Some((start, rest)) = tree.split_once('{') else {
        let path = words(tree.split(" as ").next().unwrap());
        found.push(
            before.iter().cloned().chain(path.into_iter().filter(|word| word != "self" || before.is_empty())).collect(),
        );
        return;
    };
    let before: Words = before.iter().cloned().chain(words(start)).collect();
    let (mut depth, mut part) = (0, String::new());
    for c in rest.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => expand(&std::mem::take(&mut part), &before, found),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                part.push(c);
            }
        }
    }
    if !part.trim().is_empty() {
        expand(&part, &before, found);
    }
}

/// The paths in code that start with a keyword, such as `crate::name::Name`.
fn inline(code: &str, found: &mut Vec<Words>) {
    for keyword in ["crate::", "super::"] {
        for (at, _) in code.match_indices(keyword) {
            let before = &code[..at];
            // Part of a longer path, or of a visibility.
            if before.ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c)) || before.ends_with("(in ") {
                continue;
            }
            let len =
                code[at..].find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(code.len() - at);
            found.push(words(&code[at..at + len]));
        }
    }
}

impl Module {
    fn read(root: &Path, file: &Path) -> Self {
        let inside = file.strip_prefix(root).unwrap().with_extension("");
        let mut path: Words = inside.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
        if ["mod", "lib", "main"].contains(&path.last().unwrap().as_str()) {
            path.pop();
        }
        let (mut imports, mut exports, mut rest) = (Vec::new(), Vec::new(), String::new());
        let text = code(&fs::read_to_string(file).unwrap());
        let mut text = text.as_str();
        // One item after the other: `use` items end with a semicolon.
        while let Some((line, after)) = text.split_once('\n') {
            let item = line.trim_start();
            let public = item
                .strip_prefix("pub")
                .and_then(|item| item.split_once("use "))
                .filter(|(scope, _)| scope.trim().is_empty() || (scope.starts_with('(') && scope.ends_with(") ")));
            let tree = item.strip_prefix("use ").or(public.map(|(_, tree)| tree));
            // In a module inside of the file, `super` is the file itself.
            let is_inside = item.len() < line.len() && tree.is_some_and(|tree| tree.starts_with("super::"));
            if is_inside {
                text = after;
            } else if tree.is_some() {
                let start = text.find("use ").unwrap() + 4;
                let (tree, after) = text[start..].split_once(';').unwrap();
                expand(tree, &Vec::new(), if public.is_some() { &mut exports } else { &mut imports });
                text = after;
            } else {
                rest.push_str(line);
                rest.push('\n');
                text = after;
            }
        }
        inline(&rest, &mut imports);
        Self { file: file.to_owned(), path, imports, exports }
    }

    /// A path from the root of the crate, if it stays inside of it.
    fn absolute(&self, path: &Words, modules: &BTreeMap<Words, Module>) -> Option<Words> {
        let (first, rest) = path.split_first()?;
        let (mut from, mut rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (self.path.clone(), rest),
            "super" => (self.path[..self.path.len() - 1].to_vec(), rest),
            name => {
                let child: Words = self.path.iter().cloned().chain([name.to_owned()]).collect();
                modules.contains_key(&child).then_some((child, rest))?
            }
        };
        while let [word, more @ ..] = rest
            && word == "super"
        {
            from.pop();
            rest = more;
        }
        from.extend(rest.iter().cloned());
        Some(from)
    }
}

/// The file that an absolute path leads to, through what modules re-export.
fn resolve<'a>(path: &[String], modules: &'a BTreeMap<Words, Module>) -> Option<&'a Path> {
    let len = (0..=path.len()).rev().find(|len| modules.contains_key(&path[..*len]))?;
    let module = &modules[&path[..len]];
    let Some(item) = path.get(len) else { return Some(&module.file) };
    let export = module.exports.iter().find(|export| export.last() == Some(item));
    match export.and_then(|export| module.absolute(export, modules)).filter(|export| export != path) {
        Some(export) => resolve(&export, modules),
        None => Some(&module.file),
    }
}

/// The imports between the files of a crate.
pub(crate) fn of_crate(root: &Path) -> Graph {
    let modules = files(root, "rs").into_iter().map(|file| Module::read(root, &file));
    let modules: BTreeMap<Words, Module> = modules.map(|module| (module.path.clone(), module)).collect();
    let targets = |module: &Module| {
        let paths = module.imports.iter().filter_map(|path| module.absolute(path, &modules));
        let files = paths.filter_map(|path| resolve(&path, &modules).map(Path::to_owned));
        files.filter(|file| *file != module.file).collect()
    };
    modules.values().map(|module| (module.file.clone(), targets(module))).collect()
}

/// The imports between the modules of a Python package, those inside of functions too; those for type checkers alone
/// are left out.
pub(crate) fn of_package(root: &Path) -> Graph {
    let package = root.file_name().unwrap().to_str().unwrap();
    let file = |module: &str| {
        let file = root.join(if module.is_empty() { "__init__.py".to_owned() } else { format!("{module}.py") });
        file.exists().then_some(file)
    };
    let targets = |text: &str| {
        let (mut found, mut typing) = (BTreeSet::new(), false);
        for line in text.lines() {
            let is_inside = line.starts_with(' ') || line.trim().is_empty();
            typing = line.starts_with("if TYPE_CHECKING") || (typing && is_inside);
            let Some(import) = line.trim_start().strip_prefix("from ").filter(|_| !typing) else { continue };
            let Some((module, names)) = import.split_once(" import ") else { continue };
            let Some(module) = module.strip_prefix('.').or_else(|| module.strip_prefix(package)) else { continue };
            let module = module.trim_start_matches('.');
            if !module.is_empty() {
                found.extend(file(module));
                continue;
            }
            let names = names.split(',').map(|name| name.split(" as ").next().unwrap().trim().trim_matches(['(', ')']));
            for name in names.filter(|name| !name.is_empty()) {
                // A module, or the native part (which imports none), or a name of the package itself.
                let is_native = root.join(format!("{name}.pyi")).exists();
                found.extend(file(name).or_else(|| file("").filter(|_| !is_native)));
            }
        }
        found
    };
    let read = |path: PathBuf| {
        let mut targets = targets(&fs::read_to_string(&path).unwrap());
        targets.remove(&path);
        (path, targets)
    };
    files(root, "py").into_iter().map(read).collect()
}

/// The files that a file leads to.
fn reached<'a>(graph: &'a Graph, from: &'a Path) -> BTreeSet<&'a Path> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        let new = graph.get(file).into_iter().flatten().map(PathBuf::as_path).filter(|file| seen.insert(*file));
        next.extend(new);
    }
    seen
}

/// Files that lead to themselves, in groups that lead to each other.
pub(crate) fn circles(graph: &Graph) -> Vec<BTreeSet<&Path>> {
    let reached: BTreeMap<&Path, BTreeSet<&Path>> =
        graph.keys().map(|file| (file.as_path(), reached(graph, file))).collect();
    let mut groups: Vec<BTreeSet<&Path>> = Vec::new();
    for (file, seen) in &reached {
        let group: BTreeSet<&Path> = seen.iter().copied().filter(|other| reached[other].contains(file)).collect();
        if !group.is_empty() && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}
