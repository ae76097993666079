//! How a pool starts and ends: without `init`, with an initializer that fails, joined, forked, killed.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use coframe::Pool;

use crate::{
    common::{Reaper, alone, child, is_alive, role, scratch},
    pool::builder,
    pool_failures::{items, misbehave, wait_until},
};

#[test]
fn a_missing_init_is_reported_and_starts_no_further_processes() {
    let scratch = scratch();
    let start = Instant::now();
    for test in ["pool_lifetime::forgets_init", "no_such_test"] {
        let builder = Pool::builder().worker_test(test).store(&scratch.store).workers(2);
        let error = builder.env("COFRAME_STORE", scratch.path()).build().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("could not start a worker: process "), "{text}");
        assert!(text.contains("before it was ready; call coframe::pool::init() in the first line of main"), "{text}");
    }
    assert!(start.elapsed() < Duration::from_secs(8));
}

/// Acts as a `main` without `init`: it builds a pool, in a worker. It may be killed at any moment, and so creates no
/// scratch directory.
#[test]
fn forgets_init() {
    if std::env::args().any(|argument| argument.starts_with("coframe-worker:")) {
        let store = coframe::Store::open_default().unwrap();
        let error = Pool::builder().worker_test("pool::worker").store(&store).build().unwrap_err();
        assert!(error.to_string().starts_with("a pool inside a worker of another pool"), "{error}");
    }
}

#[test]
fn an_initializer_that_fails_is_reported() {
    fn fail(text: String) {
        panic!("no {text}");
    }
    fn die(_: u32) {
        std::process::exit(9);
    }
    let scratch = scratch();
    let error = builder(&scratch).initializer(fail, &"licence".to_owned()).build().unwrap_err();
    assert!(error.to_string().contains("its initializer panicked at tests/it/pool_lifetime.rs:"), "{error}");
    assert!(error.to_string().ends_with(": no licence; repair the initializer"), "{error}");
    let error = builder(&scratch).initializer(die, &1).build().unwrap_err();
    assert!(error.to_string().contains("exited with code 9 before it finished a task"), "{error}");
}

#[test]
fn an_initializer_that_hangs_ends_with_its_time_limit() {
    fn hang(seconds: u64) {
        std::thread::sleep(Duration::from_secs(seconds));
    }
    fn hang_later(marker: std::path::PathBuf) {
        if marker.exists() {
            hang(600);
        }
    }
    let scratch = scratch();
    let limit = Duration::from_millis(300);
    let error = builder(&scratch).initializer(hang, &600).initializer_timeout(limit).build().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the initializer of process ") && text.contains(" ran for longer than 300ms"), "{text}");
    // Later, the worker is replaced.
    let marker = scratch.path().join("marker");
    let builder = builder(&scratch).workers(1).initializer(hang_later, &marker);
    let pool = builder.initializer_timeout(Duration::from_secs(5)).build().unwrap();
    std::fs::write(&marker, "").unwrap();
    assert!(pool.map(misbehave, items(&["kill"])).is_err());
    std::thread::sleep(Duration::from_millis(200));
    std::fs::remove_file(&marker).unwrap();
    pool.map(misbehave, items(&[""])).unwrap();
}

#[test]
fn workers_are_killed_and_replaced_where_the_program_ignores_its_children() {
    alone("pool_lifetime::workers_are_killed_and_replaced_where_the_program_ignores_its_children", |scratch| {
        // SAFETY: this process was started for this test.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let pool = builder(scratch).workers(1).task_timeout(Duration::from_millis(300)).build().unwrap();
        let workers = pool.worker_ids();
        assert!(pool.map(misbehave, items(&["sleep"])).unwrap_err().is_timed_out());
        let error = pool.map(misbehave, items(&["kill"])).unwrap_err();
        assert!(error.is_worker_lost() && error.to_string().contains("this program ignores SIGCHLD"), "{error}");
        pool.map(misbehave, items(&[""])).unwrap();
        assert!(workers.iter().all(|pid| !is_alive(*pid)));
        pool.join().unwrap();
    });
}

