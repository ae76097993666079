//! Compares the figures on the pages with `docs/results.json`.
//!
//! A page marks a paragraph, a row or the block of code below with the ids of its figures, in a comment that is not
//! rendered: `<!-- results: open, open-polars -->`.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

/// Pages on which every time, speed and ratio has a mark, and pages on which some have.
const COMPLETE: [&str; 8] = [
    "README.md",
    "docs/CLI.md",
    "docs/DATAFUSION.md",
    "docs/DESIGN.md",
    "docs/FORMAT.md",
    "docs/LIMITATIONS.md",
    "docs/READERS.md",
    "docs/SAFETY.md",
];
const PARTIAL: [&str; 2] = ["crates/flight/README.md", "crates/python/README.md"];

/// Units of what a benchmark measures.
const UNITS: [&str; 10] = ["ns", "us", "ms", "seconds", "s", "GB/s", "million/s", "a second", "minutes", "x"];

/// A number and the unit behind it, if it has one of [`UNITS`].
type Quantity = (f64, Option<&'static str>);

fn quantities(text: &str) -> Vec<Quantity> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let word = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || b"_/".contains(b));
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        if !digit(at) || before.is_ascii_alphanumeric() || b"_.-@^/".contains(&before) {
            at += 1;
            continue;
        }
        let mut number = String::new();
        loop {
            let groups = bytes.get(at) == Some(&b' ') && (1..4).all(|next| digit(at + next)) && !digit(at + 4);
            let fraction = bytes.get(at) == Some(&b'.') && digit(at + 1) && !number.contains('.');
            match () {
                () if digit(at) || fraction => number.push(char::from(bytes[at])),
                () if groups && number.len() < 4 => {}
                () => break,
            }
            at += 1;
        }
        let behind = at + usize::from(bytes.get(at) == Some(&b' '));
        let unit = UNITS.into_iter().find(|unit| {
            // A ratio is written without a space; `4 x rows` is a formula.
            let start = if *unit == "x" { at } else { behind };
            text.get(start..).is_some_and(|rest| rest.starts_with(unit)) && !word(start + unit.len())
        });
        found.push((number.parse().expect("digits"), unit));
    }
    found
}

/// A paragraph, an item of a list, a row of a table or a block of code, with the ids of its marks.
#[derive(Default)]
struct Block {
    line: usize,
    is_code: bool,
    text: String,
    ids: Vec<String>,
}

/// The text of a line without its mark, and the ids in the mark.
fn unmarked(line: &str) -> (String, Vec<String>) {
    let Some((before, rest)) = line.split_once("<!-- results: ") else { return (line.to_owned(), Vec::new()) };
    let (ids, after) = rest.split_once(" -->").expect("the end of a mark");
    (format!("{before}{after}"), ids.split(", ").map(str::to_owned).collect())
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = vec![Block { line: 1, ..Block::default() }];
    let mut is_code = false;
    let mut before_code = Vec::new();
    for (number, line) in (1..).zip(page.lines()) {
        let fence = line.trim_start().starts_with("```");
        let starts = ["* ", "- ", "| ", "#"].iter().any(|start| line.starts_with(start)) || line.trim().is_empty();
        if fence || (starts && !is_code) {
            let ids = if fence && !is_code { std::mem::take(&mut before_code) } else { Vec::new() };
            is_code ^= fence;
            blocks.push(Block { line: number, is_code, ids, ..Block::default() });
        }
        if fence {
            continue;
        }
        let (text, ids) = unmarked(line);
        let block = blocks.last_mut().expect("one from the start");
        before_code = if text.trim().is_empty() && block.text.trim().is_empty() { ids.clone() } else { Vec::new() };
        block.text += &text;
        block.text.push('\n');
        block.ids.extend(ids);
    }
    // A mark alone above a block of code belongs to that block.
    blocks.retain(|block| !block.text.trim().is_empty());
    blocks
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a page")
}

struct Results {
    figures: BTreeMap<String, (Vec<f64>, String)>,
}

