//! What a dict records about itself, its entries, and its gate. LMDB's own pages stay: only LMDB reads them.
//!
//! An input is the number of edits of the gate and the length of the description, then both, and then keys and values.

use std::{cell::OnceCell, fs, path::PathBuf};

use coframe::{Error, SharedMap};
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, types::Bytes};

use crate::{
    cell::edit,
    scratch::{self, Scratch, check_error},
};

const NAME: &str = "d";

fn check<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(check_error).ok()
}

/// The files of a dict, and the bytes of its gate when it was new.
struct Files {
    data: PathBuf,
    gate: PathBuf,
    pristine: Vec<u8>,
}

thread_local! {
    static FILES: OnceCell<Files> = const { OnceCell::new() };
}

fn create(scratch: &Scratch) -> Files {
    drop(SharedMap::<String, u64>::create(&scratch.store, NAME).expect("a new dict"));
    let data = scratch.inside(fs::read_link(scratch.inside("d.dict")).unwrap().to_str().unwrap());
    let gate = PathBuf::from(format!("{}-gate", data.display()));
    // The gate appears when the dict is opened.
    drop(SharedMap::<String, u64>::open(&scratch.store, NAME).expect("an existing dict"));
    Files { pristine: fs::read(&gate).unwrap(), data, gate }
}

/// Writes a description and entries as another program could, through LMDB.
fn write(files: &Files, meta: &[u8], mut entries: &[u8]) {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(1 << 30).max_readers(1022).max_dbs(2);
    // SAFETY: the flags are those with which coframe opens the file, and this process has it open once.
    unsafe { options.flags(EnvFlags::NO_SUB_DIR | EnvFlags::NO_SYNC) };
    // SAFETY: no other process has the file.
    let env = unsafe { options.open(&files.data) }.unwrap();
    let txn = env.write_txn().unwrap();
    let committed: heed::Result<_> = env.create_databases_and_commit(txn, |opener, txn| {
        let values = opener.create_database::<Bytes, Bytes>(txn, Some("entries"))?;
        let about = opener.create_database::<Bytes, Bytes>(txn, Some("meta"))?;
        values.clear(txn)?;
        if meta.is_empty() {
            about.clear(txn)?;
        } else {
            about.put(txn, b"coframe", meta)?;
        }
        while let [key, value, rest @ ..] = entries {
            let (key, rest) = rest.split_at(usize::from(*key).min(rest.len()));
            let (value, rest) = rest.split_at(usize::from(*value).min(rest.len()));
            if !key.is_empty() {
                values.put(txn, key, value)?;
            }
            entries = rest;
        }
        Ok(CommitOrAbort::<(), ()>::Commit(()))
    });
    committed.unwrap();
}

/// Opens a dict and reads all that it has.
pub fn map(bytes: &[u8]) {
    let [edits, meta, rest @ ..] = bytes else { return };
    let (edits, rest) = rest.split_at((4 * usize::from(edits % 8)).min(rest.len()));
    let (meta, entries) = rest.split_at(usize::from(*meta).min(rest.len()));
    scratch::with(|scratch| {
        FILES.with(|files| {
            let files = files.get_or_init(|| create(scratch));
            write(files, meta, entries);
            let mut gate = files.pristine.clone();
            edit(&mut gate, edits, &(64..112));
            fs::write(&files.gate, gate).unwrap();
            use_map::<String, u64>(scratch);
            use_map::<(i32, Option<Vec<u8>>), (String, Vec<u16>)>(scratch);
        });
    });
}

fn use_map<K, V>(scratch: &Scratch)
where
    K: serde::Serialize + serde::de::DeserializeOwned,
    V: serde::Serialize + serde::de::DeserializeOwned + Default,
{
    let Some(map) = check(SharedMap::<K, V>::open(&scratch.store, NAME)) else { return };
    check(map.len());
    let snapshot = check(map.snapshot());
    for entry in check(map.iter()).into_iter().flatten().take(1_000) {
        if let Some((key, _)) = check(entry) {
            check(map.get(&key));
            check(map.put(&key, &V::default()));
            check(map.delete(&key));
        }
    }
    for key in check(map.keys()).into_iter().flatten().take(1_000) {
        check(key);
    }
    drop(snapshot.map(|it| (check(it.first_key_value()), check(it.last_key_value()))));
    check(map.clear());
}
