//! Pools: what they give back, with real workers.

use std::{
    collections::HashSet,
    io::Write,
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use coframe::{
    Frame, Handle, Pool,
    polars::prelude::*,
    pool::{Builder, OnFailure, Published},
};

use crate::common::{Scratch, child, is_alive, role, scratch};

/// What a worker of this binary runs: this test, in which `init` never returns.
#[test]
fn worker() {
    coframe::pool::init();
}

pub(crate) fn builder(scratch: &Scratch) -> Builder {
    Pool::builder().worker_test("pool::worker").store(&scratch.store).workers(2)
}

fn double(x: u64) -> u64 {
    2 * x
}

fn sum(part: Frame) -> i64 {
    let df = part.to_polars().unwrap();
    df.column("x").unwrap().i64().unwrap().sum().unwrap_or(0)
}

fn numbers(rows: i64) -> DataFrame {
    df!("x" => (0..rows).collect::<Vec<i64>>()).unwrap()
}

#[test]
fn results_come_in_the_order_of_items() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let expected: Vec<u64> = (0..20_000).map(double).collect();
    assert_eq!(pool.map(double, 0..20_000).unwrap(), expected);
    assert_eq!(pool.map_iter(double, 0..20_000).unwrap().collect::<Result<Vec<_>, _>>().unwrap(), expected);
    let mut unordered = pool.map_unordered(double, 0..20_000).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    unordered.sort_unstable();
    assert!(unordered.iter().enumerate().all(|(i, (index, value))| i == *index && *value == 2 * i as u64));
    assert_eq!(pool.map(double, std::iter::empty()).unwrap(), Vec::<u64>::new());
    assert_eq!(pool.map(|(a, b): (u64, u64)| a + b, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
    assert_eq!(pool.map_reduce(double, 1..=4, 0, |a, b| a + b).unwrap(), 20);
}

#[test]
fn frames_travel_as_handles_anywhere_in_arguments_and_results() {
    fn nested((name, parts): (String, Vec<Option<Frame>>)) -> (String, Vec<Frame>, Handle) {
        let parts: Vec<Frame> = parts.into_iter().flatten().collect();
        let handle = parts[0].handle();
        (name, parts, handle)
    }
    let scratch = scratch();
    let frame = scratch.store.publish("numbers", &numbers(1000)).unwrap();
    let pool = builder(&scratch).build().unwrap();
    assert_eq!(pool.map_rows(sum, &frame, 7).unwrap().iter().sum::<i64>(), 499_500);
    let argument = ("name".to_owned(), vec![Some(frame.slice(..10).unwrap()), None, Some(frame.clone())]);
    let (name, parts, handle) = pool.map(nested, [argument]).unwrap().remove(0);
    assert_eq!((name.as_str(), parts[0].num_rows(), parts[1].num_rows()), ("name", 10, 1000));
    assert_eq!(handle.open().unwrap().num_rows(), 10);
}

#[test]
fn a_large_result_arrives_complete() {
    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| i as u8).collect()
    }
    let scratch = scratch();
    let pool = builder(&scratch).chunk_size(3).build().unwrap();
    let lens = [0, 1, 65_000, 66_000, 3_000_000, 5];
    let results = pool.map(bytes, lens).unwrap();
    assert!(results.iter().zip(lens).all(|(result, len)| *result == bytes(len)));
    // Both directions at once, each more than the sockets hold.
    let echoed = pool.map(|bytes: Vec<u8>| bytes, (0..8).map(|i| bytes(3_000_000 + i))).unwrap();
    assert!(echoed.iter().enumerate().all(|(i, bytes)| bytes.len() == 3_000_000 + i));
}

