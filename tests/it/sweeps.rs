//! What sweeps remove, what they skip, and the room that they make.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::SystemTime};

use coframe::{
    MirrorOptions, PublishOptions, Store,
    arrow::array::{ArrayRef, Float64Array, RecordBatch},
};

use crate::{
    common::{on_small_file_system, role, scratch, store_of_test},
    store::numbers,
};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Publishes each name twice, so that a sweep has a version of each to remove.
fn publish_twice(store: &Store, names: &[&str]) {
    let publish =
        |mark| -> Vec<_> { names.iter().map(|name| store.publish(name, &numbers(&[mark])).unwrap()).collect() };
    let first = publish(1);
    publish(2);
    drop(first);
}

#[test]
fn one_bad_entry_does_not_end_a_sweep_and_is_reported() {
    let scratch = scratch();
    let store = &scratch.store;
    drop(store.session().unwrap());
    publish_twice(store, &["a", "b", "c"]);
    // A file among the sessions; a dead session with a directory inside; a latest version that others can write to; a
    // version that is a directory.
    fs::write(scratch.path().join("sessions/notes.txt"), "x").unwrap();
    let dead = scratch.path().join("sessions/0123456789abcdef0123456789abcdef");
    fs::create_dir_all(dead.join("inside")).unwrap();
    set_mode(&dead, 0o700);
    let latest = store.versions("b").unwrap().pop().unwrap();
    set_mode(&scratch.path().join(format!("b@{latest}.arrow")), 0o664);
    fs::create_dir(scratch.path().join("d@999.arrow")).unwrap();

    let swept = store.sweep().unwrap();
    assert_eq!((swept.segments, swept.sessions), (2, 0), "{swept:?}");
    for (name, versions) in [("a", 1), ("b", 2), ("c", 1)] {
        assert_eq!(store.versions(name).unwrap().len(), versions, "{name}");
    }
    for problem in ["notes.txt", "/inside", &format!("b@{latest}.arrow"), "d@999.arrow"] {
        assert!(swept.problems.iter().any(|found| found.contains(problem)), "{problem}: {:?}", swept.problems);
    }
    assert_eq!(swept.problems.len(), 4, "{:?}", swept.problems);
    // The sweep of a publish skips them too.
    let first = store.publish("e", &numbers(&[1])).unwrap().version();
    store.publish("e", &numbers(&[2])).unwrap();
    assert!(!scratch.files().contains(&format!("e@{first}.arrow")));
}

#[test]
fn one_bad_entry_in_a_session_does_not_end_a_sweep_and_is_reported() {
    let scratch = scratch();
    let sessions = ["a", "b"].map(|_| scratch.store.session().unwrap());
    let publish = |mark| sessions.each_ref().map(|session| session.store().publish("x", &numbers(&[mark])).unwrap());
    let first = publish(1);
    publish(2);
    for session in &sessions {
        fs::create_dir(session.path().join("d@999.arrow")).unwrap();
    }
    drop(first);
    let swept = scratch.store.sweep().unwrap();
    assert_eq!((swept.segments, swept.sessions), (2, 0), "{swept:?}");
    assert_eq!(swept.problems.len(), 2, "{:?}", swept.problems);
    for session in &sessions {
        let entry = session.path().join("d@999.arrow").display().to_string();
        assert!(swept.problems.iter().any(|found| found.contains(&entry)), "{entry}: {:?}", swept.problems);
    }
}

#[test]
fn a_sweep_counts_the_bytes_of_sessions() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let frame = session.store().publish("x", &numbers(&[7; 1000])).unwrap();
    let directory = fs::read_dir(scratch.path().join("sessions")).unwrap().next().unwrap().unwrap().path();
    let copy = scratch.path().join("copy");
    // The files of the session, as its owner would leave them at its death.
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let bytes = frame.size_bytes() as u64;
    drop((session, frame));
    fs::rename(copy, &directory).unwrap();
    set_mode(&directory, 0o700);
    let swept = scratch.store.sweep().unwrap();
    assert_eq!((swept.sessions, swept.bytes), (1, bytes), "{swept:?}");
}

