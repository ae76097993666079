//! Mirrors: the same bytes here, once for all processes.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coframe::Store;
use coframe_flight::{PullOptions, Remote, RemoteOptions, Server, ServerOptions};

use crate::common::{child, large, mixed, proxy, role, scratch, serve, variable};

#[test]
fn a_pulled_frame_has_the_bytes_and_the_id_of_its_origin() {
    let (there, here) = (scratch(), scratch());
    let origin = mixed(&there.store);
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    let copy = remote.open(&here.store, "mixed").unwrap();
    assert_eq!(copy.segment_bytes(), origin.segment_bytes());
    assert_eq!(copy.segment_id(), origin.segment_id());
    assert_eq!(copy.batches(), origin.batches());
    assert_eq!(copy.metadata()["source"], "a test");
    assert!(copy.is_mirror());
    assert_eq!(here.store.open("mixed").unwrap().handle(), copy.handle());
    // It is here now: nothing is pulled again, and nothing else was left.
    assert_eq!(remote.open(&here.store, "mixed").unwrap().handle(), copy.handle());
    assert_eq!(server.stats().pulls, 1);
    assert_eq!(here.files(), [".from-mixed@1.arrow", "mixed.arrow", "mixed@1.arrow"]);
}

#[test]
fn another_version_is_pulled_under_another_name() {
    let (there, here) = (scratch(), scratch());
    let first = mixed(&there.store);
    let second = mixed(&there.store);
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    let options = PullOptions::new().version(first.version()).name("old").unwrap();
    let old = remote.pull_with(&here.store, "mixed", &options).unwrap();
    assert_eq!((old.segment_id(), old.name().as_str()), (first.segment_id(), "old"));
    assert_eq!(remote.open(&here.store, "mixed").unwrap().segment_id(), second.segment_id());
    drop(first);
    there.store.sweep().unwrap();
    let gone = remote.pull_with(&here.store, "mixed", &PullOptions::new().version(1)).unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}

#[test]
fn thirty_two_processes_that_want_a_frame_pull_it_once() {
    const TEST: &str = "pulls::thirty_two_processes_that_want_a_frame_pull_it_once";
    if role().is_some() {
        let store = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap();
        let frame = Remote::connect(variable("COFRAME_TEST_URL")).unwrap().open(&store, "x").unwrap();
        assert_eq!(frame.segment_id(), Some(u128::from_str_radix(&variable("COFRAME_TEST_ID"), 16).unwrap()));
        return;
    }
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 8 << 20);
    let server = serve(&there.store);
    let processes: Vec<_> = (0..32)
        .map(|_| {
            let mut command = child(TEST, "pull");
            command.env("COFRAME_TEST_STORE", here.path()).env("COFRAME_TEST_URL", server.url());
            command.env("COFRAME_TEST_ID", format!("{:032x}", origin.segment_id().unwrap()));
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let stats = server.stats();
    assert_eq!((stats.pulls, stats.ranges), (1, 1));
    assert_eq!(here.store.open("x").unwrap().segment_bytes(), origin.segment_bytes());
    assert_eq!(here.files(), [".from-x@1.arrow", "x.arrow", "x@1.arrow"]);
}

#[test]
fn a_pull_goes_on_where_its_connections_broke() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 8 << 20);
    let server = serve(&there.store);
    let bytes = Arc::new(AtomicU64::new(0));
    let (counted, limit) = (bytes.clone(), 3 << 20);
    // Every connection breaks after three megabytes.
    let address = proxy(
        server.address(),
        Arc::new(move |done, bytes| {
            counted.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            done < limit
        }),
    );
    let remote = Remote::connect(format!("http://{address}")).unwrap();
    let copy = remote.open(&here.store, "x").unwrap();
    assert_eq!(copy.segment_bytes(), origin.segment_bytes());
    let stats = server.stats();
    assert_eq!(stats.pulls, 1, "{stats:?}");
    assert!(stats.ranges >= 3, "{stats:?}");
    // What had arrived was not sent again, apart from what was on its way when the connection broke.
    assert!(bytes.load(Ordering::Relaxed) < 2 * origin.size_bytes() as u64);
}

