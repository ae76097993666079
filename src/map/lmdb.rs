//! LMDB, through heed: the file of one dict as this process has it open (FORMAT.md, section 10).
#![expect(unsafe_code, reason = "LMDB maps a file that other processes write to")]

use std::path::Path;

use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls, types::Bytes};

use rustix::fs::{FallocateFlags, fallocate};

use crate::{
    error::{Error, Kind, Result},
    store::{MapFiles, Store},
};

/// The reserved addresses, not memory: the size up to which a dict can grow.
const MAP_SIZE: usize = 1 << 40;
/// The number of transactions that can read at the same time, in all processes.
const READERS: u32 = 1022;
/// The length of a lock file with that many slots: 192 bytes of header and first slot, and 64 for each further one.
pub(super) const LOCK_BYTES: u64 = 64 * 1024;
/// LMDB's limit.
pub(super) const MAX_KEY: usize = 511;
/// Two pages of metadata, the least that LMDB's file has.
const LEAST_BYTES: u64 = 8192;

const ENTRIES: &str = "entries";
const META: &str = "meta";
const META_KEY: &[u8] = b"coframe";

pub(super) type Entries = Database<'static, Bytes, Bytes>;

/// An open environment.
pub(super) struct Lmdb {
    env: Env<WithoutTls>,
    pub(super) entries: Entries,
    meta: Entries,
}

impl Lmdb {
    /// Creates the environment of a new dict with `meta` as its description, and closes it.
    pub(super) fn make(store: &Store, files: &MapFiles, meta: &[u8]) -> Result<()> {
        let failed = |e| error(store, files, "make", e);
        let env = environment(store, files)?;
        let txn = env.write_txn().map_err(failed)?;
        env.create_databases_and_commit(txn, |opener, txn| {
            opener.create_database::<Bytes, Bytes>(txn, Some(ENTRIES))?;
            let about = opener.create_database::<Bytes, Bytes>(txn, Some(META))?;
            about.put(txn, META_KEY, meta)?;
            Ok(CommitOrAbort::<(), ()>::Commit(()))
        })
        .map_err(failed)?;
        // Closed here, before the file has its name.
        drop(env);
        Ok(())
    }

    pub(super) fn open(store: &Store, files: &MapFiles) -> Result<Self> {
        let failed = |e| error(store, files, "open", e);
        let path = store.dict_path(files);
        let len = std::fs::metadata(&path).map_err(|e| Error::os("read the size of", &path, e))?.len();
        if len < LEAST_BYTES {
            let detail = format_args!("it has {len} bytes, a dict has at least {LEAST_BYTES}: it was cut short");
            return Err(Error::corrupt(label(store, files), "B1-file", detail));
        }
        let env = environment(store, files)?;
        fill_up(&env, &path, len).map_err(|e| io_error(store, "restore the length of a dict in", e))?;
        env.clear_stale_readers().map_err(failed)?;
        let txn = env.read_txn().map_err(failed)?;
        let opened = env
            .open_databases_and_commit(txn, |opener, txn| {
                let entries = opener.open_database::<Bytes, Bytes>(txn, Some(ENTRIES))?;
                let meta = opener.open_database::<Bytes, Bytes>(txn, Some(META))?;
                Ok(CommitOrAbort::<_, ()>::Commit(entries.zip(meta)))
            })
            .map_err(failed)?;
        let CommitOrAbort::Commit(Some((entries, meta))) = opened else {
            let detail = format_args!("it has no databases `{ENTRIES}` and `{META}`");
            return Err(Error::corrupt(label(store, files), "B2-meta", detail));
        };
        Ok(Self { env, entries, meta })
    }

    /// Returns the description that was passed to `make`.
    pub(super) fn meta<'t>(&self, txn: &'t RoTxn<'_, WithoutTls>) -> heed::Result<Option<&'t [u8]>> {
        self.meta.get(txn, META_KEY)
    }

    pub(super) fn read_txn(&self) -> heed::Result<RoTxn<'_, WithoutTls>> {
        self.with_free_slot(|| self.env.read_txn())
    }

    pub(super) fn static_read_txn(&self) -> heed::Result<RoTxn<'static, WithoutTls>> {
        self.with_free_slot(|| self.env.clone().static_read_txn())
    }

    pub(super) fn write_txn(&self) -> heed::Result<RwTxn<'_>> {
        self.env.write_txn()
    }

    pub(super) fn clear_stale_readers(&self) -> heed::Result<usize> {
        self.env.clear_stale_readers()
    }

    /// Runs `read`, and tries again without the slots of dead readers if all slots are taken.
    fn with_free_slot<R>(&self, read: impl Fn() -> heed::Result<R>) -> heed::Result<R> {
        match read() {
            Err(heed::Error::Mdb(MdbError::ReadersFull)) => {
                self.env.clear_stale_readers()?;
                read()
            }
            other => other,
        }
    }
}