#[test]
fn an_old_trial_of_a_killed_command_is_swept() {
    let scratch = scratch();
    let trial = scratch.path().join(".doctor-1234");
    let frame = Store::open_at(&trial).unwrap().publish("trial", &numbers(&[1; 1000])).unwrap();
    scratch.store.sweep().unwrap();
    assert!(trial.join("trial.arrow").exists(), "a young trial was removed");
    let hour_ago = SystemTime::now() - std::time::Duration::from_hours(1);
    let age = || fs::File::open(&trial).unwrap().set_modified(hour_ago).unwrap();
    age();
    scratch.store.sweep().unwrap();
    assert!(trial.join("trial.arrow").exists(), "a trial in use was removed");
    drop(frame);
    age();
    let swept = scratch.store.sweep().unwrap();
    assert!(swept.bytes > 8000 && swept.problems.is_empty(), "{swept:?}");
    assert!(!trial.exists());
}

fn floats(megabytes: usize) -> RecordBatch {
    let values = Float64Array::from(vec![1.5; megabytes << 17]);
    RecordBatch::try_from_iter([("x", std::sync::Arc::new(values) as ArrayRef)]).unwrap()
}

#[test]
fn a_publish_without_room_sweeps_and_tries_again() {
    let test = "sweeps::a_publish_without_room_sweeps_and_tries_again";
    if role().is_none() {
        return on_small_file_system(test, 8);
    }
    let store = store_of_test();
    // Superseded while in use; it is swept only when the store is full.
    let first = store.publish("x", &floats(3)).unwrap();
    store.publish("x", &numbers(&[2])).unwrap();
    let many: Vec<_> = (0..20).map(|i| store.publish(format!("n{i}"), &numbers(&[i])).unwrap()).collect();
    drop(first);
    store.publish("y", &floats(3)).unwrap();
    store.publish("z", &floats(3)).unwrap();
    assert_eq!(store.versions("x").unwrap().len(), 1);
    assert_eq!(many.len() + 3, store.names().unwrap().len());

    // Two frames of 3 MB are left, and nothing to sweep.
    let before = store.usage().unwrap();
    let error = store.publish("big", &floats(5)).unwrap_err();
    assert!(error.is_no_space(), "{error:?}");
    let (mib, text) = (before.free as f64 / f64::from(1 << 20), error.to_string());
    assert!(text.contains("at least 5.0 MiB are needed"), "{text}");
    assert!(text.contains(&format!("{mib:.1} MiB of 8.0 MiB are free")), "{text}");
    let after = store.usage().unwrap();
    assert_eq!((after.segments, after.free), (before.segments, before.free));
}

#[test]
fn a_write_without_room_sweeps_and_continues() {
    let test = "sweeps::a_write_without_room_sweeps_and_continues";
    if role().is_none() {
        return on_small_file_system(test, 8);
    }
    let store = store_of_test();
    let elsewhere = scratch();
    let bytes = elsewhere.store.publish("other", &floats(5)).unwrap().segment_bytes();
    // No publish, which may sweep too, comes between the drop and the write.
    let superseded = || {
        let first = store.publish("x", &floats(5)).unwrap();
        store.publish("x", &numbers(&[2])).unwrap();
        first
    };
    let in_use = superseded();
    let mut writer = store.writer("y", floats(0).schema()).unwrap();
    drop(in_use);
    writer.write(&floats(5)).unwrap();
    drop(writer);

    for at in [0, bytes.len() / 2] {
        let in_use = superseded();
        let length = MirrorOptions::new().length(bytes.len() as u64);
        let mut mirror = store.mirror_with("z", &length).unwrap();
        drop(in_use);
        mirror.write_at(&bytes[at..], at as u64).unwrap();
        mirror.write_at(&bytes[..at], 0).unwrap();
        assert_eq!(mirror.publish().unwrap().num_rows(), floats(5).num_rows());
        store.remove("z").unwrap();
    }
}

#[test]
fn a_cell_without_room_sweeps_and_tries_again() {
    let test = "sweeps::a_cell_without_room_sweeps_and_tries_again";
    if role().is_none() {
        return on_small_file_system(test, 8);
    }
    let store = store_of_test();
    let make = || {
        let first = store.publish("x", &floats(5)).unwrap();
        store.publish_with("x", &numbers(&[2]), &PublishOptions::new()).unwrap();
        drop(first);
    };
    make();
    coframe::sync::Array::<u64>::create(&store, "a", 5 << 17).unwrap();
    assert_eq!(store.versions("x").unwrap().len(), 1);
    store.remove_cell("a").unwrap();
    make();
    coframe::SharedMap::<u64, Vec<u8>>::create(&store, "d").unwrap();
    let error = coframe::sync::Array::<u64>::create(&store, "b", 9 << 17).unwrap_err();
    assert!(error.is_no_space() && error.to_string().contains("at least 9.0 MiB are needed"), "{error:?}");
}
