//! What is read of a store without opening frames in full: lists, usage, users, and look-ups.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, symlink},
        process::ExitStatusExt,
    },
    process::Command,
    sync::Arc,
    time::Duration,
};

use coframe::{
    PublishOptions, SharedMap,
    arrow::{
        array::{RecordBatch, StringArray},
        ipc::writer::FileWriter,
    },
    sync::Array,
};

use crate::{
    common::{child, role, scratch, store_of_test},
    processes::{signal, start, wait_stopped},
    store::{numbers, values},
};

#[test]
fn a_file_of_another_writer_is_listed_without_reading_its_values() {
    let scratch = scratch();
    let column = Arc::new(StringArray::from(vec!["a long enough string", "another one"])) as _;
    let batch = RecordBatch::try_from_iter([("s", column)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, batch.schema_ref()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let start = bytes.windows(6).position(|window| window == b"a long").unwrap();
    bytes[start] = 0xff;
    fs::write(scratch.path().join("x@1.arrow"), bytes).unwrap();
    symlink("x@1.arrow", scratch.path().join("x.arrow")).unwrap();
    assert!(scratch.store.open("x").unwrap_err().is_corrupt());
    let infos = scratch.store.list().unwrap();
    assert_eq!((infos.len(), infos[0].num_rows, infos[0].num_columns), (1, 2, 1));
}

#[test]
fn a_list_that_fails_for_another_reason_than_a_damaged_file_is_an_error() {
    let test = "lists::a_list_that_fails_for_another_reason_than_a_damaged_file_is_an_error";
    if role().is_some() {
        assert!(store_of_test().list().unwrap_err().is_no_space());
        return;
    }
    let scratch = scratch();
    scratch.store.publish("x", &numbers(&[1])).unwrap();
    let mut command = child(test, "lister");
    command.env("COFRAME_STORE", scratch.path()).env("COFRAME_FAILPOINT", "full:looked-up");
    assert!(command.status().unwrap().success());
    // Damaged files are left out.
    fs::write(scratch.path().join("bad@7.arrow"), "x").unwrap();
    for (link, target) in [("bad.arrow", "bad@7.arrow"), ("loop@8.arrow", "x"), ("loop.arrow", "loop@8.arrow")] {
        symlink(target, scratch.path().join(link)).unwrap();
    }
    assert_eq!(scratch.store.list().unwrap().len(), 1);
    assert_eq!(scratch.store.names().unwrap().len(), 3);
}

#[test]
fn usage_counts_cells_and_dicts_and_their_bytes() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let before = scratch.store.usage().unwrap();
    assert_eq!((before.cells, before.maps, before.shared_bytes), (0, 0, 0));
    let array = Array::<u64>::create(&scratch.store, "a", 1 << 17).unwrap();
    let cells = scratch.store.usage().unwrap();
    assert_eq!((cells.cells, cells.maps), (1, 0));
    assert!((1 << 20..1 << 21).contains(&cells.shared_bytes), "{cells:?}");
    let dict = SharedMap::<u64, Vec<u8>>::create(session.store(), "d").unwrap();
    dict.insert(&1, &vec![1; 1 << 20]).unwrap();
    let all = scratch.store.usage().unwrap();
    assert_eq!((all.cells, all.maps, all.frames, all.segments, all.bytes), (1, 1, 0, 0, 0));
    let grown = all.shared_bytes - cells.shared_bytes;
    assert!((1 << 20..4 << 20).contains(&grown), "{grown}");
    drop((array, dict, session));
    scratch.store.remove_cell("a").unwrap();
    assert_eq!(scratch.store.usage().unwrap().shared_bytes, 0);
}

#[test]
fn a_list_has_the_versions_below_the_latest_whose_files_exist() {
    let scratch = scratch();
    let keep = PublishOptions::new().keep(2);
    let versions: Vec<u64> =
        (0..3).map(|mark| scratch.store.publish_with("x", &numbers(&[mark]), &keep).unwrap().version()).collect();
    // A file that a publisher linked before it died, above the latest version.
    let path = |version| scratch.path().join(format!("x@{version}.arrow"));
    fs::copy(path(versions[2]), path(versions[2] + 7)).unwrap();
    let infos = scratch.store.list().unwrap();
    assert_eq!((infos[0].version, &*infos[0].superseded), (versions[2], &versions[..2]));
    assert_eq!(infos[0].origin, None, "it is not a mirror");
}

#[test]
fn usage_counts_the_bytes_of_all_versions_and_sessions() {
    let scratch = scratch();
    let keep = PublishOptions::new().keep(1);
    let session = scratch.store.session().unwrap();
    let bytes: usize = [10, 20_000]
        .map(|rows| scratch.store.publish_with("x", &numbers(&vec![1; rows]), &keep).unwrap().size_bytes())
        .iter()
        .sum();
    let more = session.store().publish("y", &numbers(&vec![1; 3_000])).unwrap().size_bytes();
    let usage = scratch.store.usage().unwrap();
    assert_eq!((usage.frames, usage.segments, usage.bytes), (2, 3, (bytes + more) as u64));
}

#[test]
fn names_of_dicts_are_in_order() {
    let scratch = scratch();
    // Created in another order, and the file system lists them in another one again.
    let names = ["m", "a", "z", "k", "b", "y", "c"];
    let _dicts = names.map(|name| SharedMap::<u8, u8>::create(&scratch.store, name).unwrap());
    let found: Vec<String> = scratch.store.maps().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["a", "b", "c", "k", "m", "y", "z"]);
}

