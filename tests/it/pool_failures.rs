//! What a pool makes of tasks that panic, die, hang or cannot be sent.

use std::{
    collections::HashMap,
    io::Write,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use coframe::{Frame, pool::OnFailure};

use crate::{
    common::{Reaper, child, scratch},
    pool::builder,
};

fn source(error: &coframe::Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

pub(crate) fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < limit, "{what}: not after {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn misbehave(how: String) -> u32 {
    match how.as_str() {
        "panic" => panic!("this is {how}"),
        "overflow" => {
            let index = how.len();
            [1, 2, 3][index]
        }
        "kill" => signal(libc::SIGKILL),
        "segv" => {
            // SAFETY: none: this is the wild read that a worker has to be able to die of.
            unsafe { std::ptr::without_provenance::<u32>(64).read_volatile() }
        }
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "sleep" => {
            std::thread::sleep(Duration::from_mins(10));
            1
        }
        _ => std::process::id(),
    }
}

fn signal(number: i32) -> ! {
    // SAFETY: raise(3) ends this process.
    unsafe { libc::raise(number) };
    std::thread::sleep(Duration::from_secs(20));
    unreachable!()
}

pub(crate) fn items(how: &[&str]) -> Vec<String> {
    how.iter().map(ToString::to_string).collect()
}

#[test]
fn a_panic_is_an_error_with_its_message_and_place_and_the_worker_lives_on() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let before = pool.worker_ids();
    let error = pool.map(misbehave, items(&["", "panic"])).unwrap_err();
    assert!(error.is_panic() && error.task() == Some(1));
    let text = error.to_string();
    assert!(text.starts_with(r#"task 1 (argument "panic") panicked at tests/it/pool_failures.rs:"#), "{text}");
    assert!(text.ends_with(": this is panic"), "{text}");
    let error = pool.map(misbehave, items(&["overflow"])).unwrap_err();
    assert!(error.to_string().ends_with("the len is 3 but the index is 8"), "{error}");
    assert_eq!(pool.worker_ids(), before);
}

#[test]
fn an_error_of_a_task_keeps_its_chain() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no number in the third column")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    fn parse(text: String) -> Result<i32, Outer> {
        text.parse().map_err(Outer)
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let error = pool.try_map(parse, items(&["1", "x"])).unwrap_err();
    assert!(error.is_task_failure() && error.task() == Some(1));
    let expected = r#"task 1 (argument "x") failed: no number in the third column: invalid digit found in string"#;
    assert_eq!(format!("{error:?}"), expected);
}

#[test]
fn a_worker_that_dies_is_an_error_that_names_the_task_and_the_signal_and_others_finish() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    for (how, expected) in [
        ("kill", "was killed by signal 9 (SIGKILL)"),
        ("segv", "was killed by signal 11 (SIGSEGV)"),
        ("abort", "was killed by signal 6 (SIGABRT)"),
        ("exit", "exited with code 3"),
    ] {
        let all = items(&["", "", how, "", "", ""]);
        let results: Vec<_> = pool.map_iter(misbehave, all).unwrap().collect();
        for (index, result) in results.iter().enumerate() {
            assert_eq!(result.is_err(), index == 2, "{how}: {result:?}");
        }
        let error = results[2].as_ref().unwrap_err();
        assert!(error.is_worker_lost() && error.task() == Some(2), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("task 2 (argument {how:?}) lost its worker: process ")), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    wait_until("two workers again", Duration::from_secs(5), || pool.worker_ids().len() == 2);
}

#[test]
fn of_a_chunk_only_the_task_that_died_is_lost() {
    fn die_at_37((task, log): (u32, std::path::PathBuf)) -> u32 {
        let mut log = std::fs::OpenOptions::new().append(true).open(log).unwrap();
        log.write_all(format!("{task}\n").as_bytes()).unwrap();
        if task == 37 { signal(libc::SIGKILL) } else { task }
    }
    let scratch = scratch();
    let log = tempfile::NamedTempFile::new().unwrap();
    let pool = builder(&scratch).workers(1).chunk_size(100).build().unwrap();
    let tasks = (0..100).map(|task| (task, log.path().to_owned()));
    let results: Vec<_> = pool.map_iter(die_at_37, tasks).unwrap().collect();
    for (task, result) in results.iter().enumerate() {
        assert_eq!(result.as_ref().ok().copied(), (task != 37).then_some(task as u32), "{result:?}");
    }
    let mut ran: Vec<u32> = std::fs::read_to_string(log.path()).unwrap().lines().map(|l| l.parse().unwrap()).collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..100).collect::<Vec<u32>>(), "each task ran once");
}

