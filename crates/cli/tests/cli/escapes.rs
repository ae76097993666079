//! Data that would control the terminal, through every command.

use std::{
    collections::HashMap,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use coframe::{
    PublishOptions, Store,
    arrow::{
        array::{
            ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
        },
        datatypes::{DataType, Field, Int32Type, Schema},
    },
};

use crate::common::{Reaper, Scratch, scratch};

/// Sets the title, clears the screen (with both introducers), moves to a new line, and writes backwards.
const EVIL: &str = "\u{1b}]0;x\u{7}\u{1b}[2J\u{9b}2J\r\n\t\u{7f}\u{202e}";
/// Fits in the 15 bytes that the kernel keeps of a process name.
const PROCESS: &str = "\u{1b}]0;x\u{7}\u{1b}[2J";

fn batch() -> RecordBatch {
    let rows = 10_000;
    let name = |kind: &str| format!("{kind}{EVIL}");
    let texts: ArrayRef = Arc::new(StringArray::from(vec![EVIL; rows]));
    let categories: DictionaryArray<Int32Type> = vec![EVIL; rows].into_iter().collect();
    let zoned = TimestampMicrosecondArray::from(vec![0; rows]).with_timezone(EVIL);
    let inner = Arc::new(Field::new(name("inner"), DataType::Utf8, true));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(inner, texts.clone())]));
    let columns: Vec<(String, ArrayRef)> = vec![
        (name("text"), texts),
        (name("category"), Arc::new(categories)),
        (name("zoned"), Arc::new(zoned)),
        (name("nested"), nested),
        ("n".to_owned(), Arc::new(Int64Array::from(vec![1; rows]))),
    ];
    let field = |(name, column): &(String, ArrayRef)| Field::new(name, column.data_type().clone(), true);
    let metadata = HashMap::from([(EVIL.to_owned(), EVIL.to_owned())]);
    let schema = Schema::new_with_metadata(columns.iter().map(field).collect::<Vec<_>>(), metadata);
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

/// A process with a name of escapes that maps the frame: it cannot write all of it to a pipe that is not read.
fn reader(scratch: &Scratch, store: &Store) -> Reaper {
    let path = scratch.path(PROCESS);
    symlink(env!("CARGO_BIN_EXE_coframe"), &path).unwrap();
    let mut command = Command::new(path);
    command.args(["export", "t", "-", "--format", "csv", "--columns", &format!("text{EVIL}")]);
    command.env("COFRAME_STORE", store.path()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let reader = Reaper(command.spawn().unwrap());
    let begun = Instant::now();
    while store.users("t").unwrap().iter().all(|user| user.command != PROCESS) {
        let users = store.users("t").unwrap();
        assert!(begun.elapsed() < Duration::from_mins(1), "the reader did not map the frame: {users:?}");
        thread::sleep(Duration::from_millis(10));
    }
    reader
}

fn assert_plain(what: &str, text: &[u8], is_json: bool) {
    let text = str::from_utf8(text).unwrap();
    let controls = |c: char| c.is_control() && c != '\n' || c == '\u{202e}' && !is_json;
    if let Some(at) = text.find(controls) {
        panic!("{what} prints a control character: {:?}", text[..at].lines().next_back());
    }
}

#[test]
fn data_cannot_control_the_terminal_in_any_command() {
    let scratch = scratch();
    let path = scratch.path(&format!("store{EVIL}"));
    let store = Store::open_at(&path).unwrap();
    store.publish_with("t", &batch(), &PublishOptions::new().metadata(EVIL, EVIL)).unwrap();
    let reader = reader(&scratch, &store);
    let csv = scratch.file(&format!("{EVIL}.csv"), format!("n,\"{EVIL}\"\n1,\"{EVIL}\"\n"));
    let broken = scratch.file(&format!("{EVIL}x.csv"), "a\n1,2\n");
    let out = scratch.path(&format!("{EVIL}.parquet"));
    let (out, text, nested) = (out.to_str().unwrap(), format!("text{EVIL}"), format!("nested{EVIL}"));
    let query = format!("select \"text{EVIL}\", \"category{EVIL}\", \"nested{EVIL}\" from t limit 3");
    let unknown = format!("select \"{EVIL}\" from t");
    let commands: &[&[&str]] = &[
        &["ls"],
        &["show", "t"],
        &["head", "t", "--columns", &text],
        &["head", "t", "--columns", &nested],
        &["head", "t"],
        &["head", "t", "--columns", EVIL],
        &["head", "t", "--ndjson", "--columns", &text],
        &["tail", "t", "--columns", &text],
        &["sample", "t", "--columns", &text],
        &["describe", "t"],
        &["sql", &query],
        &["sql", &query, "--ndjson"],
        &["sql", &unknown],
        &["sql", "select * from t"],
        &["verify", "--all"],
        &["doctor"],
        &["top"],
        &["cp", "t", "copy"],
        &["export", "t", out],
        &["export", "t", out],
        &["publish", &csv, "--name", "c", "--metadata", &format!("{EVIL}={EVIL}")],
        &["publish", &csv],
        &["publish", &broken, "--name", "c"],
        &["publish", &format!("/nix{EVIL}")],
        &["head", "c"],
        &["mv", "copy", "moved"],
        &["mv", EVIL, "moved"],
        &["rm", "moved"],
        &["head", "t", EVIL],
        &["head", "t", "--rows", EVIL],
        &[EVIL],
        &["rm", EVIL],
        &["wait", "t"],
        &["watch", "t", "--count", "1"],
        &["sweep"],
        &["adopt"],
    ];
    for args in commands {
        for json in [&[][..], &["--json"]] {
            let mut command = scratch.command(&[args, json].concat());
            let ran = command.env("COFRAME_STORE", &path).env("COLUMNS", "1000").output().unwrap();
            let is_json = !json.is_empty() || args.contains(&"--ndjson");
            assert_plain(&format!("{args:?}"), &ran.stdout, is_json);
            assert_plain(&format!("{args:?}"), &ran.stderr, false);
        }
    }
    let mut show = scratch.command(&["show", "t"]);
    let shown = String::from_utf8(show.env("COFRAME_STORE", &path).output().unwrap().stdout).unwrap();
    for part in ["\\u{1b}]0;x\\u{7}", "\\u{9b}2J\\r\\n\\t\\u{7f}\\u{202e}"] {
        assert!(shown.contains(part), "{shown}");
    }
    drop(reader);
}