#[test]
fn a_frame_of_an_unfinished_task_is_not_superseded() {
    fn slow(frame: Frame) -> usize {
        std::thread::sleep(Duration::from_millis(100));
        frame.num_rows()
    }
    fn by_handle(handle: Handle) -> usize {
        handle.open().unwrap().num_rows()
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let frame = scratch.store.publish("x", &numbers(10)).unwrap();
    let first = pool.submit(slow, &frame).unwrap();
    let second = pool.submit(slow, &frame.slice(..5).unwrap()).unwrap();
    let third = pool.submit(by_handle, &frame.handle()).unwrap();
    drop(frame);
    for rows in [1, 2, 3] {
        scratch.store.publish("x", &numbers(rows)).unwrap();
        scratch.store.sweep().unwrap();
    }
    assert_eq!((first.wait().unwrap(), second.wait().unwrap(), third.wait().unwrap()), (10, 5, 10));
    // Nothing holds it any more.
    scratch.store.sweep().unwrap();
    assert_eq!(scratch.store.versions("x").unwrap().len(), 1);
}

#[test]
fn results_that_are_frames_are_freed_when_they_are_dropped() {
    fn publish(rows: i64) -> coframe::Result<Published> {
        assert!(rows > 0, "no rows");
        Published::new(&numbers(rows))
    }
    fn fail_after_publishing(rows: i64) -> Result<Published, String> {
        let published = Published::new(&numbers(rows)).map_err(|e| e.to_string())?;
        Err(format!("{} rows are too many", published.frame().num_rows()))
    }
    fn total(part: Published) -> i64 {
        sum(part.frame().clone())
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let names = || pool.session().list().unwrap().len();
    let parts = pool.try_map(publish, [10, 20, 30]).unwrap();
    assert_eq!(parts.iter().map(|part| part.frame().num_rows()).collect::<Vec<_>>(), [10, 20, 30]);
    assert_eq!(names(), 3);
    let df = parts[2].frame().to_polars().unwrap();
    // A second map reduces them without a copy; they live until their tasks are finished.
    assert_eq!(pool.map(total, parts).unwrap(), [45, 190, 435]);
    assert_eq!(names(), 0);
    assert_eq!(df.height(), 30);
    // Results that are never taken are freed too.
    drop(pool.try_submit(publish, &40).unwrap());
    drop(pool.try_map_iter(publish, [50, 60]).unwrap().next());
    assert!(pool.try_map(publish, [70, -1]).is_err());
    let start = Instant::now();
    while names() > 0 && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(names(), 0);
    let error = pool.try_map(fail_after_publishing, [7]).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "7 rows are too many");
    assert_eq!(names(), 0);
    assert!(Published::new(&numbers(1)).unwrap_err().is_invalid_argument());
}

#[test]
fn an_endless_iterator_is_read_no_further_than_in_flight() {
    let scratch = scratch();
    let pool = builder(&scratch).in_flight(100).build().unwrap();
    let taken = std::cell::Cell::new(0_u64);
    let items = (0_u64..).inspect(|_| taken.set(taken.get() + 1));
    let mut results = pool.map_iter(double, items).unwrap();
    for i in 0..1000 {
        assert_eq!(results.next().unwrap().unwrap(), 2 * i);
        assert!(taken.get() <= i + 101, "{} items taken for {i} results", taken.get());
    }
    drop(results);
    assert_eq!(pool.map(double, [4]).unwrap(), [8]);
}

#[test]
fn a_task_is_waited_for_given_back_or_cancelled() {
    fn sleep(milliseconds: u64) -> u64 {
        std::thread::sleep(Duration::from_millis(milliseconds));
        milliseconds
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let task = pool.submit(sleep, &300).unwrap();
    let Err(task) = task.wait_timeout(Duration::from_millis(10)) else { panic!("it was there at once") };
    assert_eq!(task.wait().unwrap(), 300);
    let before = pool.worker_ids();
    let long = pool.submit(sleep, &600_000).unwrap();
    let waiting = pool.submit(sleep, &600_000).unwrap();
    let last = pool.submit(sleep, &1).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    waiting.cancel();
    long.cancel();
    assert_eq!(last.wait().unwrap(), 1);
    assert_ne!(pool.worker_ids(), before);
}

#[test]
fn the_initializer_runs_once_in_each_worker_and_workers_are_replaced_after_their_tasks() {
    static BASE: OnceLock<u64> = OnceLock::new();
    static CALLS: AtomicU32 = AtomicU32::new(0);
    fn start(base: u64) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BASE.set(base).unwrap();
    }
    fn add(x: u64) -> (u64, u32, u32) {
        (BASE.get().unwrap() + x, std::process::id(), CALLS.load(Ordering::Relaxed))
    }
    let scratch = scratch();
    let pool = builder(&scratch).initializer(start, &1000).max_tasks_per_worker(5).build().unwrap();
    let results = pool.map(add, 0..40).unwrap();
    assert!(results.iter().enumerate().all(|(i, (value, _, calls))| (*value, *calls) == (1000 + i as u64, 1)));
    let workers: HashSet<u32> = results.iter().map(|(_, pid, _)| *pid).collect();
    assert!(workers.len() >= 8, "{} workers for 40 tasks of at most five", workers.len());
}

#[test]
fn workers_have_the_threads_and_the_environment_that_were_set() {
    fn environment(key: String) -> Option<String> {
        std::env::var(key).ok()
    }
    let scratch = scratch();
    let pool = builder(&scratch).inner_threads(3).env("COLOUR", "blue").build().unwrap();
    let keys = ["POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "COLOUR"].map(String::from);
    let values = pool.map(environment, keys).unwrap();
    assert_eq!(values, ["3", "3", "blue"].map(|value| Some(value.to_owned())));
}

#[test]
fn progress_is_reported_up_to_the_end() {
    static LAST: AtomicU32 = AtomicU32::new(0);
    static FAILED: AtomicU32 = AtomicU32::new(0);
    fn odd(x: u32) -> Result<u32, String> {
        if x % 2 == 1 { Ok(x) } else { Err("even".into()) }
    }
    let scratch = scratch();
    let pool = builder(&scratch)
        .on_failure(OnFailure::Finish)
        .on_progress(|progress| {
            assert_eq!(progress.total, Some(10));
            assert!(LAST.swap(progress.done as u32, Ordering::Relaxed) <= progress.done as u32);
            FAILED.store(progress.failed as u32, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let error = pool.try_map(odd, 0..10).unwrap_err();
    assert_eq!(error.task(), Some(0));
    assert_eq!((LAST.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed)), (10, 5));
}

#[test]
fn a_pool_leaves_no_process_and_no_file_behind() {
    fn sleep(seconds: u64) {
        std::thread::sleep(Duration::from_secs(seconds));
    }
    type End = fn(Pool);
    let scratch = scratch();
    let sessions = || std::fs::read_dir(scratch.path().join("sessions")).unwrap().count();
    let ends: [(End, &str); 3] =
        [(drop, "drop"), (|p| p.terminate().unwrap(), "terminate"), (|p| p.join().unwrap(), "join")];
    for (end, name) in ends {
        let pool = builder(&scratch).build().unwrap();
        pool.session().publish("x", &numbers(3)).unwrap();
        let pids = pool.worker_ids();
        assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(*pid)));
        let task = pool.submit(sleep, &if name == "join" { 0 } else { 1000 }).unwrap();
        let start = Instant::now();
        end(pool);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}");
        assert!(pids.iter().all(|pid| !is_alive(*pid)), "{name}");
        assert_eq!(sessions(), 0, "{name}");
        match (name, task.wait()) {
            ("join", result) => result.unwrap(),
            (_, result) => assert!(result.unwrap_err().is_cancelled(), "{name}"),
        }
    }
}

#[test]
fn a_closed_pool_takes_no_more_calls_and_finishes_those_it_has() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let task = pool.submit(double, &4).unwrap();
    pool.close();
    let error = pool.map(double, [1]).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("closed pool"), "{error}");
    assert_eq!(task.wait().unwrap(), 8);
}