#[test]
fn a_task_whose_worker_died_is_tried_again_as_often_as_allowed() {
    /// Dies as often as there are files to remove.
    fn die_while(directory: std::path::PathBuf) -> u32 {
        match std::fs::read_dir(&directory).unwrap().next() {
            Some(file) => {
                std::fs::remove_file(file.unwrap().path()).unwrap();
                signal(libc::SIGKILL)
            }
            None => 7,
        }
    }
    let scratch = scratch();
    let pool = builder(&scratch).retries(2).build().unwrap();
    for (deaths, succeeds) in [(2, true), (3, false)] {
        let directory = tempfile::tempdir().unwrap();
        for file in 0..deaths {
            std::fs::write(directory.path().join(file.to_string()), "").unwrap();
        }
        let result = pool.map(die_while, [directory.path().to_owned()]);
        assert_eq!(result.is_ok(), succeeds, "{result:?}");
        assert!(result.is_ok_and(|r| r == [7]) == succeeds);
    }
}

#[test]
fn a_task_that_exceeds_its_time_limit_is_killed_and_the_others_continue() {
    let scratch = scratch();
    let pool = builder(&scratch).task_timeout(Duration::from_millis(300)).retries(5).build().unwrap();
    let start = Instant::now();
    let results: Vec<_> = pool.map_iter(misbehave, items(&["", "sleep", "", ""])).unwrap().collect();
    assert!(start.elapsed() < Duration::from_secs(5));
    let error = results[1].as_ref().unwrap_err();
    assert!(error.is_timed_out() && error.task() == Some(1), "{error}");
    assert!(error.to_string().ends_with("ran for longer than 300ms, its time-out, and was killed"), "{error}");
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
}

#[test]
fn the_caller_chooses_whether_other_tasks_finish() {
    fn note((task, log): (u32, std::path::PathBuf)) -> u32 {
        std::thread::sleep(Duration::from_millis(5));
        std::fs::write(log.join(task.to_string()), "").unwrap();
        assert!(task != 3, "three");
        task
    }
    let scratch = scratch();
    for (choice, all) in [(OnFailure::Cancel, false), (OnFailure::Finish, true)] {
        let pool = builder(&scratch).on_failure(choice).build().unwrap();
        let log = tempfile::tempdir().unwrap();
        let error = pool.map(note, (0..200).map(|task| (task, log.path().to_owned()))).unwrap_err();
        assert_eq!((error.is_panic(), error.task()), (true, Some(3)));
        pool.join().unwrap();
        let ran = std::fs::read_dir(log.path()).unwrap().count();
        assert_eq!(ran == 200, all, "{choice:?}: {ran} tasks ran");
    }
}

#[test]
fn what_cannot_be_sent_is_an_error_at_the_call() {
    #[derive(Debug)]
    struct Stubborn;
    impl serde::Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("its rate is negative"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Stubborn {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    fn take(_: Stubborn) {}
    fn give(_: u32) -> Stubborn {
        Stubborn
    }
    /// So many megabytes on the wire.
    #[derive(Debug)]
    struct Blob(usize);
    impl serde::Serialize for Blob {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&vec![0; self.0 << 20])
        }
    }
    impl<'de> serde::Deserialize<'de> for Blob {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let bytes: &[u8] = serde::Deserialize::deserialize(deserializer)?;
            Ok(Self(bytes.len() >> 20))
        }
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let error = pool.map(take, [Stubborn]).unwrap_err();
    let why = "it does not serialise (its rate is negative)";
    assert_eq!(error.to_string(), format!("task 0: its argument cannot be sent: {why}"));
    let error = pool.map(give, [1]).unwrap_err();
    assert_eq!(error.to_string(), format!("task 0 (argument 1): its result cannot be sent: {why}"));
    let error = pool.map_with(|_: &Stubborn, _: u32| (), &Stubborn, [1]).unwrap_err();
    assert!(error.to_string().ends_with(why), "{error}");
    let limit = "cannot be sent: 256 MiB are the limit; publish what is large as a frame and send that";
    let error = pool.map(Blob, [300]).unwrap_err();
    assert_eq!(error.to_string(), format!("task 0 (argument 300): its result {limit}"));
    let error = pool.map(|blob: Blob| blob.0, [Blob(300)]).unwrap_err();
    assert_eq!(error.to_string(), format!("task 0: its argument {limit}"));
    assert_eq!(pool.map(Blob, [100]).unwrap()[0].0, 100);
}

