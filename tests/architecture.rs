//! Checks ARCHITECTURE.md, docs/FORMAT.md and docs/SAFETY.md against the source.

mod circles;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(directory: &Path, files: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let relative = |(path, text): (PathBuf, String)| (path.strip_prefix(&root).unwrap().to_owned(), text);
    files.into_iter().map(relative).collect()
}

/// The top-level module of a file.
fn module(path: &Path) -> String {
    path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// What a module may import: the direction of imports in ARCHITECTURE.md.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let ground = ["error", "name", "failpoint", "fork", "handle_text", "interrupt"];
    let with = |more: &[&'static str]| ground.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    BTreeMap::from([
        ("error", vec![]),
        ("failpoint", vec![]),
        ("fork", vec![]),
        ("handle_text", vec![]),
        ("name", vec!["error"]),
        ("interrupt", vec!["error"]),
        ("segment", with(&["segment"])),
        ("ipc", with(&["ipc"])),
        ("table", with(&["ipc"])),
        ("frame", with(&["frame", "segment", "ipc", "table"])),
        ("polars", with(&["polars", "frame", "ipc", "table"])),
        ("copy_report", with(&["frame", "polars", "ipc"])),
        ("store", with(&["store", "frame", "segment", "ipc", "table"])),
        ("sync", with(&["sync", "store", "frame"])),
        ("map", with(&["map", "sync", "store", "frame"])),
        ("shm", with(&["shm", "store", "frame", "ipc", "segment"])),
        ("pool", with(&["pool", "store", "frame", "segment", "table"])),
    ])
}

/// The modules after `crate::` in a file's code.
fn imports(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => found.push(after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()),
            Some(list) => {
                let (mut depth, mut word) = (0, String::new());
                for c in list.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => found.push(std::mem::take(&mut word)),
                        c if depth == 0 => word.push(c),
                        _ => {}
                    }
                }
                found.push(word);
            }
        }
    }
    let first = |path: String| path.trim().split("::").next().unwrap().to_owned();
    found.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

#[test]
fn imports_go_in_one_direction() {
    let allowed = allowed();
    for (path, text) in sources() {
        let module = module(&path);
        if module == "lib" {
            continue;
        }
        let may =
            allowed.get(module.as_str()).unwrap_or_else(|| panic!("{} is missing in the code map", path.display()));
        for import in imports(&text) {
            assert!(may.contains(&import.as_str()), "{} imports {import}", path.display());
        }
    }
}

#[test]
fn no_files_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = ["src", "crates/cli/src", "crates/python/src"].map(|folder| circles::of_crate(&root.join(folder)));
    let package = circles::of_package(&root.join("crates/python/python/coframe"));
    let (mut found, mut arrows) = (Vec::new(), 0);
    for graph in crates.iter().chain([&package]) {
        found.extend(circles::circles(graph));
        arrows += graph.values().map(std::collections::BTreeSet::len).sum::<usize>();
    }
    assert!(found.is_empty(), "{} circles: {found:#?}", found.len());
    assert!(arrows > 500, "only {arrows} imports found: the search is broken");
}

#[test]
fn only_the_files_of_the_inventory_lift_the_ban_on_unsafe_code() {
    let safety = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SAFETY.md")).unwrap();
    let inventory = safety.split("## Inventory").nth(1).unwrap();
    let mut lifted = 0;
    for (path, text) in sources() {
        let lifts = text.contains("expect(unsafe_code");
        assert_eq!(lifts, inventory.contains(&format!("`src/{}`", path.display())), "{}", path.display());
        lifted += usize::from(lifts);
    }
    assert_eq!(lifted, 15);
}

#[test]
fn every_rule_that_an_error_cites_is_in_the_format() {
    let format = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md")).unwrap();
    let mut rules = 0;
    for (path, text) in sources() {
        for literal in text.split('"').skip(1).step_by(2) {
            let is_rule = literal.split_once('-').is_some_and(|(number, word)| {
                let mut letters = number.chars();
                letters.next().is_some_and(|c| c.is_ascii_uppercase())
                    && number.len() == 2
                    && letters.all(|c| c.is_ascii_digit())
                    && word.bytes().all(|b| b.is_ascii_lowercase())
            });
            if is_rule {
                assert!(format.contains(&format!("**{literal}**")), "{} cites {literal}", path.display());
                rules += 1;
            }
        }
    }
    assert!(rules > 10, "only {rules} rules found: the search is broken");
}

#[test]
fn every_rule_of_the_format_has_a_unique_letter_and_number() {
    let format = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md")).unwrap();
    let mut rules = BTreeMap::new();
    for definition in format.lines().filter_map(|line| line.strip_prefix("**")) {
        let Some((id, _)) = definition.split_once("**") else { continue };
        let Some((number, word)) = id.split_once('-') else { continue };
        let earlier = rules.insert(number, word);
        assert_eq!(earlier, None, "two rules are numbered {number}; one of them is {number}-{word}");
    }
    assert!(rules.len() > 20, "only {} rules found: the search is broken", rules.len());
}