#[test]
fn a_child_that_a_task_forks_does_not_report_for_its_worker() {
    fn fork(x: u32) -> i32 {
        // SAFETY: the child returns into the code of its worker, which ends it.
        let pid = unsafe { libc::fork() };
        assert!(pid != 0 || x != 1, "in the child");
        pid
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let worker = pool.worker_ids();
    let children = pool.map(fork, [0, 1, 2]).unwrap();
    assert!(children.iter().all(|pid| *pid > 0), "{children:?}");
    assert_eq!(pool.worker_ids(), worker);
    pool.join().unwrap();
}

#[test]
fn a_pool_of_one_worker_is_joined_after_a_failed_call_and_a_cancelled_task() {
    let scratch = scratch();
    for replaced in [None, Some(1)] {
        let builder = builder(&scratch).workers(1).task_timeout(Duration::MAX);
        let builder = match replaced {
            Some(n) => builder.max_tasks_per_worker(n),
            None => builder,
        };
        let pool = builder.build().unwrap();
        assert!(pool.map(misbehave, items(&["", "panic", "", "", ""])).unwrap_err().is_panic());
        let running = pool.submit(misbehave, &"sleep".to_owned()).unwrap();
        let waiting = pool.submit(misbehave, &"sleep".to_owned()).unwrap();
        waiting.cancel();
        running.cancel();
        let start = Instant::now();
        pool.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

/// A process with a pool, which passes tasks to its workers and waits.
#[test]
fn pool_process() {
    fn wait(_: u32) {
        std::thread::sleep(Duration::from_mins(10));
    }
    let Some(path) = role().and_then(|role| role.strip_prefix("pool:").map(str::to_owned)) else { return };
    let store = coframe::Store::open_at(path).unwrap();
    let pool = Pool::builder().worker_test("pool::worker").store(&store).workers(3).build().unwrap();
    pool.session().publish("x", &coframe::polars::df!("x" => [1]).unwrap()).unwrap();
    let ids: Vec<String> = pool.worker_ids().iter().map(ToString::to_string).collect();
    println!("\nworkers {}", ids.join(" "));
    let _ = pool.for_each(wait, 0..3);
}

#[test]
fn when_the_process_of_a_pool_dies_its_workers_end_and_nothing_is_left() {
    for (signal, to_group) in [(libc::SIGKILL, false), (libc::SIGINT, true), (libc::SIGTERM, false)] {
        let scratch = scratch();
        let mut command = child("pool_lifetime::pool_process", &format!("pool:{}", scratch.path().display()));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = Reaper(command.stdout(Stdio::piped()).spawn().unwrap());
        let stdout = BufReader::new(process.0.stdout.take().unwrap());
        let line = stdout.lines().map(Result::unwrap).find(|line| line.starts_with("workers ")).unwrap();
        let workers: Vec<u32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
        assert!(workers.len() == 3 && workers.iter().all(|pid| is_alive(*pid)));
        let pid = process.0.id() as i32;
        // SAFETY: kill(2) of a child of this process, or of the process group that it leads.
        unsafe { libc::kill(if to_group { -pid } else { pid }, signal) };
        process.0.wait().unwrap();
        // Within a second, but for a machine that is busy with other things.
        wait_until("the workers' end", Duration::from_secs(5), || workers.iter().all(|pid| !is_alive(*pid)));
        let sessions = std::fs::read_dir(scratch.path().join("sessions")).unwrap().count();
        assert_eq!(sessions, 0, "signal {signal}: the session was swept");
    }
}

#[test]
fn a_forked_child_that_drops_a_pool_ends_nothing() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    // SAFETY: the child only drops a value and leaves; no lock of another thread is needed for either.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = pool.map(misbehave, items(&[""])).is_err_and(|error| error.is_invalid_argument());
        drop(pool);
        if !refused {
            // SAFETY: ends the child, with a code that the parent takes for a failure.
            unsafe { libc::_exit(1) };
        }
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
    assert_eq!(pool.map(misbehave, items(&["", ""])).unwrap().len(), 2);
}