#[test]
fn a_removed_argument_frame_is_an_error_of_the_task() {
    fn rows(frame: Frame) -> usize {
        frame.num_rows()
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let frame = scratch.store.publish("x", &coframe::polars::df!("x" => [1]).unwrap()).unwrap();
    scratch.store.remove("x").unwrap();
    let error = pool.map(rows, [frame]).unwrap_err();
    assert!(error.to_string().contains("its argument cannot be sent: frame `x@1`"), "{error}");
}

#[test]
fn a_task_beyond_the_memory_limit_loses_its_worker_and_frames_do_not_count() {
    fn allocate(megabytes: usize) -> usize {
        let bytes = vec![1_u8; megabytes << 20];
        bytes.iter().map(|byte| usize::from(*byte)).sum()
    }
    fn bytes(frame: Frame) -> usize {
        frame.size_bytes()
    }
    let scratch = scratch();
    let limit = 256 << 20;
    let pool = builder(&scratch).memory_limit(limit).build().unwrap();
    assert_eq!(pool.map(allocate, [16]).unwrap(), [16 << 20]);
    let error = pool.map(allocate, [1024]).unwrap_err();
    assert!(error.is_worker_lost() && error.to_string().contains("SIGABRT"), "{error}");
    let values: Vec<i64> = (0..40_000_000).collect();
    let frame = scratch.store.publish("large", &coframe::polars::df!("x" => values).unwrap()).unwrap();
    let size = frame.size_bytes();
    assert!(size > limit as usize);
    assert_eq!(pool.map(bytes, [frame]).unwrap(), [size]);
}

#[test]
fn an_argument_that_kills_its_worker_before_the_task_starts_is_an_error_and_not_an_endless_loop() {
    let scratch = scratch();
    let pool = builder(&scratch).memory_limit(48 << 20).build().unwrap();
    let arguments = [10_usize, 100 << 20, 20].map(|len| vec![1_u8; len]);
    let results: Vec<_> = pool.map_iter(|bytes: Vec<u8>| bytes.len(), arguments).unwrap().collect();
    assert_eq!(
        results.iter().map(|result| result.as_ref().ok().copied()).collect::<Vec<_>>(),
        [Some(10), None, Some(20)]
    );
    assert!(results[1].as_ref().unwrap_err().is_worker_lost());
}

#[test]
fn an_item_that_cannot_be_sent_fails_alone() {
    fn rows(frame: Frame) -> usize {
        frame.num_rows()
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let frame = scratch.store.publish("x", &coframe::polars::df!("x" => [1, 2]).unwrap()).unwrap();
    let gone = scratch.store.publish("y", &coframe::polars::df!("x" => [1]).unwrap()).unwrap();
    scratch.store.remove("y").unwrap();
    let results: Vec<_> = pool.map_iter(rows, [frame.clone(), gone, frame]).unwrap().map(Result::ok).collect();
    assert_eq!(results, [Some(2), None, Some(2)]);
}

#[test]
fn a_worker_that_is_killed_while_it_is_idle_is_replaced() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let before = pool.worker_ids();
    for pid in &before {
        // SAFETY: kill(2) of a child of this process.
        unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
    }
    wait_until("new workers", Duration::from_secs(5), || {
        let now = pool.worker_ids();
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    });
    assert_eq!(pool.map(misbehave, items(&["", ""])).unwrap().len(), 2);
}

#[test]
fn of_ten_thousand_tasks_whose_workers_are_killed_at_random_each_ends_once() {
    fn run((task, log): (u32, std::path::PathBuf)) -> u32 {
        let mut log = std::fs::OpenOptions::new().append(true).open(log).unwrap();
        log.write_all(format!("{task}\n").as_bytes()).unwrap();
        let mut x = task;
        for _ in 0..20_000 {
            x = std::hint::black_box(x.wrapping_mul(31).wrapping_add(7));
        }
        task
    }
    const TASKS: u32 = 10_000;
    let scratch = scratch();
    for retries in [0, 100] {
        let log = tempfile::NamedTempFile::new().unwrap();
        let pool = builder(&scratch).workers(4).retries(retries).build().unwrap();
        let stop = AtomicBool::new(false);
        let (results, kills) = std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                let (mut kills, mut random) = (0, 12345_u32);
                while !stop.load(Ordering::Relaxed) {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    std::thread::sleep(Duration::from_micros(u64::from(random >> 8) % 60_000));
                    let workers = pool.worker_ids();
                    if let Some(pid) = workers.get(random as usize / 7 % workers.len().max(1)) {
                        // SAFETY: kill(2) of a child of this process: its id is taken off the list before it is waited
                        // for, at worst a moment ago, and ids are not given away again so soon.
                        unsafe { libc::kill(*pid as i32, libc::SIGKILL) };
                        kills += 1;
                    }
                }
                kills
            });
            let items = (0..TASKS).map(|task| (task, log.path().to_owned()));
            let results: Vec<_> = pool.map_iter(run, items).unwrap().collect();
            stop.store(true, Ordering::Relaxed);
            (results, killer.join().unwrap())
        });
        assert!(kills > 10, "only {kills} kills");
        assert_eq!(results.len(), TASKS as usize);
        let mut lost = 0;
        for (task, result) in results.iter().enumerate() {
            match result {
                Ok(value) => assert_eq!(*value as usize, task),
                Err(error) => {
                    assert!(error.is_worker_lost() && error.task() == Some(task), "{error}");
                    lost += 1;
                }
            }
        }
        let mut runs: HashMap<u32, u32> = HashMap::new();
        for line in std::fs::read_to_string(log.path()).unwrap().lines() {
            *runs.entry(line.parse().unwrap()).or_default() += 1;
        }
        if retries == 0 {
            assert!(runs.values().all(|runs| *runs == 1), "a task ran twice");
            assert!(lost <= kills, "{lost} tasks lost by {kills} kills");
        } else {
            assert_eq!(lost, 0);
            assert_eq!(runs.len(), TASKS as usize);
        }
    }
}