#[test]
fn a_pull_from_a_server_that_is_gone_is_resumed_by_the_next_one() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 8 << 20);
    let server = serve(&there.store);
    // Connections break after three megabytes, when two messages have arrived whole, however the proxy reads them.
    let passed = AtomicU64::new(0);
    let change = move |_, bytes: &mut [u8]| passed.fetch_add(bytes.len() as u64, Ordering::SeqCst) < 3 << 20;
    let address = proxy(server.address(), Arc::new(change));
    let options = RemoteOptions::new().retry(Duration::from_millis(300));
    let remote = Remote::connect_with(format!("http://{address}"), &options).unwrap();
    let error = remote.open(&here.store, "x").unwrap_err();
    drop(server);
    assert!(error.is_unreachable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("`x@1` of http://127.0.0.1") && text.contains("bytes had arrived"), "{text}");
    // Nothing is visible; a sweep leaves what had arrived, and the next pull goes on with it.
    assert!(here.store.names().unwrap().is_empty());
    here.store.sweep().unwrap();
    let files = here.files();
    assert!(files.len() == 1 && files[0].ends_with(".partial"), "{files:?}, {text}");
    let arrived = std::fs::metadata(here.path().join(&files[0])).unwrap().len();
    assert!(arrived > 0, "{text}");
    let server = serve(&there.store);
    let copy = Remote::connect(server.url()).unwrap().open(&here.store, "x").unwrap();
    assert_eq!(copy.segment_bytes(), origin.segment_bytes());
    let stats = server.stats();
    assert!(stats.pulls == 0 && stats.bytes < origin.size_bytes() as u64 - arrived + 4096, "{stats:?}");
    assert_eq!(here.files(), [".from-x@1.arrow", "x.arrow", "x@1.arrow"]);
}

#[test]
fn bytes_of_an_earlier_pull_that_are_wrong_or_too_many_are_not_used() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 1 << 20);
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    let start = || {
        let turn = here.store.mirror_turn(origin.segment_id().unwrap(), Duration::ZERO).unwrap();
        turn.resume("x", &coframe::MirrorOptions::new()).unwrap()
    };
    for wrong in [vec![7; 1000], vec![7; 3 << 20]] {
        start().write(&wrong).unwrap();
        assert_eq!(start().written(), wrong.len() as u64);
        let copy = remote.open(&here.store, "x").unwrap();
        assert_eq!(copy.segment_bytes(), origin.segment_bytes());
        drop(copy);
        here.store.remove("x").unwrap();
        here.store.sweep().unwrap();
    }
    // An old file, and one that was published before its second name was removed, are swept.
    let file = here.path().join(format!(".draft-{:032x}.partial", origin.segment_id().unwrap()));
    start().write(&origin.segment_bytes()).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_mins(11);
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
    here.store.sweep().unwrap();
    assert!(!file.exists());
    start().write(&origin.segment_bytes()).unwrap();
    std::fs::hard_link(&file, here.path().parent().unwrap().join("published")).unwrap();
    here.store.sweep().unwrap();
    assert!(!file.exists());
}

#[test]
fn the_bytes_of_a_puller_that_was_killed_while_it_published_are_used() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 1 << 20);
    let server = serve(&there.store);
    let id = origin.segment_id().unwrap();
    let turn = here.store.mirror_turn(id, Duration::ZERO).unwrap();
    turn.resume("x", &coframe::MirrorOptions::new()).unwrap().write(&origin.segment_bytes()).unwrap();
    // It had sealed the file.
    let file = here.path().join(format!(".draft-{id:032x}.partial"));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o1400)).unwrap();
    let copy = Remote::connect(server.url()).unwrap().open(&here.store, "x").unwrap();
    assert_eq!(copy.segment_bytes(), origin.segment_bytes());
    let stats = server.stats();
    assert!(stats.ranges == 0 && stats.bytes < 4096, "{stats:?}");
    assert_eq!(here.files(), [".from-x@1.arrow", "x.arrow", "x@1.arrow"]);
}