/// What `output_comes_in_whole_lines` starts: prints long lines from four workers at once.
#[test]
fn printing_pool() {
    fn print(task: u32) {
        for line in 0..50 {
            let text = format!("task {task} line {line} {}", "x".repeat(20_000));
            // In pieces, as a program does that formats as it prints.
            for piece in text.as_bytes().chunks(7_000) {
                std::io::stdout().write_all(piece).unwrap();
            }
            println!();
        }
        eprint!("last words of {task}");
    }
    if role().as_deref() != Some("print") {
        return;
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(4).chunk_size(1).build().unwrap();
    pool.for_each(print, 0..8).unwrap();
    pool.join().unwrap();
}

#[test]
fn a_caller_may_hold_standard_output_while_it_waits() {
    fn print(task: u32) -> u32 {
        println!("task {task}");
        task
    }
    if role().as_deref() == Some("lock") {
        let scratch = scratch();
        let pool = builder(&scratch).build().unwrap();
        let lock = std::io::stdout().lock();
        assert_eq!(pool.map(print, 0..100).unwrap().len(), 100);
        drop(pool);
        drop(lock);
        return;
    }
    let test = "pool::a_caller_may_hold_standard_output_while_it_waits";
    let output = child(test, "lock").stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("\ntask ").count(), 99, "and one after the harness's");
}

