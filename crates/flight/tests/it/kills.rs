//! Either side is killed at any moment: nothing is visible, or all of it; and nothing stays.

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coframe::{Frame, Store};
use coframe_flight::{Remote, RemoteOptions, Server, ServerOptions};

use crate::common::{Reaper, child, large, proxy, role, scratch, serve, variable};

const BYTES: usize = 4 << 20;

/// Moments at which each side is killed. `COFRAME_KILLS` sets another number.
fn kills() -> u64 {
    std::env::var("COFRAME_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(200)
}

/// Without the note of where it came from, which a killed puller may not have written.
fn files(here: &crate::scratch::Scratch) -> Vec<String> {
    here.files().into_iter().filter(|file| !file.starts_with(".from-")).collect()
}

/// The first bytes of an interrupted pull, with which the next one goes on.
fn partial(here: &crate::scratch::Scratch, origin: &Frame) -> u64 {
    let partial = here.store.partial_mirror(origin.segment_id().unwrap()).unwrap();
    partial.map_or(0, |partial| partial.len().unwrap())
}

/// Offsets all over a transfer, others in each run.
fn offsets() -> impl Iterator<Item = u64> {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}");
    (0..kills()).map(move |turn| (seed ^ turn).wrapping_mul(0x9E37_79B9_7F4A_7C15) % (BYTES as u64 + 4096))
}

#[test]
fn after_a_puller_was_killed_the_next_one_goes_on_where_it_stopped() {
    const TEST: &str = "kills::after_a_puller_was_killed_the_next_one_goes_on_where_it_stopped";
    if role().is_some() {
        let store = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap();
        let options = RemoteOptions::new().ranges(variable("COFRAME_TEST_RANGES").parse().unwrap()).unwrap();
        Remote::connect_with(variable("COFRAME_TEST_URL"), &options).unwrap().open(&store, "x").unwrap();
        return;
    }
    let there = scratch();
    let origin = large(&there.store, "x", BYTES);
    let server = serve(&there.store);
    let (mut killed, mut finished, mut resumed) = (0, 0, 0);
    // Over one connection, or over several.
    let ranges = [1, 4, 2].into_iter().cycle().zip([1, 1, 3, 4].into_iter().cycle());
    for (offset, (first, second)) in offsets().zip(ranges) {
        let here = scratch();
        // Killed when so many bytes have passed.
        let process = Arc::new(Mutex::new(None::<i32>));
        let (victim, passed) = (process.clone(), AtomicU64::new(0));
        let kill = move |_: u64, bytes: &mut [u8]| {
            if passed.fetch_add(bytes.len() as u64, Ordering::SeqCst) + bytes.len() as u64 > offset
                && let Some(pid) = victim.lock().unwrap().take().and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            true
        };
        let address = proxy(server.address(), Arc::new(kill));
        let mut command = child(TEST, "pull");
        command.env("COFRAME_TEST_STORE", here.path()).env("COFRAME_TEST_URL", format!("http://{address}"));
        command.env("COFRAME_TEST_RANGES", first.to_string());
        let mut child = {
            let mut slot = process.lock().unwrap();
            let child = command.stderr(Stdio::null()).spawn().unwrap();
            *slot = Some(child.id() as i32);
            child
        };
        let status = child.wait().unwrap();
        *process.lock().unwrap() = None;
        match here.store.open("x") {
            Ok(frame) => {
                assert_eq!(frame.segment_bytes(), origin.segment_bytes());
                finished += 1;
            }
            Err(error) => {
                assert!(error.is_not_found() && !status.success(), "{error} {status}");
                killed += 1;
            }
        }
        let (there, before) = (partial(&here, &origin), server.stats());
        let options = RemoteOptions::new().ranges(second).unwrap();
        let frame = Remote::connect_with(server.url(), &options).unwrap().open(&here.store, "x").unwrap();
        assert_eq!(frame.segment_bytes(), origin.segment_bytes());
        let after = server.stats();
        if there > 0 && after.calls > before.calls {
            // No range starts at the first byte again.
            assert_eq!(after.pulls, before.pulls, "{there} of {BYTES} bytes were here");
            resumed += u64::from(there < origin.size_bytes() as u64);
        }
        here.store.sweep().unwrap();
        assert_eq!(files(&here), ["x.arrow", "x@1.arrow"], "at {offset}");
    }
    println!("{killed} killed, {finished} had finished, {resumed} resumed");
    assert!(killed > 0 && resumed > 0);
}

#[test]
fn a_pull_whose_server_is_killed_goes_on_with_the_next_one() {
    const TEST: &str = "kills::a_pull_whose_server_is_killed_goes_on_with_the_next_one";
    if role().is_some() {
        let store = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap();
        let address = variable("COFRAME_TEST_ADDRESS").parse().unwrap();
        // The port of the server before it may be busy for a moment.
        let server = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(5));
            Server::start(&store, &ServerOptions::new().address(address))
        });
        let _server = server.take(2000).find_map(Result::ok).unwrap();
        std::thread::sleep(Duration::from_hours(1));
        return;
    }
    let there = scratch();
    let origin = large(&there.store, "x", BYTES);
    // A free port, for one server after the other.
    let address = serve(&there.store).address();
    let start = || {
        let mut command = child(TEST, "serve");
        command.env("COFRAME_TEST_STORE", there.path()).env("COFRAME_TEST_ADDRESS", address.to_string());
        Reaper(command.stderr(Stdio::null()).spawn().unwrap())
    };
    for offset in offsets() {
        let here = scratch();
        let server = Arc::new(Mutex::new(Some(start())));
        let (passed, restarts) = (Arc::new(AtomicU64::new(0)), server.clone());
        let count = passed.clone();
        let there_path = there.path();
        let kill = move |_: u64, bytes: &mut [u8]| {
            let before = count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            if before <= offset && before + bytes.len() as u64 > offset {
                let mut server = restarts.lock().unwrap();
                drop(server.take());
                let mut command = child(TEST, "serve");
                command.env("COFRAME_TEST_STORE", &there_path).env("COFRAME_TEST_ADDRESS", address.to_string());
                *server = Some(Reaper(command.stderr(Stdio::null()).spawn().unwrap()));
            }
            true
        };
        let proxied = proxy(address, Arc::new(kill));
        let connect = || {
            let options = RemoteOptions::new().retry(Duration::from_mins(1));
            Remote::connect_with(format!("http://{proxied}"), &options)?.open(&here.store, "x")
        };
        // The first bytes, before the pull starts, may be lost as well; then the caller tries again.
        let tries = std::iter::repeat_with(|| {
            let tried = connect();
            if tried.is_err() {
                assert_eq!(here.files(), [""; 0]);
                std::thread::sleep(Duration::from_millis(20));
            }
            tried
        });
        let frame = tries.take(2000).find_map(Result::ok).expect("the server did not come back");
        assert_eq!(frame.segment_bytes(), origin.segment_bytes());
        assert_eq!(files(&here), ["x.arrow", "x@1.arrow"], "at {offset}");
        drop(server.lock().unwrap().take());
    }
    // No server that was killed holds the frame.
    drop(origin);
    there.store.publish("x", &crate::common::batch(1)).unwrap();
    there.store.sweep().unwrap();
    assert_eq!(there.store.versions("x").unwrap().len(), 1);
}