#[test]
fn a_frame_that_was_superseded_meanwhile_is_pulled_to_its_end() {
    let (there, here) = (scratch(), scratch());
    let origin = large(&there.store, "x", 16 << 20);
    let (id, store) = (origin.segment_id(), there.store.clone());
    drop(origin);
    let server = serve(&there.store);
    let published = std::sync::Once::new();
    // The first bytes of the segment arrive, then another version is published and the old one swept.
    let change = move |done: u64, _: &mut [u8]| {
        if done > 1 << 20 {
            published.call_once(|| {
                large(&store, "x", 1 << 10);
                store.sweep().unwrap();
            });
        }
        true
    };
    let address = proxy(server.address(), Arc::new(change));
    let copy = Remote::connect(format!("http://{address}")).unwrap().open(&here.store, "x").unwrap();
    assert_eq!(copy.segment_id(), id);
    assert_ne!(there.store.open("x").unwrap().segment_id(), id);
}

#[test]
fn a_frame_that_does_not_fit_is_refused_before_its_first_byte() {
    const TEST: &str = "pulls::a_frame_that_does_not_fit_is_refused_before_its_first_byte";
    if role().is_some() {
        let store = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap();
        let error = Remote::connect(variable("COFRAME_TEST_URL")).unwrap().open(&store, "x").unwrap_err();
        assert!(error.is_full() && error.to_string().contains("--shm-size"), "{error}");
        return;
    }
    let there = scratch();
    large(&there.store, "x", 8 << 20);
    let server = serve(&there.store);
    // A mount in a private namespace ends with its process; without root, a user namespace allows it.
    let directory = tempfile::tempdir().unwrap();
    let test = child(TEST, "small");
    let mut unshare = std::process::Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=4m tmpfs \"$TEST_MOUNT\" && exec \"$@\"";
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(test.get_program()).args(test.get_args());
    unshare.env("TEST_MOUNT", directory.path()).env("COFRAME_TEST_STORE", directory.path().join("store"));
    unshare.env("COFRAME_TEST_ROLE", "small").env("COFRAME_TEST_URL", server.url());
    let output = unshare.output().expect("unshare(1) of util-linux");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(server.stats().ranges, 0);
}

#[test]
fn a_file_of_another_program_can_be_read_but_not_pulled() {
    let (there, here) = (scratch(), scratch());
    let frame = mixed(&there.store);
    let file = there.path().join("mixed@1.arrow");
    let mut writer = coframe::arrow::ipc::writer::FileWriter::try_new(Vec::new(), frame.schema()).unwrap();
    let batch = frame.batches()[0].clone();
    writer.write(&batch).unwrap();
    drop(frame);
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, writer.into_inner().unwrap()).unwrap();
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    assert_eq!(remote.stat("mixed").unwrap().id, None);
    let (_, batches) = remote.read("mixed", &coframe_flight::ReadOptions::new()).unwrap();
    assert_eq!(batches, [batch]);
    let error = remote.open(&here.store, "mixed").unwrap_err();
    assert!(error.is_invalid_argument(), "{error}");
}

#[test]
fn a_dead_reader_holds_no_frame() {
    use std::io::Write;
    let there = scratch();
    large(&there.store, "x", 64 << 20);
    let options = ServerOptions::new().idle(Duration::from_millis(200));
    let server = Server::start(&there.store, &options).unwrap();
    // A client that reads a little and stops.
    let address = proxy(
        server.address(),
        Arc::new(|done, _| {
            if done > 1 << 20 {
                std::thread::sleep(Duration::from_hours(1));
            }
            true
        }),
    );
    let here = scratch();
    let store = here.store.clone();
    std::thread::spawn(move || {
        let options = RemoteOptions::new().retry(Duration::ZERO).deadline(Duration::from_secs(3));
        Remote::connect_with(format!("http://{address}"), &options).unwrap().open(&store, "x").map(|_| ())
    });
    while server.stats().stalled == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The server lets go of it. This process has it open nowhere else.
    there.store.publish("x", &crate::common::batch(1)).unwrap();
    for _ in 0..500 {
        there.store.sweep().unwrap();
        if there.store.versions("x").unwrap() == [2] {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = std::io::stderr().write_all(format!("{:?}\n", there.files()).as_bytes());
    panic!("the server still holds the frame: {:?}", there.store.versions("x"));
}
