//! Stores, links and files that are refused, because others could write to them or they are not a store.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use coframe::{OpenOptions, SharedMap, Store};

use crate::{
    common::{Scratch, scratch},
    store::{numbers, values},
};

#[test]
fn a_directory_of_other_things_is_refused_and_stays_as_it_was() {
    let scratch = scratch();
    for (name, is_directory) in [("photos", true), ("notes.txt", false), ("sessions", false)] {
        let path = scratch.path().with_file_name(format!("other-{name}"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let entry = path.join(name);
        if is_directory {
            fs::create_dir(&entry).unwrap();
        } else {
            fs::write(&entry, "x").unwrap();
        }
        let error = Store::open_at(&path).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains(name), "{error}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }
}

#[test]
fn every_file_of_a_store_is_its_owners_alone() {
    let scratch = scratch();
    let _frame = scratch.store.publish("x", &numbers(&[1])).unwrap();
    let _counter = coframe::sync::Counter::<u64>::create(&scratch.store, "c").unwrap();
    let dict = SharedMap::<u8, u8>::create(&scratch.store, "d").unwrap();
    dict.insert(&1, &1).unwrap();
    let mut files = 0;
    for entry in fs::read_dir(scratch.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let (mode, name) = (entry.metadata().unwrap().permissions().mode() & 0o777, entry.file_name());
            let segment = entry.path().extension().is_some_and(|extension| extension == "arrow");
            assert_eq!(mode, if segment { 0o400 } else { 0o600 }, "{}: {mode:o}", name.display());
            files += 1;
        }
    }
    assert!(files >= 6, "{files}");
}

#[test]
fn directories_that_others_own_or_can_write_to_are_refused() {
    let scratch = scratch();
    let path = scratch.path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Store::open_at(&path).unwrap_err();
    assert!(error.is_untrusted());
    assert_eq!(
        error.to_string(),
        format!(
            "the directory `{}` is refused as a store: its mode is 0777, which lets others write; expected 0700; \
             set COFRAME_STORE to a directory that you own, or correct its owner and mode",
            path.display()
        )
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();

    let link = path.with_file_name("link");
    symlink(&path, &link).unwrap();
    assert_eq!(Store::open_at(&link).unwrap().path(), path, "a link of this user is followed");
    fs::write(path.with_file_name("file"), "").unwrap();
    assert!(Store::open_at(path.with_file_name("file")).unwrap_err().is_untrusted());

    // Only root can give a directory away; other users have another user's /usr already.
    let foreign = path.with_file_name("foreign");
    fs::create_dir(&foreign).unwrap();
    let given = std::os::unix::fs::chown(&foreign, Some(65_534), None).is_ok();
    let error = Store::open_at(if given { foreign } else { "/usr".into() }).unwrap_err();
    assert!(error.is_untrusted() && error.to_string().contains("it belongs to user"), "{error}");
}

#[test]
fn only_a_promise_of_the_caller_opens_a_store_that_others_can_write_to() {
    let scratch = scratch();
    let handle = scratch.store.publish("x", &numbers(&[1])).unwrap().handle();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(Store::open_at(scratch.path()).unwrap_err().is_untrusted() && handle.open().unwrap_err().is_untrusted());
    // SAFETY: the directory is this test's, in one that no other user can enter.
    let store = unsafe { Store::open_at_trusting_writers(scratch.path()) }.unwrap();
    assert_eq!(values(&store.open_handle(&handle, &OpenOptions::new()).unwrap()), [1]);
    assert_eq!(values(&store.publish("x", &numbers(&[2])).unwrap()), [2]);
}

#[test]
fn a_segment_that_others_can_write_to_is_refused() {
    let scratch = scratch();
    scratch.store.publish("x", &numbers(&[1])).unwrap();
    fs::set_permissions(scratch.path().join("x@1.arrow"), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(scratch.store.open("x").unwrap_err().is_untrusted());
}

#[test]
fn a_directory_with_other_content_is_refused_and_unchanged() {
    let scratch = scratch();
    let other = scratch.path().with_file_name("documents");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.txt"), "Dear").unwrap();
    let error = Store::open_at(&other).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("holds `letter.txt`"), "{error}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
}

#[test]
fn file_systems_that_cannot_hold_a_store_are_refused() {
    // As root /proc/self belongs to this user, and the file system decides; others are refused as strangers.
    let error = Store::open_at("/proc/self/task").unwrap_err();
    assert!(error.is_unsupported() || error.is_untrusted(), "{error}");
    assert!(Store::open_at("/nonexistent/store").unwrap_err().to_string().starts_with("could not make the directory"));
}

#[test]
fn a_link_to_anything_else_is_not_followed() {
    let scratch = scratch();
    scratch.store.publish("x", &numbers(&[1])).unwrap();
    for target in ["/etc/passwd", "../x@1.arrow", "y@1.arrow", "x@01.arrow", "x@1.arrow/.."] {
        let link = scratch.path().join("x.arrow");
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        assert!(scratch.store.open("x").unwrap_err().is_not_found(), "{target} was followed");
    }
}

#[test]
fn a_control_file_that_makes_no_sense_is_corrupt() {
    let scratch = scratch();
    fs::write(scratch.path().join("store"), "coframe store 1\nnext 1\n").unwrap();
    assert!(Store::open_at(scratch.path()).unwrap_err().is_corrupt());
    fs::write(scratch.path().join("store"), "coframe store 2\nid 0\nnext 1\n").unwrap();
    assert!(Store::open_at(scratch.path()).unwrap_err().is_unsupported());
}

#[test]
fn a_link_in_the_place_of_a_dicts_file_is_refused_and_what_it_links_to_is_unchanged() {
    let outside = |scratch: &Scratch, name: &str| {
        let path = scratch.path().with_file_name(name);
        // Longer than the shortest dict.
        fs::write(&path, "Dear".repeat(5_000)).unwrap();
        path
    };
    for suffix in ["", "-lock"] {
        let scratch = scratch();
        drop(SharedMap::<u32, u64>::create(&scratch.store, "d").unwrap());
        let data = fs::read_link(scratch.path().join("d.dict")).unwrap();
        let file = scratch.path().join(format!("{}{suffix}", data.display()));
        // SAFETY: the directory is this test's, in one that no other user can enter.
        let trusting = unsafe { Store::open_at_trusting_writers(scratch.path()) }.unwrap();
        let (hard, soft) = (outside(&scratch, "hard"), outside(&scratch, "soft"));
        fs::remove_file(&file).unwrap();
        fs::hard_link(&hard, &file).unwrap();
        let refused = |store: &Store| SharedMap::<u32, u64>::open(store, "d").unwrap_err();
        for store in [&scratch.store, &trusting] {
            let error = refused(store);
            assert!(error.is_corrupt() && error.to_string().contains("it has 2 names"), "{suffix}: {error}");
        }
        fs::remove_file(&file).unwrap();
        symlink(&soft, &file).unwrap();
        assert!(refused(&scratch.store).is_untrusted(), "{suffix}");
        let error = refused(&trusting);
        assert!(error.is_corrupt() && error.to_string().contains("expected a regular file"), "{suffix}: {error}");
        for path in [hard, soft] {
            assert_eq!(fs::read_to_string(path).unwrap(), "Dear".repeat(5_000), "{suffix}");
        }
    }
}
