//! Real processes, killed, stopped, forked, racing and out of space.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};

use coframe::{
    Frame, Handle,
    arrow::array::{ArrayRef, Float64Array, RecordBatch},
    polars::prelude::*,
};

use crate::common::{Reaper, Scratch, child, on_small_file_system, python_with_pyarrow, role, scratch, store_of_test};

/// Enough rows that a torn frame would show.
const ROWS: usize = 10_000;

/// A frame whose every row and column identifies it.
fn marked(mark: i64) -> DataFrame {
    let text = format!("the text of frame number {mark}");
    df!("number" => vec![mark; ROWS], "text" => vec![text.as_str(); ROWS]).unwrap()
}

/// The mark of a frame, all of whose rows must agree.
#[track_caller]
fn mark(frame: &Frame) -> i64 {
    let df = frame.to_polars().unwrap();
    assert_eq!(df.height(), ROWS);
    let numbers = df.column("number").unwrap().i64().unwrap();
    let mark = numbers.get(0).unwrap();
    assert_eq!((numbers.min(), numbers.max()), (Some(mark), Some(mark)));
    let text = format!("the text of frame number {mark}");
    assert!(df.column("text").unwrap().str().unwrap().iter().all(|found| found == Some(text.as_str())));
    mark
}

fn run(scratch: &Scratch, test: &str, role: &str, failpoint: Option<&str>) -> ExitStatus {
    let mut command = child(test, role);
    command.env("COFRAME_STORE", scratch.path());
    if let Some(failpoint) = failpoint {
        command.env("COFRAME_FAILPOINT", failpoint);
    }
    command.status().unwrap()
}

