//! What a store records: versions never go back, and a publish reads no directory.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::ExitStatusExt},
    process::ExitStatus,
    time::Duration,
};

use coframe::{PublishOptions, Store, arrow::ipc::writer::FileWriter};

use crate::{
    common::{Scratch, child, role, scratch, store_of_test},
    store::{numbers, values},
};

/// Writes the counter of versions as it was before a crash of the machine, or in a copy that was restored.
fn rewind(scratch: &Scratch, next: u64) {
    let path = scratch.path().join("store");
    let text = fs::read_to_string(&path).unwrap();
    let (head, _) = text.rsplit_once("next ").unwrap();
    fs::write(path, format!("{head}next {next:020}\n")).unwrap();
}

/// So many other names, and a full sweep, so that the next one is far.
fn with_many_names(names: usize) -> Scratch {
    let scratch = scratch();
    for i in 0..names {
        scratch.store.publish(format!("n{i}"), &numbers(&[0])).unwrap();
    }
    // As a store of a million entries would record it.
    scratch.store.sweep().unwrap();
    let swept = scratch.path().join(".swept");
    let at = fs::read_link(&swept).unwrap().to_str().unwrap().split_once(',').unwrap().0.to_owned();
    fs::remove_file(&swept).unwrap();
    std::os::unix::fs::symlink(format!("{at},1000000000"), swept).unwrap();
    scratch
}

/// Entries of the name `x`, its record included.
fn files_of_x(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = entries.filter(|file| file.trim_start_matches('.').starts_with('x')).collect();
    files.sort();
    files
}

#[test]
fn a_version_whose_file_is_missing_is_not_superseded_by_itself() {
    let scratch = scratch();
    let frame = scratch.store.publish("x", &numbers(&[1])).unwrap();
    fs::remove_file(frame.path()).unwrap();
    let error = scratch.store.open_version("x", frame.version()).unwrap_err();
    assert!(error.is_not_found() && !error.is_superseded(), "{error}");
}

#[test]
fn versions_never_decrease_when_the_counter_does() {
    let scratch = scratch();
    let store = &scratch.store;
    for i in 0..9 {
        store.publish("x", &numbers(&[i])).unwrap();
    }
    rewind(&scratch, 4);
    let handle = store.open("x").unwrap().handle();
    let next = store.publish("x", &numbers(&[10])).unwrap();
    assert_eq!(next.version(), 10);
    assert_eq!(store.wait("x", 9, Duration::ZERO).unwrap(), Some(10));
    assert_eq!(values(&store.open("x").unwrap()), [10]);
    assert!(handle.open().unwrap_err().is_superseded());
    // A sweep sees the latest versions of all names, those of sessions too.
    let session = store.session().unwrap();
    let inside = session.store().publish("x", &numbers(&[11])).unwrap().version();
    rewind(&scratch, 4);
    store.sweep().unwrap();
    assert_eq!(store.publish("y", &numbers(&[1])).unwrap().version(), inside + 1);
}

#[test]
fn a_publish_among_many_names_reads_no_directory() {
    let test = "store_records::a_publish_among_many_names_reads_no_directory";
    if let Some(role) = role() {
        let store = store_of_test();
        // Each listing of a directory fails in this process.
        assert!(store.names().is_err());
        if role == "publisher" {
            for i in 1..4 {
                store.publish("x", &numbers(&[i])).unwrap();
            }
            store.publish("new", &numbers(&[1])).unwrap();
            assert!(store.remove("new").unwrap());
        } else {
            let error = store.publish("x", &numbers(&[9])).unwrap_err();
            assert!(error.to_string().starts_with("could not list"), "{error:?}");
        }
        return;
    }
    let run = |scratch: &Scratch, role: &str| {
        let mut command = child(test, role);
        command.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", "full:list");
        assert!(command.status().unwrap().success(), "{role}");
    };
    let scratch = with_many_names(20);
    scratch.store.publish("x", &numbers(&[0])).unwrap();
    run(&scratch, "publisher");
    let latest = scratch.store.open("x").unwrap();
    assert_eq!(values(&latest), [3]);
    assert_eq!(files_of_x(&scratch.store), ["x.arrow".to_owned(), format!("x@{}.arrow", latest.version())]);
    assert!(!scratch.store.exists("new").unwrap());
    // Where no sweep is recorded, a publish does one first: the records of names may be missing.
    fs::remove_file(scratch.path().join(".swept")).unwrap();
    run(&scratch, "refused");
}

