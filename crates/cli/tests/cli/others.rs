//! Cells and dicts in `ls` and `rm`, and options that no other file tests.

use std::{fs, os::unix::fs::MetadataExt};

use coframe::{map::SharedMap, sync::Counter};
use polars::prelude::df;
use serde_json::json;

use crate::common::{flights, scratch};

#[test]
fn cells_and_dicts_are_listed_and_removed_on_request() {
    let scratch = scratch();
    let store = scratch.store();
    store.publish("t", &df!("a" => [1]).unwrap()).unwrap();
    let counter: Counter = Counter::create(&store, "total").unwrap();
    counter.add(1);
    let dict: SharedMap<String, u64> = SharedMap::create(&store, "prices").unwrap();
    dict.insert(&"a".to_owned(), &1).unwrap();
    drop(dict);
    let listed = scratch.json(&["ls", "--all"]);
    assert_eq!((&listed["cells"][0]["name"], &listed["dicts"][0]["name"]), (&json!("total"), &json!("prices")));
    assert!(listed["cells"][0]["bytes"].as_u64().unwrap() > 0 && listed["dicts"][0]["bytes"].as_u64().unwrap() > 0);
    assert!(scratch.json(&["ls"]).get("cells").is_none());
    let store = &listed["store"];
    assert_eq!((&store["cells"], &store["dicts"]), (&json!(1), &json!(1)));
    assert!(store["shared_bytes"].as_u64().unwrap() > 0);
    for command in ["ls", "doctor"] {
        let text = scratch.run(&[command]).out;
        assert!(text.contains(" in 1 cell and 1 dict"), "{text}");
    }
    let text = scratch.ok(&["ls", "--all"]);
    assert!(text.contains("total") && text.contains("prices"), "{text}");
    assert!(!scratch.ok(&["ls", "--all", "t*"]).contains("prices"));

    assert_eq!(scratch.ok(&["rm", "t", "--dry-run"]), "would remove t\n");
    assert_eq!(scratch.ok(&["rm", "tot*", "--cells", "--dry-run"]), "would remove total\n");
    scratch.fails(3, &["rm", "nix", "--dry-run"]);
    assert!(scratch.fails(3, &["rm", "t", "--cells"]).contains("cell `t` not found"));
    assert_eq!(scratch.ok(&["rm", "total", "--cells"]), "removed total\n");
    assert_eq!(scratch.ok(&["rm", "prices", "--dicts"]), "removed prices\n");
    let listed = scratch.json(&["ls", "--all"]);
    assert_eq!((&listed["cells"], &listed["dicts"]), (&json!([]), &json!([])));
    assert_eq!(listed["frames"].as_array().unwrap().len(), 1);
    assert!(!scratch.ok(&["ls"]).contains("cell"));
}

#[test]
fn export_takes_a_delimiter_and_refuses_options_without_an_effect() {
    let scratch = scratch();
    scratch.store().publish("t", &df!("a" => [1], "b" => ["x;y"]).unwrap()).unwrap();
    assert_eq!(scratch.ok(&["export", "t", "-", "--format", "csv", "--delimiter", ";"]), "a;b\n1;\"x;y\"\n");
    assert_eq!(scratch.ok(&["export", "t", "-", "--format", "csv", "--delimiter", "tab"]), "a\tb\n1\tx;y\n");
    scratch.fails(2, &["export", "t", "-", "--format", "ndjson", "--delimiter", ";"]);
    scratch.fails(2, &["export", "t", "-", "--format", "csv", "--json"]);
    assert!(scratch.fails(2, &["top", "--interval", "0"]).contains("50ms"));
}

#[test]
fn a_store_named_by_the_environment_is_not_shown_as_an_argument() {
    let ran = scratch().run(&["head"]);
    assert!(ran.code == 2 && ran.err.contains("usage: coframe head") && !ran.err.contains("--store"), "{}", ran.err);
}

#[test]
fn mv_renames_a_frame_without_a_copy() {
    let scratch = scratch();
    scratch.ok(&["publish", &flights(), "--metadata", "source=nycflights13"]);
    let inode = |file: &str| fs::metadata(scratch.store_path().join(file)).unwrap().ino();
    let before = inode("flights.arrow");
    let printed = scratch.json(&["mv", "flights", "trips"]);
    assert_eq!((&printed["name"], &printed["rows"]), (&json!("trips"), &json!(336_776)));
    assert_eq!(inode("trips.arrow"), before);
    let renamed = scratch.store().open("trips").unwrap();
    assert_eq!(renamed.metadata()["source"], "nycflights13");
    assert_eq!(scratch.entries(), ["trips.arrow", "trips@2.arrow"]);
    assert!(scratch.fails(3, &["mv", "flights", "other"]).contains("`flights`"));
    assert!(scratch.fails(2, &["mv", "trips", "trips"]).contains("choose another one"));
    assert_eq!(scratch.entries(), ["trips.arrow", "trips@2.arrow"]);
}

#[test]
fn feather_version_1_is_refused_whatever_the_file_is_called() {
    let scratch = scratch();
    let bytes = [b"FEA1\0\0\0\0".as_slice(), &[0; 32], b"FEA1"].concat();
    for name in ["a.feather", "a.arrow", "a.parquet", "a.csv", "a"] {
        let error = scratch.fails(1, &["publish", &scratch.file(name, &bytes), "--name", "t"]);
        assert!(error.contains("is Feather version 1"), "{name}: {error}");
    }
    let ran = scratch.run_with_input(&["publish", "-", "--name", "t"], &bytes);
    assert!(ran.code == 1 && ran.err.contains("is Feather version 1"), "{}", ran.err);
    scratch.ok(&["publish", &scratch.file("b.csv", "FEA1,FEA2\n1,2\n"), "--name", "t"]);
    assert_eq!(scratch.ok(&["head", "t", "--csv"]), "FEA1,FEA2\n1,2\n");
}
