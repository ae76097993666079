//! Names, versions, options, sessions, and errors that users are likely to meet.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use coframe::{
    Frame, Handle, Name, OpenOptions, PublishMode, PublishOptions, Store,
    arrow::{
        array::{AsArray, Int64Array, RecordBatch, RecordBatchIterator},
        datatypes::Int64Type,
    },
    polars::prelude::*,
};

use crate::common::{scratch, scratch_in};

pub(crate) fn numbers(values: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(values.to_vec())) as _)]).unwrap()
}

pub(crate) fn values(frame: &Frame) -> Vec<i64> {
    frame.column("x").unwrap().iter().flat_map(|array| array.as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn a_store_on_an_ordinary_disk_works_and_can_be_reopened() {
    let scratch = scratch_in(env!("CARGO_TARGET_TMPDIR"));
    scratch.store.publish("x", &numbers(&[1, 2])).unwrap();
    let again = Store::open_at(scratch.path()).unwrap();
    assert_eq!(values(&again.open("x").unwrap()), [1, 2]);
    again.publish("x", &numbers(&[3])).unwrap();
    assert_eq!(scratch.files(), ["x.arrow", "x@2.arrow"]);
}

#[test]
fn versions_increase_and_are_never_reused_after_a_remove() {
    let scratch = scratch();
    let first = scratch.store.publish("x", &numbers(&[1])).unwrap().version();
    let second = scratch.store.publish("x", &numbers(&[2])).unwrap().version();
    assert!(scratch.store.remove("x").unwrap());
    let third = scratch.store.publish("x", &numbers(&[3])).unwrap().version();
    let other = scratch.store.publish("y", &numbers(&[4])).unwrap().version();
    assert!(first < second && second < third && third < other);
}

#[test]
fn superseded_versions_stay_while_they_are_used_and_are_removed_afterwards() {
    let scratch = scratch();
    let first = scratch.store.publish("x", &numbers(&[1])).unwrap();
    let handle = first.handle();
    let second = scratch.store.publish("x", &numbers(&[2])).unwrap();
    assert_eq!(scratch.store.versions("x").unwrap(), [first.version(), second.version()]);
    assert_eq!(values(&handle.open().unwrap()), [1]);
    drop(first);
    scratch.store.publish("x", &numbers(&[3])).unwrap();
    let error = handle.open().unwrap_err();
    assert!(error.is_superseded());
    let message = error.to_string();
    assert_eq!(message, "`x@1` is superseded: the latest is version 3; open it by name to get the current version");
    assert_eq!(values(&second), [2]);
}

#[test]
fn an_open_version_keeps_its_name_until_its_last_part_is_dropped() {
    let scratch = scratch();
    drop(scratch.store.publish("x", &numbers(&[1, 2])).unwrap());
    let array = scratch.store.open("x").unwrap().slice(1..).unwrap().column("x").unwrap().remove(0);
    scratch.store.publish("x", &numbers(&[3])).unwrap();
    assert_eq!(scratch.store.sweep().unwrap().segments, 0);
    assert_eq!(values(&scratch.store.open_version("x", 1).unwrap()), [1, 2]);
    drop(array);
    assert_eq!(scratch.store.sweep().unwrap().segments, 1);
    assert!(scratch.store.open_version("x", 1).unwrap_err().is_superseded());
}

#[test]
fn keep_is_the_number_of_unused_superseded_versions_that_stay() {
    let scratch = scratch();
    for value in 0..5 {
        scratch.store.publish_with("x", &numbers(&[value]), &PublishOptions::new().keep(2)).unwrap();
    }
    assert_eq!(scratch.store.versions("x").unwrap(), [3, 4, 5]);
    assert_eq!(values(&scratch.store.open_version("x", 4).unwrap()), [3]);
    scratch.store.publish("x", &numbers(&[9])).unwrap();
    assert_eq!(scratch.store.versions("x").unwrap(), [6]);
}

#[test]
fn removed_frames_stay_readable() {
    let scratch = scratch();
    let frame = scratch.store.publish("x", &numbers(&[1, 2, 3])).unwrap();
    let array = frame.column("x").unwrap().remove(0);
    let df = frame.to_polars().unwrap();
    assert!(scratch.store.remove("x").unwrap());
    assert!(!scratch.store.remove("x").unwrap());
    drop((frame, scratch));
    assert_eq!(array.as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    assert_eq!(df.column("x").unwrap().sum_reduce().unwrap().value(), &AnyValue::Int64(6));
}

#[test]
fn a_published_file_is_read_only_and_has_no_writer() {
    let scratch = scratch();
    let _frame = scratch.store.publish("x", &numbers(&[1])).unwrap();
    let mode = fs::metadata(scratch.path().join("x@1.arrow")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o400);
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let held: Vec<_> = open.filter(|path| path.starts_with(scratch.path()) && path.extension().is_some()).collect();
    assert!(held.is_empty(), "descriptors on segments: {held:?}");
}

#[test]
fn compare_and_swap_publishes_only_over_the_expected_version() {
    let scratch = scratch();
    let publish = |mode, value| scratch.store.publish_with("x", &numbers(&[value]), &PublishOptions::new().mode(mode));
    assert!(publish(PublishMode::Update(1), 0).unwrap_err().is_conflict());
    let first = publish(PublishMode::Create, 1).unwrap().version();
    assert!(publish(PublishMode::Create, 2).unwrap_err().is_conflict());
    let second = publish(PublishMode::Update(first), 3).unwrap().version();
    let error = publish(PublishMode::Update(first), 4).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`x` was not published: expected version {first} to be the latest, found version {second}; read it again and retry"
        )
    );
    assert_eq!(values(&scratch.store.open("x").unwrap()), [3]);
    assert_eq!(scratch.files().len(), 2);
}

#[test]
fn everything_that_a_table_can_be_is_published() {
    let scratch = scratch();
    let (one, two) = (numbers(&[1, 2]), numbers(&[3]));
    assert_eq!(values(&scratch.store.publish("a", &one).unwrap()), [1, 2]);
    assert_eq!(values(&scratch.store.publish("b", &[one.clone(), two.clone()][..]).unwrap()), [1, 2, 3]);
    let both = vec![two.clone(), one.clone()];
    assert_eq!(values(&scratch.store.publish("c", &both).unwrap()), [3, 1, 2]);
    assert_eq!(values(&scratch.store.publish("c", both).unwrap()), [3, 1, 2]);
    let reader = RecordBatchIterator::new([Ok(one.clone()), Ok(two.clone())], one.schema());
    assert_eq!(values(&scratch.store.publish("d", reader).unwrap()), [1, 2, 3]);
    let frame = scratch.store.open("d").unwrap();
    assert_eq!(values(&scratch.store.publish("e", frame.reader()).unwrap()), [1, 2, 3]);
    assert!(scratch.store.publish("f", Vec::<RecordBatch>::new()).unwrap_err().is_invalid_argument());
    let mut writer = scratch.store.writer("g", one.schema()).unwrap();
    for _ in 0..3 {
        writer.write(&two).unwrap();
    }
    let error = writer.write(&RecordBatch::try_from_iter([("y", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap());
    assert_eq!(
        error.unwrap_err().to_string(),
        "a batch for `g`: expected column `x` of type Int64, found `y` of type Int64"
    );
    assert_eq!(values(&writer.publish().unwrap()), [3, 3, 3]);
    let names: Vec<String> = scratch.store.list().unwrap().iter().map(|info| info.name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "g"]);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let scratch = scratch();
    let mut writer = scratch.store.writer("x", numbers(&[]).schema()).unwrap();
    writer.write(&numbers(&[1])).unwrap();
    drop(writer);
    assert!(scratch.files().is_empty());
}

#[test]
fn a_reader_that_fails_half_way_publishes_nothing() {
    let scratch = scratch();
    let bad = Err(coframe::arrow::error::ArrowError::ComputeError("the sensor broke".to_owned()));
    let reader = RecordBatchIterator::new([Ok(numbers(&[1])), bad], numbers(&[]).schema());
    let error = scratch.store.publish("x", reader).unwrap_err();
    assert_eq!(format!("{error:?}"), "could not read the next batch of the table: Compute error: the sensor broke");
    assert!(scratch.files().is_empty());
}

#[test]
fn parts_are_selected_sliced_and_split_without_a_copy() {
    let scratch = scratch();
    let df = df!("a" => [1, 2, 3, 4, 5, 6, 7], "b" => ["p", "q", "r", "s", "t", "u", "v"], "c" => [0.5; 7]).unwrap();
    let frame = scratch.store.publish_with("t", &df, &PublishOptions::new().batch_rows(3)).unwrap();
    let parts = frame.split(3);
    assert_eq!(parts.iter().map(Frame::num_rows).collect::<Vec<_>>(), [3, 2, 2]);
    let part = parts[1].select(["b", "a"]).unwrap().slice(1..).unwrap();
    assert_eq!(part.to_polars().unwrap(), df!("b" => ["t"], "a" => [5]).unwrap());
    assert_eq!(part.handle().open().unwrap().to_polars().unwrap(), df!("b" => ["t"], "a" => [5]).unwrap());
    assert!(part.copy_report().unwrap().copied() == 0);
    assert_eq!(frame.split(9).iter().map(Frame::num_rows).sum::<usize>(), 7);
    assert_eq!(frame.split(0).len(), 1);
    let error = frame.slice(3..9).unwrap_err();
    assert_eq!(error.to_string(), "the row range 3..9 of `t`: expected one inside 0..7");
    assert!(frame.select(["d"]).unwrap_err().is_not_found());
    assert!(scratch.store.open_with("t", &OpenOptions::new().columns(["d"])).unwrap_err().is_not_found());
    let none = frame.select(Vec::<&str>::new()).unwrap();
    assert_eq!((none.num_rows(), none.num_columns(), none.handle().open().unwrap().num_rows()), (7, 0, 7));
}

#[test]
fn a_session_ends_with_its_owner_and_its_frames_stay_readable() {
    let scratch = scratch();
    let session = scratch.store.session().unwrap();
    let frame = session.store().publish("part", &numbers(&[7])).unwrap();
    let handle: Handle = frame.handle().to_string().parse().unwrap();
    assert_eq!(values(&handle.open().unwrap()), [7]);
    assert!(!scratch.store.exists("part").unwrap());
    assert_eq!(scratch.store.usage().unwrap().frames, 1);
    scratch.store.sweep().unwrap();
    assert!(session.store().exists("part").unwrap());
    drop(session);
    assert!(handle.open().unwrap_err().is_not_found());
    assert_eq!(values(&frame), [7]);
    assert_eq!(fs::read_dir(scratch.path().join("sessions")).unwrap().count(), 0);
}

#[test]
fn waiting_returns_the_newer_version_to_every_thread_and_gives_up_in_time() {
    let scratch = scratch();
    let start = Instant::now();
    assert_eq!(scratch.store.wait("x", 0, Duration::from_millis(30)).unwrap(), None);
    assert!(start.elapsed() >= Duration::from_millis(30));
    std::thread::scope(|scope| {
        let wait = |name: &'static str| {
            let store = scratch.store.clone();
            scope.spawn(move || store.wait(name, 0, Duration::from_secs(20)).unwrap())
        };
        let waiting = [wait("x"), wait("x"), wait("y"), wait("x")];
        std::thread::sleep(Duration::from_millis(20));
        let x = scratch.store.publish("x", &numbers(&[1])).unwrap().version();
        let y = scratch.store.publish("y", &numbers(&[1])).unwrap().version();
        let found: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(found, [Some(x), Some(x), Some(y), Some(x)]);
    });
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_processes_that_map_a_frame_are_listed() {
    let scratch = scratch();
    scratch.store.publish("x", &numbers(&[1])).unwrap();
    assert_eq!(scratch.store.users("x").unwrap(), []);
    let _frame = scratch.store.open("x").unwrap();
    let users = scratch.store.users("x").unwrap();
    assert_eq!((users.len(), users[0].pid, users[0].version), (1, std::process::id(), 1));
}

#[test]
fn ten_thousand_opens_keep_no_descriptor_and_no_map() {
    let scratch = scratch();
    scratch.store.publish("x", &numbers(&[1])).unwrap();
    let segment = scratch.path().join("x@1.arrow").display().to_string();
    let mapped = || fs::read_to_string("/proc/self/maps").unwrap().matches(&segment).count();
    for _ in 0..10_000 {
        drop(scratch.store.open("x").unwrap());
    }
    assert_eq!(mapped(), 0);
    let many: Vec<Frame> = (0..2_000).map(|_| scratch.store.open("x").unwrap()).collect();
    assert_eq!((many.len(), mapped()), (2_000, 2_000));
}

#[test]
fn errors_of_missing_frames_name_the_frame_and_the_store() {
    let scratch = scratch();
    let error = scratch.store.open("flights").unwrap_err();
    assert!(error.is_not_found());
    let path = scratch.path();
    assert_eq!(
        error.to_string(),
        format!("frame `flights` not found in the store `{}`; publish it first, or list the store", path.display())
    );
    scratch.store.publish("flights", &numbers(&[1])).unwrap();
    assert!(scratch.store.open_version("flights", 9).unwrap_err().is_not_found());
    assert!(scratch.store.open("a/b").unwrap_err().is_invalid_argument());
    let handle = scratch.store.open("flights").unwrap().handle();
    drop(scratch);
    assert!(handle.open().unwrap_err().is_not_found());
}

#[test]
fn a_handle_of_another_store_at_the_same_path_is_superseded() {
    let scratch = scratch();
    let handle = scratch.store.publish("x", &numbers(&[1])).unwrap().handle();
    fs::remove_dir_all(scratch.path()).unwrap();
    Store::open_at(scratch.path()).unwrap().publish("x", &numbers(&[2])).unwrap();
    assert!(handle.open().unwrap_err().is_superseded());
}

#[test]
fn names_of_damaged_frames_are_listed_and_proc_is_read_once_for_all_names() {
    let scratch = scratch();
    let first = scratch.store.publish_with("x", &numbers(&[1]), &PublishOptions::new().keep(1)).unwrap();
    let second = scratch.store.publish_with("x", &numbers(&[2]), &PublishOptions::new().keep(1)).unwrap();
    drop(scratch.store.publish("y", &numbers(&[3])).unwrap());
    let users = scratch.store.all_users_with_pss().unwrap();
    assert_eq!(users.keys().map(Name::as_str).collect::<Vec<_>>(), ["x"]);
    let mapped: Vec<_> = users.values().flatten().map(|user| (user.pid, user.version)).collect();
    assert_eq!(mapped, [first.version(), second.version()].map(|version| (std::process::id(), version)));
    assert!(users.values().flatten().all(|user| user.pss.is_some()));
    assert!(scratch.store.all_users().unwrap().values().flatten().all(|user| user.pss.is_none()));
    assert_eq!(scratch.store.list().unwrap()[0].keep, 1);
    assert_eq!(values(&scratch.store.verify_version("x", 1).unwrap()), [1]);

    let file = scratch.path().join("y@3.arrow");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, b"no frame").unwrap();
    let names: Vec<String> = scratch.store.names().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!((names, scratch.store.list().unwrap().len()), (vec!["x".to_owned(), "y".to_owned()], 1));
    assert_eq!(scratch.store.verify("y").unwrap_err().rule(), Some("S1-magic"));
}

#[test]
fn a_store_that_was_removed_is_not_found_and_what_to_do_is_said() {
    let scratch = scratch();
    scratch.store.publish("x", &numbers(&[1])).unwrap();
    fs::remove_file(scratch.path().join("store")).unwrap();
    for error in [
        scratch.store.remove("x").map(drop).unwrap_err(),
        scratch.store.sweep().map(drop).unwrap_err(),
        scratch.store.publish("x", &numbers(&[2])).map(drop).unwrap_err(),
    ] {
        assert!(error.is_not_found(), "{error}");
        let expected = "; publish a frame to it first, or name another path";
        assert!(
            error.to_string().starts_with("no store found at `") && error.to_string().ends_with(expected),
            "{error}"
        );
    }
}

#[test]
fn the_messages_of_a_segment_end_with_the_end_of_stream_marker() {
    let scratch = scratch();
    let bytes = scratch.store.publish("x", &numbers(&[1, 2])).unwrap().segment_bytes();
    let (rest, tail) = bytes.split_at(bytes.len() - 10);
    let footer = u32::from_le_bytes(tail[..4].try_into().unwrap()) as usize;
    assert!(rest[..rest.len() - footer].ends_with(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]));
}