#[test]
fn a_publish_among_many_names_keeps_as_many_versions_as_requested() {
    let scratch = with_many_names(20);
    let publish = |mark, keep| scratch.store.publish_with("x", &numbers(&[mark]), &PublishOptions::new().keep(keep));
    let marks = || -> Vec<i64> {
        let versions = scratch.store.versions("x").unwrap();
        versions.iter().map(|version| values(&scratch.store.open_version("x", *version).unwrap())[0]).collect()
    };
    let first = publish(1, 0).unwrap();
    for mark in 2..6 {
        publish(mark, 2).unwrap();
    }
    // The first is in use, and neither kept nor counted.
    assert_eq!(marks(), [1, 3, 4, 5]);
    drop(first);
    publish(6, 1).unwrap();
    assert_eq!(marks(), [5, 6]);
    publish(7, 0).unwrap();
    assert_eq!(marks(), [7]);
    assert_eq!(files_of_x(&scratch.store).len(), 2);
}

#[test]
fn a_name_with_more_versions_than_its_record_holds_is_swept_and_removed_whole() {
    let scratch = with_many_names(20);
    let options = || PublishOptions::new().keep(1000);
    for i in 0..300 {
        scratch.store.publish_with("x", &numbers(&[i]), &options()).unwrap();
    }
    assert_eq!(scratch.store.versions("x").unwrap().len(), 300);
    scratch.store.publish_with("x", &numbers(&[300]), &PublishOptions::new().keep(298)).unwrap();
    assert_eq!(scratch.store.versions("x").unwrap().len(), 299);
    assert!(scratch.store.remove("x").unwrap());
    assert_eq!(files_of_x(&scratch.store), [""; 0]);
}

#[test]
fn a_name_may_start_like_a_hidden_file() {
    let scratch = with_many_names(20);
    let held = ["draft-x", "store-x", "doctor-x", "home", "swept"].map(|name| {
        let first = scratch.store.publish(name, &numbers(&[1])).unwrap();
        scratch.store.publish(name, &numbers(&[2])).unwrap();
        (name, first)
    });
    let swept = scratch.store.sweep().unwrap();
    assert_eq!((swept.segments, swept.problems), (0, Vec::new()));
    for (name, first) in held {
        assert_eq!(scratch.store.versions(name).unwrap().len(), 2, "{name}");
        drop(first);
        scratch.store.publish(name, &numbers(&[3])).unwrap();
        assert_eq!(scratch.store.versions(name).unwrap().len(), 1, "{name}");
    }
}

fn killed(scratch: &Scratch, test: &str, role: &str, step: &str) {
    let mut command = child(test, role);
    command.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", format!("kill:{step}"));
    let status: ExitStatus = command.status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "the failpoint `{step}` never fired: {status}");
}