pub(crate) fn start(scratch: &Scratch, test: &str, role: &str, failpoint: &str) -> Reaper {
    let mut command = child(test, role);
    Reaper(command.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", failpoint).spawn().unwrap())
}

/// Waits until a process is stopped (state T), and fails when it ends instead.
pub(crate) fn wait_stopped(pid: u32) {
    let start = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        match status.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]) {
            Some(b'T') => return,
            Some(b'Z') | None => panic!("the process ended and never reached its failpoint"),
            _ => assert!(start.elapsed() < Duration::from_secs(30), "the failpoint never fired"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn signal(pid: u32, signal: i32) {
    // SAFETY: kill(2) takes any numbers; the process is a child of this one that was not waited for.
    assert_eq!(unsafe { libc::kill(i32::try_from(pid).unwrap(), signal) }, 0);
}

/// Versions that each racing publisher makes.
const EACH: i64 = 40;

const STEPS: [&str; 8] =
    ["write", "before-seal", "sealed", "numbered", "recorded", "linked", "before-switch", "switched"];

#[test]
fn a_handle_opens_the_frame_in_another_process() {
    if role().is_some() {
        let handle: Handle = std::env::var("TEST_HANDLE").unwrap().parse().unwrap();
        let frame = handle.open().unwrap();
        assert_eq!((frame.num_rows(), frame.num_columns(), mark(&frame)), (ROWS, 2, 5));
        return;
    }
    let scratch = scratch();
    let frame = scratch.store.publish("x", &marked(5)).unwrap();
    let mut command = child("processes::a_handle_opens_the_frame_in_another_process", "reader");
    assert!(command.env("TEST_HANDLE", frame.handle().to_string()).status().unwrap().success());
}

#[test]
fn a_reader_outlives_publisher_name_and_store() {
    let test = "processes::a_reader_outlives_publisher_name_and_store";
    if role().is_some() {
        store_of_test().publish("x", &marked(7)).unwrap();
        return;
    }
    let scratch = scratch();
    assert!(run(&scratch, test, "publisher", None).success());
    let frame = scratch.store.open("x").unwrap();
    let store = scratch.path();
    drop(scratch);
    assert!(!store.exists());
    assert_eq!(mark(&frame), 7);
}

#[test]
fn a_publish_is_atomic_when_its_process_is_killed_at_any_step() {
    let test = "processes::a_publish_is_atomic_when_its_process_is_killed_at_any_step";
    if role().is_some() {
        store_of_test().publish("x", &marked(2)).unwrap();
        return;
    }
    for step in STEPS {
        let scratch = scratch();
        let first = scratch.store.publish("x", &marked(1)).unwrap().version();
        let status = run(&scratch, test, "publisher", Some(&format!("kill:{step}")));
        assert_eq!(status.signal(), Some(libc::SIGKILL), "the failpoint `{step}` never fired");
        let frame = scratch.store.open("x").unwrap();
        assert_eq!(mark(&frame), if step == "switched" { 2 } else { 1 }, "{step}");
        let versions = scratch.store.versions("x").unwrap();
        assert_eq!(versions.last(), Some(&frame.version()), "{step}");
        assert!(scratch.store.open_version("x", first + 10).is_err());
        drop(frame);
        scratch.store.sweep().unwrap();
        let files = scratch.files();
        assert_eq!(files.len(), 2, "{step}: {files:?}");
        let next = scratch.store.publish("x", &marked(3)).unwrap();
        assert!(next.version() > *versions.last().unwrap(), "{step}");
        assert_eq!(mark(&scratch.store.open("x").unwrap()), 3, "{step}");
        assert_eq!(scratch.files().len(), 2, "{step}: {:?}", scratch.files());
    }
}

#[test]
fn an_orphan_of_a_killed_publisher_never_becomes_a_superseded_version() {
    let test = "processes::a_publish_is_atomic_when_its_process_is_killed_at_any_step";
    let scratch = scratch();
    let keep = || coframe::PublishOptions::new().keep(5);
    scratch.store.publish_with("x", &marked(1), &keep()).unwrap();
    run(&scratch, test, "publisher", Some("kill:linked"));
    scratch.store.publish_with("x", &marked(3), &keep()).unwrap();
    let marks: Vec<i64> = scratch
        .store
        .versions("x")
        .unwrap()
        .into_iter()
        .map(|version| mark(&scratch.store.open_version("x", version).unwrap()))
        .collect();
    assert_eq!(marks, [1, 3]);
}

#[test]
fn a_store_that_is_full_at_any_step_keeps_its_frames() {
    let test = "processes::a_store_that_is_full_at_any_step_keeps_its_frames";
    if role().is_some() {
        let error = store_of_test().publish("x", &marked(2)).unwrap_err();
        assert!(error.is_no_space(), "{error:?}");
        assert!(error.to_string().starts_with("no space left in the store `"), "{error}");
        return;
    }
    for step in STEPS {
        let scratch = scratch();
        scratch.store.publish("x", &marked(1)).unwrap();
        let before = scratch.files();
        let status = run(&scratch, test, "publisher", Some(&format!("full:{step}")));
        assert!(status.success(), "{step}: {status}");
        // The last step comes after the switch: the version exists, and its publisher is warned that it may not be kept.
        let found = mark(&scratch.store.open("x").unwrap());
        if step == "switched" {
            assert_eq!(found, 2);
        } else {
            assert_eq!((found, scratch.files()), (1, before), "{step}");
        }
    }
}

#[test]
fn a_really_full_file_system_is_an_error_and_frees_what_was_written() {
    if role().is_some() {
        let store = store_of_test();
        store.publish("small", &marked(1)).unwrap();
        let before = store.usage().unwrap();
        assert!(before.total < 4 << 20, "the test's own file system is not mounted");
        let big = df!("x" => vec![1.5; 1 << 20]).unwrap();
        let error = store.publish("big", &big).unwrap_err();
        assert!(error.is_no_space(), "{error:?}");
        assert!(error.to_string().contains("--shm-size"), "{error}");
        let after = store.usage().unwrap();
        assert_eq!((after.frames, after.bytes, after.free), (1, before.bytes, before.free));
        assert_eq!(mark(&store.open("small").unwrap()), 1);
        return;
    }
    on_small_file_system("processes::a_really_full_file_system_is_an_error_and_frees_what_was_written", 2);
}

#[test]
fn racing_publishers_lose_no_version_and_the_latest_never_goes_back() {
    let test = "processes::racing_publishers_lose_no_version_and_the_latest_never_goes_back";
    if let Some(role) = role() {
        let base: i64 = role.parse().unwrap();
        let store = store_of_test();
        for i in 0..EACH {
            store.publish_with("x", &marked(base + i), &coframe::PublishOptions::new().keep(1000)).unwrap();
        }
        return;
    }
    let scratch = scratch();
    let mut racers: Vec<Reaper> = ["0", "1000"]
        .map(|role| Reaper(child(test, role).env("COFRAME_STORE", scratch.path()).spawn().unwrap()))
        .into();
    let mut last = 0;
    while racers.iter_mut().any(|racer| racer.0.try_wait().unwrap().is_none()) {
        if let Ok(frame) = scratch.store.open("x") {
            assert!(frame.version() >= last, "the latest went from {last} back to {}", frame.version());
            last = frame.version();
            mark(&frame);
        }
    }
    assert!(racers.iter_mut().all(|racer| racer.0.wait().unwrap().success()));
    let versions = scratch.store.versions("x").unwrap();
    let mut marks: Vec<i64> = versions.iter().map(|v| mark(&scratch.store.open_version("x", *v).unwrap())).collect();
    marks.sort_unstable();
    let expected: Vec<i64> = (0..EACH).chain(1000..1000 + EACH).collect();
    assert_eq!(marks, expected);
}

#[test]
fn readers_killed_while_sweeping_lose_nothing_and_leave_nothing() {
    let test = "processes::readers_killed_while_sweeping_lose_nothing_and_leave_nothing";
    if role().is_some() {
        let store = store_of_test();
        loop {
            let frame = store.open("x").unwrap();
            let before = mark(&frame);
            std::thread::yield_now();
            // Superseded by now, most likely, and swept around; still this frame.
            assert_eq!(mark(&frame), before);
        }
    }
    let scratch = scratch();
    scratch.store.publish("x", &marked(0)).unwrap();
    let spawn = || Reaper(child(test, "reader").env("COFRAME_STORE", scratch.path()).spawn().unwrap());
    let mut readers: Vec<Reaper> = (0..3).map(|_| spawn()).collect();
    let held = scratch.store.open("x").unwrap();
    for i in 1..150 {
        scratch.store.publish("x", &marked(i)).unwrap();
        if i % 10 == 0 {
            let mut reader = std::mem::replace(&mut readers[i as usize / 10 % 3], spawn());
            assert!(reader.0.try_wait().unwrap().is_none(), "a reader failed by itself");
            reader.0.kill().unwrap();
            assert_eq!(reader.0.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
    }
    drop(readers);
    assert_eq!(mark(&held), 0);
    drop(held);
    scratch.store.sweep().unwrap();
    let latest = scratch.store.open("x").unwrap().version();
    assert_eq!(scratch.files(), ["x.arrow".to_owned(), format!("x@{latest}.arrow")]);
}

/// Publishes two versions, so that a sweep has one to remove.
fn with_something_to_sweep() -> Scratch {
    let scratch = scratch();
    let first = scratch.store.publish("x", &marked(1)).unwrap();
    scratch.store.publish("x", &marked(2)).unwrap();
    drop(first);
    scratch
}

#[test]
fn a_stopped_sweeper_or_publisher_hangs_no_reader() {
    let test = "processes::a_stopped_sweeper_or_publisher_hangs_no_reader";
    match role().as_deref() {
        Some("sweeper") => {
            store_of_test().sweep().unwrap();
            return;
        }
        Some(_) => return drop(store_of_test().publish("x", &marked(3)).unwrap()),
        None => {}
    }
    for (role, step, latest) in
        [("sweeper", "sweep-locked", 2), ("publisher", "linked", 2), ("publisher", "switched", 3)]
    {
        let scratch = with_something_to_sweep();
        let stopped = start(&scratch, test, role, &format!("stop:{step}"));
        wait_stopped(stopped.0.id());
        let begin = Instant::now();
        assert_eq!(mark(&scratch.store.open("x").unwrap()), latest, "{step}");
        assert_eq!(scratch.store.list().unwrap().len(), 1, "{step}");
        let old = scratch.store.open_version("x", 1);
        assert!(old.is_ok() || old.unwrap_err().is_busy(), "{step}");
        assert!(scratch.store.wait("x", 0, Duration::ZERO).unwrap().is_some());
        assert!(begin.elapsed() < Duration::from_secs(5), "{step}: a reader hung");
    }
}

#[test]
fn a_slow_sweeper_never_removes_what_was_published_after_a_remove() {
    let test = "processes::a_slow_sweeper_never_removes_what_was_published_after_a_remove";
    if role().is_some() {
        store_of_test().sweep().unwrap();
        return;
    }
    let scratch = with_something_to_sweep();
    let mut sweeper = start(&scratch, test, "sweeper", "stop:sweep-locked");
    wait_stopped(sweeper.0.id());
    // Names change only under the store lock, which the sweeper holds; the error names it.
    let error = scratch.store.remove("x").unwrap_err();
    assert!(error.is_busy(), "{error}");
    let holder = format!("stayed locked by process {} (", sweeper.0.id());
    assert!(error.to_string().contains(&holder), "{error}");
    let store = scratch.store.clone();
    let republish = std::thread::spawn(move || {
        store.remove("x").unwrap();
        store.publish("x", &marked(9)).unwrap().version()
    });
    std::thread::sleep(Duration::from_millis(50));
    signal(sweeper.0.id(), libc::SIGCONT);
    assert!(sweeper.0.wait().unwrap().success());
    let version = republish.join().unwrap();
    assert!(version > 2);
    assert_eq!(mark(&scratch.store.open("x").unwrap()), 9);
}

/// A grandchild whose parent died; ended with the test, however that ends.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        signal(self.0, libc::SIGKILL);
    }
}

#[test]
fn a_forked_child_holds_no_lock_of_its_parent_and_deletes_nothing() {
    let test = "processes::a_forked_child_holds_no_lock_of_its_parent_and_deletes_nothing";
    if role().is_some() {
        let store = store_of_test();
        let session = store.session().unwrap();
        let frame = session.store().publish("part", &marked(4)).unwrap();
        // SAFETY: the child only drops, reads files, sleeps and exits; no lock of another thread is held, since this
        // process runs one test and its harness waits for it.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(session);
            let alive = frame.handle().open().is_ok();
            fs::write(store.path().join(".child"), if alive { "alive" } else { "deleted" }).unwrap();
            std::thread::sleep(Duration::from_mins(1));
            // SAFETY: _exit(2) ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        fs::write(store.path().join(".pid"), pid.to_string()).unwrap();
        // There before it is written.
        while fs::read_to_string(store.path().join(".child")).unwrap_or_default().is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Dies without a word; the child lives on.
        signal(std::process::id(), libc::SIGKILL);
        return;
    }
    let scratch = scratch();
    let status = run(&scratch, test, "owner", None);
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    let child = Orphan(fs::read_to_string(scratch.path().join(".pid")).unwrap().parse().unwrap());
    assert!(Path::new(&format!("/proc/{}", child.0)).exists());
    assert_eq!(fs::read_to_string(scratch.path().join(".child")).unwrap(), "alive");
    assert_eq!(fs::read_dir(scratch.path().join("sessions")).unwrap().count(), 1);
    let swept = scratch.store.sweep().unwrap();
    assert_eq!(swept.sessions, 1, "the child kept the dead owner's session alive");
    assert_eq!(fs::read_dir(scratch.path().join("sessions")).unwrap().count(), 0);
}

#[test]
fn the_session_of_a_killed_owner_is_removed_by_the_next_sweep() {
    let test = "processes::the_session_of_a_killed_owner_is_removed_by_the_next_sweep";
    if role().is_some() {
        let session = store_of_test().session().unwrap();
        let _frame = session.store().publish("part", &marked(4)).unwrap();
        signal(std::process::id(), libc::SIGKILL);
    }
    let scratch = scratch();
    assert_eq!(run(&scratch, test, "owner", None).signal(), Some(libc::SIGKILL));
    assert_eq!(scratch.store.usage().unwrap().frames, 1);
    // A new session sweeps first.
    let session = scratch.store.session().unwrap();
    assert_eq!(scratch.store.usage().unwrap().frames, 0);
    drop(session);
}

#[test]
fn drafts_with_a_hidden_name_publish_too_and_are_swept_when_their_writer_died() {
    let test = "processes::a_publish_is_atomic_when_its_process_is_killed_at_any_step";
    let scratch = scratch();
    scratch.store.publish("x", &marked(1)).unwrap();
    // As on a file system without O_TMPFILE.
    assert!(run(&scratch, test, "publisher", Some("full:no-tmpfile")).success());
    assert_eq!(mark(&scratch.store.open("x").unwrap()), 2);
    assert_eq!(scratch.files(), ["x.arrow", "x@2.arrow"]);
    let status = run(&scratch, test, "publisher", Some("full:no-tmpfile,kill:before-seal"));
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert!(scratch.files()[0].starts_with(".draft-"), "{:?}", scratch.files());
    assert_eq!(scratch.store.sweep().unwrap().segments, 1);
    assert_eq!(scratch.files(), ["x.arrow", "x@2.arrow"]);
}

#[test]
fn waiting_polls_where_the_inotify_instances_are_spent() {
    let test = "processes::waiting_polls_where_the_inotify_instances_are_spent";
    if role().is_some() {
        let store = store_of_test();
        // SAFETY: inotify_init1(2) has no preconditions; the descriptors go with this process.
        while unsafe { libc::inotify_init1(libc::IN_CLOEXEC) } >= 0 {}
        // A descriptor is needed to publish, where it was descriptors that ran out.
        // SAFETY: the descriptor is one of those made above, and nothing else uses it.
        unsafe { libc::close(40) };
        let publisher = store.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            publisher.publish("x", &marked(1)).unwrap().version()
        });
        assert_eq!(store.wait("x", 0, Duration::from_secs(20)).unwrap(), Some(thread.join().unwrap()));
        return;
    }
    let scratch = scratch();
    assert!(run(&scratch, test, "waiter", None).success());
}