/// What a manifest uses of coframe other than its public API: private features, whose names start with an underscore,
/// and files of the library itself.
fn private_uses(manifest: &str) -> Vec<&str> {
    let code = manifest.lines().map(|line| line.split('#').next().unwrap());
    let strings = code.flat_map(|line| line.split(['"', '\'']).skip(1).step_by(2));
    let is_private = |word: &&str| {
        word.rsplit('/').next().unwrap().starts_with('_') || (word.starts_with("../") && word.contains("/src"))
    };
    strings.filter(is_private).collect()
}

#[test]
fn adapters_use_the_public_api_only() {
    let seeded = "[dependencies]\ncoframe = { workspace = true, features = [\"cell\", \"_failpoints\"] } # \"_x\"\n\
                  [features]\nx = ['coframe?/_polars-variants']\n[lib]\npath = \"../../src/lib.rs\"\n";
    assert_eq!(private_uses(seeded), ["_failpoints", "coframe?/_polars-variants", "../../src/lib.rs"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut crates = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The command's own tests and `torture` stop processes at failpoints; Python names its extension module with an
        // underscore.
        if ["cli", "python", "torture"].iter().any(|name| path.ends_with(name)) {
            crates += 1;
            continue;
        }
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        crates += 1;
        assert_eq!(private_uses(&manifest), [""; 0], "{} uses more than the public API", path.display());
    }
    assert!(crates >= 3, "only {crates} crates found: the search is broken");
}

/// Whether a quoted word is a path.
fn is_path(word: &str) -> bool {
    let extensions = [".rs", ".py", ".sh", ".md", ".toml", ".json"];
    word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && (word.contains('/') || extensions.iter().any(|extension| word.ends_with(extension)))
}

/// Whether `folder` contains this path, or at any depth an entry of this name, with or without its extension.
fn contains(folder: &Path, word: &str) -> bool {
    let is_named = |path: &Path| [path.file_name(), path.file_stem()].iter().flatten().any(|name| *name == word);
    let mut entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    folder.join(word).exists() || entries.any(|path| is_named(&path) || contains(&path, word))
}

#[test]
fn every_path_in_the_architecture_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let is_entry = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let (mut section, mut found) = ("", 0);
    for line in page.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        // In a row of the code map, the first cell has folders, and the others have entries of them.
        let (mut folders, mut words) = (Vec::new(), quoted(line));
        if let ("Code map", Some((first, _))) = (section, line.trim_start_matches("| ").split_once(" | ")) {
            folders = words.drain(..quoted(first).len()).map(|folder| root.join(folder)).collect();
            words.retain(|word| is_path(word) || (is_entry(word) && folders.iter().any(|folder| folder.is_dir())));
        } else {
            words.retain(|word| is_path(word));
        }
        let missing = folders.iter().find(|folder| !folder.exists());
        assert_eq!(missing, None, "ARCHITECTURE.md: a path in the first column does not exist");
        for word in &words {
            let in_folders = folders.iter().any(|folder| contains(folder, word));
            let in_root =
                is_path(word) && [root.join(word), root.join("src").join(word)].iter().any(|path| path.exists());
            assert!(in_folders || in_root, "ARCHITECTURE.md: `{word}` does not exist");
        }
        found += folders.len() + words.len();
    }
    assert!(found > 100, "only {found} paths found: the search is broken");
}

/// The test `module::test` of tests/it, or the unit tests of a file of src, `module::file`.
fn test_exists(root: &Path, name: &str) -> bool {
    let (module, test) = name.split_once("::").unwrap_or((name, ""));
    let path = root.join("tests/it").join(module);
    let files = [path.with_extension("rs"), path.join("mod.rs")];
    let text = files.iter().find_map(|path| fs::read_to_string(path).ok());
    text.is_some_and(|text| text.contains(&format!("fn {test}(")))
        || root.join(format!("src/{module}/{test}.rs")).exists()
}

#[test]
fn tests_that_the_hazards_and_the_inventory_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let safety = fs::read_to_string(root.join("docs/SAFETY.md")).unwrap();
    let (hazards, inventory) = safety.split_once("## Hazards").unwrap().1.split_once("## Inventory").unwrap();
    let is_test = |word: &&str| word.contains("::") && word.starts_with(|c: char| c.is_ascii_lowercase());
    let named: Vec<&str> = hazards.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 40, "only {} tests found: the search is broken", named.len());
    for name in named {
        assert!(test_exists(root, name), "no test {name}");
    }
    for row in inventory.lines().filter(|line| line.starts_with("| `src/")) {
        let named: Vec<&str> = row.rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test attacks this: {row}");
        for name in named {
            assert!(test_exists(root, name), "no test {name}");
        }
    }
}