#[test]
fn a_requested_source_reports_what_failed() {
    fn fail(_: u32) -> Result<u32, std::io::Error> {
        std::fs::read("/no/such/file").map(|_| 1)
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let error = pool.try_submit(fail, &1).unwrap().wait().unwrap_err();
    assert_eq!(source(&error), "No such file or directory (os error 2)");
}

#[test]
fn a_pool_continues_while_its_output_is_not_read() {
    fn print(task: u32) -> u32 {
        for line in 0..10 {
            println!("task {task} line {line} {}", "x".repeat(4_000));
        }
        task
    }
    if let Some(marker) = std::env::var_os("TEST_MARKER") {
        let scratch = scratch();
        let pool = builder(&scratch).build().unwrap();
        // Five times what the pipe holds.
        assert_eq!(pool.map(print, 0..8).unwrap(), (0..8).collect::<Vec<_>>());
        std::fs::write(marker, "").unwrap();
        // All of it is written before the pool ends.
        pool.join().unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("marker");
    let mut command = child("pool_failures::a_pool_continues_while_its_output_is_not_read", "print");
    let mut process = Reaper(command.env("TEST_MARKER", &marker).stdout(Stdio::piped()).spawn().unwrap());
    wait_until("results", Duration::from_secs(30), || marker.exists());
    let mut output = String::new();
    std::io::Read::read_to_string(&mut process.0.stdout.take().unwrap(), &mut output).unwrap();
    assert!(process.0.wait().unwrap().success());
    assert_eq!(output.lines().filter(|line| line.contains("task ") && line.ends_with(&"x".repeat(4_000))).count(), 80);
}