#[test]
fn many_results_that_are_frames_take_no_descriptors() {
    fn publish(x: i64) -> coframe::Result<Published> {
        Published::new(&numbers(x))
    }
    if role().as_deref() == Some("few") {
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: lowers a limit of this process, which was started for that.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let scratch = scratch();
        let pool = builder(&scratch).build().unwrap();
        let parts = pool.try_map(publish, 1..=200).unwrap();
        assert_eq!(parts.iter().map(|part| part.frame().num_rows()).sum::<usize>(), 20_100);
        drop(parts);
        assert_eq!(pool.session().list().unwrap().len(), 0);
        return;
    }
    let output = child("pool::many_results_that_are_frames_take_no_descriptors", "few").output().unwrap();
    assert!(output.status.success());
}

#[test]
fn results_do_not_wait_for_a_slow_iterator() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let pulled = std::cell::Cell::new(0);
    let items = (0..200_u64).inspect(|_| {
        std::thread::sleep(Duration::from_millis(5));
        pulled.set(pulled.get() + 1);
    });
    let mut results = pool.map_iter(double, items).unwrap();
    for i in 0..10 {
        assert_eq!(results.next().unwrap().unwrap(), 2 * i);
    }
    assert!(pulled.get() < 100, "{} items pulled for 10 results", pulled.get());
}

#[test]
fn a_pool_that_is_closed_meanwhile_finishes_a_long_call() {
    let scratch = scratch();
    let pool = builder(&scratch).in_flight(50).build().unwrap();
    let mut results = pool.map_iter(double, 0..5000).unwrap();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    pool.close();
    assert_eq!(results.map(Result::unwrap).count(), 4999);
    assert!(pool.submit(double, &1).is_err());
}

#[test]
fn output_comes_in_whole_lines() {
    let mut command = child("pool::printing_pool", "print");
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    // The harness prints "test pool::printing_pool ... " without a line end before the first.
    let lines: Vec<&str> = stdout.lines().filter_map(|line| Some(&line[line.find("task ")?..])).collect();
    let whole = |line: &&str| line.ends_with(&"x".repeat(20_000)) && line.matches("task").count() == 1;
    assert_eq!(lines.iter().filter(|line| whole(line)).count(), 400);
    let numbered: HashSet<_> = lines.iter().map(|line| line.split_once(" x").unwrap().0).collect();
    assert_eq!(numbered.len(), 400);
    assert_eq!(String::from_utf8(output.stderr).unwrap().matches("last words of ").count(), 8);
}

#[test]
fn a_program_that_was_rebuilt_keeps_its_workers() {
    if role().as_deref() == Some("deleted") {
        let this = std::env::current_exe().unwrap();
        std::fs::remove_file(&this).unwrap();
        std::fs::write(&this, "another program").unwrap();
        let scratch = scratch();
        let pool = builder(&scratch).build().unwrap();
        assert_eq!(pool.map(double, [3]).unwrap(), [6]);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["--exact", "pool::a_program_that_was_rebuilt_keeps_its_workers", "--nocapture"]);
    let output = command.env("COFRAME_TEST_ROLE", "deleted").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
