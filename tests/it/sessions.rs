//! How sessions end: with their owner, at any step, and while other threads work in them.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use coframe::{Store, sync::Counter};

use crate::{
    common::{child, role, scratch, store_of_test},
    store::numbers,
};

/// Names of the directories in `sessions`.
fn sessions(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(store.path().join("sessions")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_session_that_ends_while_a_thread_publishes_into_it_leaves_nothing() {
    let scratch = scratch();
    for round in 0..100 {
        let session = scratch.store.session().unwrap();
        let store = session.store().clone();
        let started = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                loop {
                    let published = store.publish("part", &numbers(&[1]));
                    started.store(true, Ordering::Relaxed);
                    if let Err(error) = published {
                        return error;
                    }
                }
            });
            while !started.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_micros(37 * round));
            drop(session);
            let error = publisher.join().unwrap();
            assert!(error.is_not_found(), "{error:?}");
            assert!(error.to_string().ends_with("has ended; start another one"), "{error}");
        });
        assert_eq!(sessions(&scratch.store), [""; 0], "round {round}");
    }
}

#[test]
fn what_another_process_publishes_into_a_session_outlives_that_process() {
    if let Some(id) = role() {
        Store::open_session(store_of_test().path(), &id).unwrap().publish("part", &numbers(&[7])).unwrap();
        return;
    }
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let mut command =
        child("sessions::what_another_process_publishes_into_a_session_outlives_that_process", session.id());
    assert!(command.env("COFRAME_STORE", scratch.path()).status().unwrap().success());
    let frame = session.store().open("part").unwrap();
    assert_eq!(frame.num_rows(), 1);
    drop(session);
    assert_eq!(sessions(&scratch.store), [""; 0]);
}

#[test]
fn the_id_of_a_session_is_checked() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let path = scratch.store.path().to_owned();
    for id in ["", "..", "../frames", "0123456789abcdef0123456789abcde"] {
        let error = Store::open_session(&path, id).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains("32 hexadecimal digits"), "{error:?}");
    }
    let id = session.id().to_owned();
    drop(session);
    assert!(Store::open_session(&path, &id).unwrap_err().is_not_found());
}

#[test]
fn nothing_can_be_created_in_a_session_that_has_ended() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let store = session.store().clone();
    drop(session);
    let errors = [
        store.publish("x", &numbers(&[1])).unwrap_err(),
        store.writer("x", numbers(&[1]).schema()).unwrap_err(),
        Counter::<u64>::create(&store, "total").unwrap_err(),
        coframe::SharedMap::<u8, u8>::create(&store, "ages").unwrap_err(),
        store.wait("x", 0, Duration::from_mins(10)).unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_not_found() && error.to_string().contains("has ended"), "{error:?}");
    }
    assert_eq!(sessions(&scratch.store), [""; 0]);
}

#[test]
fn a_wait_in_a_session_ends_with_the_session() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let store = session.store().clone();
    let waiter = std::thread::spawn(move || store.wait("x", 0, Duration::from_mins(1)));
    // Long enough that the thread sleeps in most runs; the result is the same if it does not.
    std::thread::sleep(Duration::from_millis(50));
    drop(session);
    let error = waiter.join().unwrap().unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("has ended"), "{error:?}");
}

#[test]
fn a_session_whose_end_is_killed_at_any_step_is_removed_by_the_next_sweep() {
    let test = "sessions::a_session_whose_end_is_killed_at_any_step_is_removed_by_the_next_sweep";
    if role().is_some() {
        let session = store_of_test().session().unwrap();
        let _frames = ["a", "b"].map(|name| session.store().publish(name, &numbers(&[1])).unwrap());
        drop(session);
        return;
    }
    for step in ["session-file", "session-emptied", "session-ended"] {
        let scratch = scratch();
        let mut command = child(test, "owner");
        command.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", format!("kill:{step}"));
        assert_eq!(command.status().unwrap().signal(), Some(libc::SIGKILL), "the failpoint `{step}` never fired");
        assert_eq!(sessions(&scratch.store).len(), 1, "{step}");
        let swept = scratch.store.sweep().unwrap();
        assert_eq!((swept.sessions, swept.problems), (1, Vec::new()), "{step}");
        assert_eq!(sessions(&scratch.store), [""; 0], "{step}");
    }
}

#[test]
fn the_lock_file_of_a_session_is_removed_last() {
    let test = "sessions::a_session_whose_end_is_killed_at_any_step_is_removed_by_the_next_sweep";
    let scratch = scratch();
    let mut command = child(test, "owner");
    command.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", "kill:session-emptied");
    assert_eq!(command.status().unwrap().signal(), Some(libc::SIGKILL));
    let session = scratch.path().join("sessions").join(&sessions(&scratch.store)[0]);
    let files: Vec<_> = fs::read_dir(session).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["owner.lock"]);
}

#[test]
fn a_file_in_the_place_of_the_sessions_is_reported() {
    let scratch = scratch();
    scratch.store.publish("x", &numbers(&[1])).unwrap();
    fs::write(scratch.path().join("sessions"), "x").unwrap();
    assert!(scratch.store.usage().unwrap_err().is_untrusted());
    let problems = scratch.store.sweep().unwrap().problems;
    assert!(problems.iter().any(|found| found.contains("sessions")), "{problems:?}");
}

#[test]
fn a_session_that_was_only_partly_created_is_swept() {
    let scratch = scratch();
    drop(scratch.store.session().unwrap());
    let young = scratch.path().join("sessions").join(".new-0123456789abcdef0123456789abcdef");
    fs::DirBuilder::new().create(&young).unwrap();
    fs::set_permissions(&young, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let swept = scratch.store.sweep().unwrap();
    assert_eq!((swept.sessions, swept.problems), (1, Vec::new()));
    assert!(!young.exists());
}

#[test]
fn a_session_without_a_lock_file_is_dead() {
    let scratch = scratch();
    drop(scratch.store.session().unwrap());
    let session = scratch.path().join("sessions").join("0123456789abcdef0123456789abcdef");
    fs::DirBuilder::new().create(&session).unwrap();
    fs::set_permissions(&session, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(session.join("x@1.arrow"), [0; 1000]).unwrap();
    let swept = scratch.store.sweep().unwrap();
    assert_eq!((swept.sessions, swept.bytes, swept.problems), (1, 1000, Vec::new()));
    assert_eq!(sessions(&scratch.store), [""; 0]);
}

#[test]
fn a_session_whose_end_finds_the_store_locked_gives_its_memory_back_and_is_swept() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    session.store().publish("x", &numbers(&[1])).unwrap();
    let directory = scratch.path().join("sessions").join(&sessions(&scratch.store)[0]);
    let control = fs::File::open(scratch.path().join("store")).unwrap();
    // SAFETY: flock(2) on an open descriptor.
    assert_eq!(unsafe { libc::flock(std::os::fd::AsRawFd::as_raw_fd(&control), libc::LOCK_EX) }, 0);
    drop(session);
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["owner.lock"]);
    drop(control);
    assert_eq!(scratch.store.sweep().unwrap().sessions, 1);
    assert!(!directory.exists());
}