#[test]
fn a_publish_among_many_names_is_atomic_when_killed_and_the_next_one_cleans_up() {
    let test = "store_records::a_publish_among_many_names_is_atomic_when_killed_and_the_next_one_cleans_up";
    if role().is_some() {
        store_of_test().publish("x", &numbers(&[2])).unwrap();
        return;
    }
    for step in ["numbered", "recorded", "linked", "before-switch", "switched", "sweep-locked", "name-swept"] {
        let is_seen = ["switched", "sweep-locked", "name-swept"].contains(&step);
        let scratch = with_many_names(20);
        let first = scratch.store.publish("x", &numbers(&[1])).unwrap().version();
        killed(&scratch, test, "publisher", step);
        assert_eq!(values(&scratch.store.open("x").unwrap()), [if is_seen { 2 } else { 1 }], "{step}");
        // What the dead publisher linked never counts as a version, also after the next one.
        let keep = PublishOptions::new().keep(5);
        let third = scratch.store.publish_with("x", &numbers(&[3]), &keep).unwrap().version();
        let versions = scratch.store.versions("x").unwrap();
        let marks: Vec<i64> =
            versions.iter().map(|v| values(&scratch.store.open_version("x", *v).unwrap())[0]).collect();
        let expected: &[i64] = match step {
            "name-swept" => &[2, 3],
            _ if is_seen => &[1, 2, 3],
            _ => &[1, 3],
        };
        assert_eq!(marks, expected, "{step}: {versions:?}");
        assert!(third > first + 1);
        // A process that reads the maps of the dead publisher in /proc keeps its lock for a moment. Then a later publish
        // removes its file.
        let is_clean = |_| {
            let last = scratch.store.publish("x", &numbers(&[4])).unwrap().version();
            let is_clean = files_of_x(&scratch.store) == ["x.arrow".to_owned(), format!("x@{last}.arrow")];
            if !is_clean {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            is_clean
        };
        assert!((0..100).any(is_clean), "{step}: {:?}", files_of_x(&scratch.store));
    }
}

#[test]
fn a_renamed_frame_keeps_its_file_and_its_readers() {
    let scratch = scratch();
    let store = &scratch.store;
    let keep = PublishOptions::new().keep(1);
    store.publish("x", &numbers(&[0])).unwrap();
    let old = store.publish_with("x", &numbers(&[1]), &keep).unwrap();
    let replaced = store.publish("y", &numbers(&[2])).unwrap();
    let inode = |frame: &coframe::Frame| fs::metadata(frame.path()).unwrap().ino();
    let (file, handle) = (inode(&old), old.handle());
    let renamed = store.rename("x", "y").unwrap();
    assert_eq!((renamed.name().as_str(), inode(&renamed)), ("y", file));
    assert!(renamed.version() > replaced.version());
    assert_eq!((values(&old), values(&replaced)), (vec![1], vec![2]));
    assert_eq!(values(&store.open("y").unwrap()), [1]);
    assert!(store.open("x").unwrap_err().is_not_found() && handle.open().unwrap_err().is_not_found());
    assert_eq!(files_of_x(store), [""; 0]);
    // The version that was replaced is kept as the frame asks, and the file is that of one version.
    drop((old, replaced));
    assert_eq!((store.sweep().unwrap().segments, store.versions("y").unwrap().len()), (0, 2));
    assert_eq!(fs::metadata(renamed.path()).unwrap().nlink(), 1);
    for (from, to) in [("x", "y"), ("y", "y"), ("y", "../y")] {
        assert!(store.rename(from, to).is_err(), "{from} {to}");
    }
    assert_eq!(values(&store.open("y").unwrap()), [1]);
}

#[test]
fn a_renamed_file_of_another_program_replaces_a_frame_and_removes_none_of_its_versions() {
    // A store of more names is not swept at every change.
    for scratch in [scratch(), with_many_names(20)] {
        let store = &scratch.store;
        for value in 0..2 {
            store.publish_with("y", &numbers(&[value]), &PublishOptions::new().keep(1)).unwrap();
        }
        let batch = store.open("y").unwrap().batches()[0].clone();
        let foreign = store.publish("x", &batch).unwrap().path();
        let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        file.write(&batch).unwrap();
        fs::remove_file(&foreign).unwrap();
        fs::write(&foreign, file.into_inner().unwrap()).unwrap();
        assert_eq!(values(&store.rename("x", "y").unwrap()), [1]);
        assert_eq!(store.versions("y").unwrap().len(), 3);
    }
}

#[test]
fn a_process_killed_while_it_renames_leaves_the_frame_under_a_name() {
    let test = "store_records::a_process_killed_while_it_renames_leaves_the_frame_under_a_name";
    if role().is_some() {
        store_of_test().rename("x", "y").unwrap();
        return;
    }
    for (step, names) in [
        ("recorded", &["x"][..]),
        ("linked", &["x"]),
        ("before-switch", &["x"]),
        ("switched", &["x", "y"]),
        ("remove-recorded", &["x", "y"]),
        ("remove-unlinked", &["y"]),
    ] {
        let scratch = with_many_names(20);
        let store = &scratch.store;
        store.publish("x", &numbers(&[1])).unwrap();
        killed(&scratch, test, "renamer", step);
        store.sweep().unwrap();
        let found: Vec<&str> = ["x", "y"].into_iter().filter(|name| store.exists(name).unwrap()).collect();
        assert_eq!(found, names, "{step}");
        for name in found {
            assert_eq!(
                (values(&store.open(name).unwrap()), store.versions(name).unwrap().len()),
                (vec![1], 1),
                "{step}"
            );
        }
        if names == ["x", "y"] {
            // What was not removed can be removed, and the other name keeps the file.
            assert!(store.remove("x").unwrap());
            assert_eq!(values(&store.open("y").unwrap()), [1]);
        }
    }
}

#[test]
fn a_remove_is_atomic_when_its_process_is_killed_at_any_step_and_its_files_are_removed() {
    let test = "store_records::a_remove_is_atomic_when_its_process_is_killed_at_any_step_and_its_files_are_removed";
    if role().is_some() {
        store_of_test().remove("x").unwrap();
        return;
    }
    for step in ["remove-recorded", "remove-unlinked"] {
        for next in ["publish", "remove", "sweep"] {
            let scratch = with_many_names(20);
            let keep = || PublishOptions::new().keep(5);
            let (store, mut last) = (&scratch.store, 0);
            for mark in 0..3 {
                last = store.publish_with("x", &numbers(&[mark]), &keep()).unwrap().version();
            }
            killed(&scratch, test, "remover", step);
            let exists = step == "remove-recorded";
            assert_eq!(store.open("x").is_ok(), exists, "{step}");
            assert_eq!(store.versions("x").unwrap().len(), if exists { 3 } else { 0 }, "{step}");
            let expected = match next {
                "publish" => {
                    let version = store.publish("x", &numbers(&[9])).unwrap().version();
                    assert!(version > last);
                    vec!["x.arrow".to_owned(), format!("x@{version}.arrow")]
                }
                "remove" => {
                    assert_eq!(store.remove("x").unwrap(), exists);
                    vec![]
                }
                _ => {
                    let swept = store.sweep().unwrap();
                    assert_eq!(swept.segments, if exists { 0 } else { 3 }, "{step}");
                    if exists { files_of_x(store) } else { vec![] }
                }
            };
            assert_eq!(files_of_x(store), expected, "{step}, then {next}");
        }
    }
}