fn results() -> Results {
    let json: Value = serde_json::from_str(&page("docs/results.json")).expect("JSON");
    let machines = json["machines"].as_object().expect("machines");
    let mut figures = BTreeMap::new();
    for (id, figure) in json["figures"].as_object().expect("figures") {
        let text = |key: &str| figure[key].as_str().unwrap_or_else(|| panic!("{id} has no {key}"));
        assert!(!text("what").is_empty() && !text("source").is_empty(), "{id}");
        match text("kind") {
            "measured" => {
                assert!(text("machine").split(", ").all(|name| machines.contains_key(name)), "{id}: unknown machine");
                assert_eq!(text("date").len(), "2026-11-21".len(), "{id}: the date");
            }
            kind => assert!(["target", "constant"].contains(&kind), "{id}: {kind}"),
        }
        let values = figure["value"].as_array().expect("values");
        let values = values.iter().map(|value| value.as_f64().expect("a number")).collect();
        figures.insert(id.clone(), (values, text("unit").to_owned()));
    }
    Results { figures }
}

/// What is wrong with the figures of a page.
fn faults(name: &str, text: &str, results: &Results, complete: bool, used: &mut Vec<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for block in blocks(text) {
        let place = format!("{name}:{}", block.line);
        let found = quantities(&block.text);
        let mut known = Vec::new();
        for id in &block.ids {
            let Some((values, unit)) = results.figures.get(id) else {
                faults.push(format!("{place}: `{id}` is not in docs/results.json"));
                continue;
            };
            for value in values {
                if !found.iter().any(|(number, _)| number.total_cmp(value).is_eq()) {
                    faults.push(format!("{place}: {value} {unit} of `{id}` is not printed"));
                }
                known.push((*value, unit.as_str()));
            }
            used.push(id.clone());
        }
        if block.ids.is_empty() && (block.is_code || !complete) {
            continue;
        }
        for (number, unit) in found {
            let Some(unit) = unit else { continue };
            if !known.contains(&(number, unit)) {
                faults.push(format!("{place}: {number} {unit} has no figure in docs/results.json"));
            }
        }
    }
    faults
}

#[test]
fn every_figure_on_a_page_is_in_the_results() {
    let results = results();
    let mut used = Vec::new();
    let mut wrong = Vec::new();
    for (names, complete) in [(&COMPLETE[..], true), (&PARTIAL[..], false)] {
        for name in names {
            wrong.extend(faults(name, &page(name), &results, complete, &mut used));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> = results.figures.keys().filter(|id| !used.contains(id)).collect();
    assert!(unused.is_empty(), "figures that no page prints: {unused:?}");
}

#[test]
fn a_wrong_unknown_or_unmarked_figure_is_found() {
    let results = Results { figures: BTreeMap::from([("open".to_owned(), (vec![0.04], "ms".to_owned()))]) };
    let check = |text: &str| faults("page", text, &results, true, &mut Vec::new());
    assert!(check("An open takes 0.040 ms.\n<!-- results: open -->\n").is_empty());
    assert!(check("| open | 0.04 ms <!-- results: open --> |\n").is_empty());
    assert!(check("<!-- results: open -->\n```text\nopen 0.040 ms\n```\n").is_empty());
    assert!(check("```text\nopen 0.050 ms\n```\nKeys take 4 x rows, 2^53, 1 GB.\n").is_empty());
    assert_eq!(check("An open takes 0.050 ms.\n<!-- results: open -->\n").len(), 2);
    assert_eq!(check("An open takes 0.040 us.\n<!-- results: open -->\n").len(), 1);
    assert_eq!(check("An open takes 0.040 ms.\n").len(), 1);
    assert_eq!(check("It takes 0.040 ms.<!-- results: opened -->\n").len(), 2);
    assert_eq!(check("<!-- results: open -->\n```text\nopen 0.050 ms\n```\n").len(), 2);
    assert_eq!(check("It is 1.2x as fast, and 12 345.5 us long, at 3 GB/s.\n").len(), 3);
}