/// Extends a truncated file to the length in LMDB's metadata. Missing pages then read as zeros, which LMDB refuses,
/// instead of a SIGBUS. (A file may also be short of pages that nothing refers to.) Only metadata was read before.
fn fill_up(env: &Env<WithoutTls>, path: &Path, len: u64) -> std::io::Result<()> {
    let page = u64::from(env.unnamed_database_stat().page_size);
    let wanted = u64::try_from(env.info().last_page_number).unwrap_or(0).saturating_add(1).saturating_mul(page);
    if len < wanted {
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        fallocate(&file, FallocateFlags::empty(), 0, wanted)?;
    }
    Ok(())
}

fn environment(store: &Store, files: &MapFiles) -> Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_SIZE).max_readers(READERS).max_dbs(2);
    let synchronous = if store.is_in_memory() { EnvFlags::NO_SYNC } else { EnvFlags::empty() };
    // SAFETY: these flags change no locking. Without synchronisation a crash of the system can damage the file, and a
    // file in memory does not outlive one.
    unsafe { options.flags(EnvFlags::NO_SUB_DIR | synchronous) };
    // SAFETY: this crate created the file, and its other writers (the same user, or those for whom the caller of the
    // `unsafe` constructor promised) change it through LMDB alone, with its locks (docs/SAFETY.md, T1). It is open once
    // in this process: environments are kept in a registry, or are still unnamed.
    let env = unsafe { options.open(store.dict_path(files)) };
    env.map_err(|e| error(store, files, "open", e))
}

pub(super) fn label(store: &Store, files: &MapFiles) -> String {
    format!("the dict `{}` in `{}`", files.name, store.path().display())
}

/// Converts one of heed's errors.
pub(super) fn error(store: &Store, files: &MapFiles, action: &'static str, error: heed::Error) -> Error {
    let label = label(store, files);
    match error {
        heed::Error::Io(e) if e.raw_os_error() == Some(rustix::io::Errno::NOMEM.raw_os_error()) => {
            let expected = "expected room for another 1 TiB of addresses; close some of the dicts of this process (it \
                            can have about 120 open), or raise its limit (ulimit -v)";
            Error::invalid(label, expected)
        }
        heed::Error::Io(e) if e.raw_os_error() == Some(rustix::io::Errno::AGAIN.raw_os_error()) => {
            let expected = "expected processes of one pid namespace; a process of another one has this process's id";
            Error::invalid(label, expected)
        }
        heed::Error::Io(e) => io_error(store, action, e),
        heed::Error::Mdb(MdbError::MapFull) => {
            Error::invalid(label, format_args!("it is full: it has grown to {MAP_SIZE} bytes; remove entries"))
        }
        heed::Error::Mdb(MdbError::ReadersFull) => {
            let what = format!("{label}, read by {READERS} transactions at once");
            Error::invalid(what, "expected fewer; drop snapshots and iterators that are not needed")
        }
        heed::Error::Mdb(
            e @ (MdbError::Invalid
            | MdbError::VersionMismatch
            | MdbError::Corrupted
            | MdbError::PageNotFound
            | MdbError::Incompatible),
        ) => Error::corrupt(label, "B1-file", format_args!("LMDB reports: {e}")),
        heed::Error::EnvAlreadyOpened => {
            let what = format!("{label}, in a forked child");
            Error::invalid(
                what,
                "a snapshot or an iterator of it was alive when the parent forked; drop those before, or start processes with a \
                                 pool or by spawning",
            )
        }
        e => Kind::Dict { action, what: label, source: Box::new(e) }.into(),
    }
}

fn io_error(store: &Store, action: &'static str, e: std::io::Error) -> Error {
    let full = rustix::io::Errno::NOSPC;
    // A write that was cut short because there was no room for all of it comes as an input/output error.
    let is_io = e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    let is_full = is_io && store.usage().is_ok_and(|usage| usage.free < 64 * 1024);
    store.write_error(action, if is_full { full.into() } else { e })
}
