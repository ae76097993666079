//! Strings that programs pass on: handles, names, and the small text files and links of a store.

use std::{fmt::Display, fs, path::Path, str::FromStr, sync::Arc};

use arrow::array::{Int64Array, RecordBatch};
use coframe::{Error, Handle, Name, SharedMap, Store, StringLayout, map::MapHandle, sync};

use crate::{
    read,
    scratch::{self, Scratch, check_error, link},
};

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _)]).unwrap()
}

fn check<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(check_error).ok()
}

/// Parses a handle; what is accepted survives its own text.
fn parse<T: FromStr<Err = Error> + Display + PartialEq>(text: &str) -> Option<T> {
    let handle: T = check(text.parse())?;
    let again = handle.to_string();
    assert!(again.bytes().all(|byte| byte.is_ascii_graphic()), "{again:?}");
    assert!(again.parse::<T>().expect("its own text") == handle, "{again}");
    Some(handle)
}

/// A handle of a frame, a cell or a dict, of any store, and then of this one, where it is opened.
pub fn handle(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    parse::<Handle>(&text);
    parse::<sync::CellHandle>(&text);
    parse::<MapHandle>(&text);
    scratch::with(|scratch| {
        if !scratch.store.exists("x").unwrap() {
            scratch.store.publish("x", &batch()).unwrap();
        }
        let place = scratch.store.path().display();
        if let Some(handle) = parse::<Handle>(&format!("coframe:{place}/{text}"))
            && let Some(frame) = check(handle.open())
        {
            read::frame(scratch, &frame);
        }
        if let Some(handle) = parse(&format!("coframe-cell:{place}/{text}")) {
            check(sync::Counter::<i64>::from_handle(&handle));
        }
        if let Some(handle) = parse(&format!("coframe-dict:{place}/{text}")) {
            check(SharedMap::<String, u64>::from_handle(&handle));
        }
    });
}

/// Rule N1 of FORMAT.md, once more.
fn is_name(text: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=180).contains(&text.len())
        && is_first(text.as_bytes()[0])
        && text.bytes().all(|byte| is_first(byte) || byte == b'-' || byte == b'.')
}

/// A name in every call that takes one, and as the name of a column and of a layout.
pub fn names(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    scratch::with(|Scratch { store, .. }| {
        let name = check(text.parse::<Name>());
        assert_eq!(name.is_some(), is_name(text), "{text:?}");
        check(text.parse::<StringLayout>());
        let fixed = check(store.open("fixed")).map_or_else(|| store.publish("fixed", &batch()), Ok).unwrap();
        check(fixed.column(text));
        check(fixed.select([text]));
        check(store.open(text));
        check(store.versions(text));
        check(store.remove_cell(text));
        check(store.remove_map(text));
        check(sync::Counter::<i64>::open(store, text));
        if text == "fixed" {
            return;
        }
        if let Some(frame) = check(store.publish(text, &batch())) {
            assert_eq!(frame.path().parent(), Some(store.path()));
            assert_eq!(store.open(text).expect("it was published").num_rows(), 3);
            assert!(store.remove(text).expect("it exists"));
        }
        check(sync::Counter::<i64>::create(store, text));
        assert_eq!(store.remove_cell(text).is_ok(), name.is_some());
    });
}

/// One of the files or links of a store: the first byte selects it, the others are its content.
pub fn state(bytes: &[u8]) {
    let Some((which, content)) = bytes.split_first() else { return };
    scratch::with(|scratch| {
        let path = scratch.outside("state");
        let _ = fs::remove_dir_all(&path);
        let store = Store::open_at(&path).unwrap();
        let frame = store.publish("x", &batch()).unwrap();
        store.publish("x", &batch()).unwrap();
        drop(store);
        if damage(&path, *which, content) {
            use_store(&path);
        }
        // The map of a frame needs neither its name nor its store.
        read::batch(&frame.batches()[0]);
    });
}

fn damage(store: &Path, which: u8, content: &[u8]) -> bool {
    let files = ["store", ".home"];
    let links = ["x.arrow", ".x.others", ".swept", "y.arrow", "d.dict", ".from-x@2.arrow"];
    match usize::from(which) % (files.len() + links.len()) {
        file @ 0..2 => fs::write(store.join(files[file]), content).is_ok(),
        number => match std::str::from_utf8(content) {
            Ok(target) if !target.is_empty() && target.len() < 4_000 && !target.contains('\0') => {
                link(target, &store.join(links[number - files.len()]));
                true
            }
            _ => false,
        },
    }
}

fn use_store(path: &Path) {
    let Some(store) = check(Store::open_existing(path)) else { return };
    for name in ["x", "y"] {
        check(store.open(name));
        check(store.verify(name));
        check(store.versions(name));
    }
    check(store.list());
    check(store.usage());
    check(SharedMap::<String, u64>::open(&store, "d"));
    check(store.publish("y", &batch()));
    if check(store.publish("x", &batch())).is_some() {
        check(store.open("x"));
    }
    check(store.sweep());
    check(store.remove("x"));
}