#[test]
fn the_share_of_a_process_is_that_of_all_its_maps_of_one_version() {
    let scratch = scratch();
    let keep = PublishOptions::new().keep(2);
    let sizes = [100_000, 300_000, 200_000];
    let opened = sizes.map(|rows: usize| {
        let frame = scratch.store.publish_with("x", &numbers(&vec![7; rows]), &keep).unwrap();
        [scratch.store.open_version("x", frame.version()).unwrap(), frame]
    });
    scratch.store.publish("y", &numbers(&vec![1; 50_000])).unwrap();
    let _other = scratch.store.open("y").unwrap();
    // Every page is in both maps, so each map has half of it.
    let sum: i64 = opened.iter().flatten().flat_map(values).sum();
    assert_eq!(sum, 2 * 7 * sizes.iter().sum::<usize>() as i64);
    let users = scratch.store.users("x").unwrap();
    assert_eq!(users.len(), 3);
    for (user, [frame, _]) in users.iter().zip(&opened) {
        let (share, bytes) = (user.pss.unwrap(), frame.size_bytes() as u64);
        assert_eq!(user.version, frame.version());
        // The kernel maps pages around the one that is read, but may leave a few of the first and the last ones.
        assert!((bytes - bytes / 8..bytes + 8192).contains(&share), "{share} of {bytes} bytes");
    }
}

/// On an overlay of two file systems, stat(2) and /proc/PID/maps show different devices, as they do on btrfs.
#[test]
fn users_are_found_where_files_have_other_devices_in_maps() {
    let test = "lists::users_are_found_where_files_have_other_devices_in_maps";
    if role().is_some() {
        let store = store_of_test();
        let frame = store.publish("x", &numbers(&[1])).unwrap();
        let users = store.users("x").unwrap();
        assert_eq!(users.iter().map(|user| user.pid).collect::<Vec<_>>(), [std::process::id()]);
        assert_eq!(store.all_users().unwrap().len(), 1);
        drop(frame);
        assert!(store.users("x").unwrap().is_empty());
        return;
    }
    let lower = tempfile::tempdir().unwrap();
    let mount = tempfile::tempdir().unwrap();
    let test = child(test, "overlay");
    let mut unshare = Command::new("unshare");
    // SAFETY: geteuid(2) has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        unshare.args(["--user", "--map-root-user"]);
    }
    let script = "cd \"$TEST_MOUNT\" && mount -t tmpfs tmpfs . && cd . && cd \"$TEST_MOUNT\" && mkdir upper work all && \
        mount -t overlay overlay -o lowerdir=\"$TEST_LOWER\",upperdir=upper,workdir=work all && exec \"$@\"";
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(test.get_program()).args(test.get_args());
    unshare.env("TEST_MOUNT", mount.path()).env("TEST_LOWER", lower.path()).env("COFRAME_TEST_ROLE", "overlay");
    let output =
        unshare.env("COFRAME_STORE", mount.path().join("all/store")).output().expect("unshare(1) of util-linux");
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

#[test]
fn a_reader_that_meets_a_stopped_sweep_of_an_old_version_opens_the_new_one() {
    let test = "lists::a_reader_that_meets_a_stopped_sweep_of_an_old_version_opens_the_new_one";
    match role().as_deref() {
        Some("reader") => return assert_eq!(values(&store_of_test().open("x").unwrap()), [2]),
        Some(_) => return drop(store_of_test().sweep().unwrap()),
        None => {}
    }
    let scratch = scratch();
    let first = scratch.store.publish("x", &numbers(&[1])).unwrap();
    let mut reader = start(&scratch, test, "reader", "stop:looked-up");
    wait_stopped(reader.0.id());
    scratch.store.publish("x", &numbers(&[2])).unwrap();
    drop(first);
    let sweeper = start(&scratch, test, "sweeper", "stop:sweep-locked");
    wait_stopped(sweeper.0.id());
    // It finds the old version locked, and looks the name up again, which stops it again.
    signal(reader.0.id(), libc::SIGCONT);
    std::thread::sleep(std::time::Duration::from_millis(500));
    wait_stopped(reader.0.id());
    signal(reader.0.id(), libc::SIGCONT);
    let status = reader.0.wait().unwrap();
    assert!(status.success(), "{status}: {:?}", status.signal());
}

#[test]
fn a_wait_that_has_ended_leaves_no_watch_of_its_directory() {
    let scratch = scratch();
    let version = scratch.store.publish("x", &numbers(&[1])).unwrap().version();
    let watched = format!(" ino:{:x} ", fs::metadata(scratch.path()).unwrap().ino());
    let watches = || {
        let files =
            fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
        files
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.contains(&watched))
            .count()
    };
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| scratch.store.wait("x", version, Duration::from_mins(1)).unwrap());
        while watches() == 0 && !waiter.is_finished() {
            std::thread::yield_now();
        }
        let next = scratch.store.publish("x", &numbers(&[2])).unwrap().version();
        assert_eq!(waiter.join().unwrap(), Some(next));
    });
    assert_eq!(watches(), 0);
}