#[test]
fn pyarrow_reads_a_frame_by_its_path() {
    let Some(mut python) = python_with_pyarrow() else { return };
    let scratch = scratch();
    let enumeration = DataType::from_frozen_categories(FrozenCategories::new(["lo", "hi"]).unwrap());
    let mut df = df!(
        "i" => [Some(1i64), None, Some(3)],
        "s" => ["a", "a text beyond twelve bytes", "ü"],
        "e" => ["hi", "lo", "hi"],
    )
    .unwrap();
    df.with_column(df.column("e").unwrap().cast(&enumeration).unwrap()).unwrap();
    df.with_column(df.column("i").unwrap().cast(&DataType::Int128).unwrap().with_name("wide".into())).unwrap();
    let _frame = scratch
        .store
        .publish("x", &[df.clone(), df].into_iter().reduce(|a, b| a.vstack(&b).unwrap()).unwrap())
        .unwrap();
    let script = "import sys, pyarrow as pa\n\
        table = pa.ipc.open_file(pa.memory_map(sys.argv[1])).read_all()\n\
        table.validate(full=True)\n\
        assert table['i'].to_pylist() == [1, None, 3] * 2, table\n\
        assert table['s'].to_pylist() == ['a', 'a text beyond twelve bytes', 'ü'] * 2, table\n\
        assert table['e'].to_pylist() == ['hi', 'lo', 'hi'] * 2, table\n\
        assert pa.total_allocated_bytes() < 4096, pa.total_allocated_bytes()\n";
    let output = python.args(["-c", script]).arg(scratch.path().join("x.arrow")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_writer_that_failed_refuses_everything_after() {
    if role().is_some() {
        let store = store_of_test();
        store.publish("x", &marked(1)).unwrap();
        let before = store.versions("x").unwrap();
        let column = |values: Vec<f64>| std::sync::Arc::new(Float64Array::from(values)) as ArrayRef;
        let batch = |rows: usize| RecordBatch::try_from_iter([("x", column(vec![1.5; rows]))]).unwrap();
        let mut writer = store.writer("x", batch(1).schema()).unwrap();
        writer.write(&batch(3)).unwrap();
        assert!(writer.write(&batch(1 << 20)).unwrap_err().is_no_space());
        let late = writer.write(&batch(3)).unwrap_err();
        assert!(late.is_invalid_argument() && late.to_string().contains("an earlier write failed"), "{late}");
        assert!(writer.publish().unwrap_err().is_invalid_argument());
        assert_eq!(store.versions("x").unwrap(), before);
        assert_eq!(mark(&store.open("x").unwrap()), 1);
        return;
    }
    on_small_file_system("processes::a_writer_that_failed_refuses_everything_after", 2);
}
