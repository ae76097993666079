//! LMDB environments: one for each dict and process, and opened anew after a fork.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use heed::{RoTxn, RwTxn, WithoutTls};
use rustix::process::{Pid, getpid};

use super::lmdb::Lmdb;
use crate::{
    error::{Error, Kind, Result},
    store::{DictFiles, Store},
};

/// The environments of this process by the id of their dict: LMDB must not open a file twice.
static OPEN: Mutex<BTreeMap<u128, Arc<Environment>>> = Mutex::new(BTreeMap::new());
/// How long another thread may be opening an environment.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a writer looks for the slots of dead readers, which keep old pages from being used again.
const STALE_CHECK: Duration = Duration::from_millis(50);

thread_local! {
    /// Its address tells threads apart.
    static THREAD: u8 = const { 0 };
}

/// One dict's LMDB environment in this process.
pub(super) struct Environment {
    store: Store,
    files: DictFiles,
    opened: RwLock<Opened>,
    /// The thread that is in a write transaction; 0 for none.
    writer: AtomicUsize,
    /// When the slots of dead readers were last looked for.
    checked: Mutex<Instant>,
}

struct Opened {
    process: Pid,
    /// `None` when opening it anew after a fork failed.
    lmdb: Option<Lmdb>,
}

/// A share in an environment. With the last one the environment is closed.
pub(super) struct Lease {
    environment: Option<Arc<Environment>>,
    process: Pid,
}

impl Lease {
    /// Opens a dict's environment, or shares the one that this process has.
    pub(super) fn open(store: &Store, files: DictFiles) -> Result<Self> {
        let mut open = registry(&files)?;
        let id = files.id;
        let environment = if let Some(environment) = open.get(&id) {
            Arc::clone(environment)
        } else {
            let environment = Arc::new(Environment::open(store, files)?);
            open.insert(id, Arc::clone(&environment));
            environment
        };
        Ok(Self { environment: Some(environment), process: getpid() })
    }

    pub(super) fn environment(&self) -> Result<&Environment> {
        // Empty in `drop` alone.
        self.environment.as_deref().ok_or_else(|| Error::invalid("this dict", "expected one that is open"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(environment) = self.environment.take() else { return };
        if getpid() != self.process {
            // A forked child: the registry's lock may belong to a thread that is not here.
            std::mem::forget(environment);
            return;
        }
        let Ok(mut open) = registry(&environment.files) else { return };
        // This one and the registry's: nobody else can come to have one while the registry is locked.
        if Arc::strong_count(&environment) == 2 {
            open.remove(&environment.files.id);
        }
        // Closed before the registry is unlocked, so that whoever opens it next finds it closed.
        drop(environment);
    }
}

/// The registry, locked. In a forked child the lock may have an owner that is not there: then this is an error.
fn registry(files: &DictFiles) -> Result<MutexGuard<'static, BTreeMap<u128, Arc<Environment>>>> {
    let start = Instant::now();
    loop {
        match OPEN.try_lock() {
            Ok(open) => return Ok(open),
            // A panic while it was locked: the map is whole, since each change of it is one call.
            Err(TryLockError::Poisoned(open)) => return Ok(open.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::WouldBlock) => return Err(in_use_at_fork(files)),
        }
    }
}

fn in_use_at_fork(files: &DictFiles) -> Error {
    let what = format!("the dict `{}` in a forked child", files.name);
    let next = "another thread of the parent used a dict when it forked; open dicts after the fork, or start processes \
                with a pool or by spawning";
    Error::invalid(what, next)
}

impl Environment {
    fn open(store: &Store, files: DictFiles) -> Result<Self> {
        let lmdb = Lmdb::open(store, &files)?;
        if !store.has_dict(&files)? {
            // Removed between finding its files and opening them, which may have made them again.
            let what = format!("dict `{}`", files.name);
            return Err(Kind::NotFound { what, store: store.path().to_owned() }.into());
        }
        let opened = RwLock::new(Opened { process: getpid(), lmdb: Some(lmdb) });
        let (writer, checked) = (AtomicUsize::new(0), Mutex::new(Instant::now()));
        Ok(Self { store: store.clone(), files, opened, writer, checked })
    }

    /// Names the dict in errors.
    pub(super) fn label(&self) -> String {
        format!("the dict `{}` in `{}`", self.files.name, self.store.path().display())
    }

    pub(super) fn error(&self, action: &'static str, error: heed::Error) -> Error {
        super::lmdb::error(&self.store, &self.files, action, error)
    }

    /// The open environment, of this very process.
    fn access(&self) -> Result<RwLockReadGuard<'_, Opened>> {
        let opened = self.opened.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if opened.process == getpid() && opened.lmdb.is_some() {
            return Ok(opened);
        }
        drop(opened);
        self.open_anew()?;
        Ok(self.opened.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// After a fork: closes the copy of the parent's environment, and opens one.
    ///
    /// Closing it here does nothing to the parent: LMDB touches slots of the calling process alone.
    fn open_anew(&self) -> Result<()> {
        let mut opened = match self.opened.try_write() {
            Ok(opened) => opened,
            Err(TryLockError::Poisoned(opened)) => opened.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(in_use_at_fork(&self.files)),
        };
        opened.lmdb = None;
        opened.process = getpid();
        self.writer.store(0, Ordering::Relaxed);
        opened.lmdb = Some(Lmdb::open(&self.store, &self.files)?);
        Ok(())
    }

    /// Runs `f` in a read transaction.
    pub(super) fn read<R>(&self, f: impl FnOnce(&RoTxn<'_, WithoutTls>, &Lmdb) -> Result<R>) -> Result<R> {
        let opened = self.access()?;
        let lmdb = opened.lmdb.as_ref().ok_or_else(|| in_use_at_fork(&self.files))?;
        let txn = lmdb.read_txn().map_err(|e| self.error("read", e))?;
        f(&txn, lmdb)
    }

    /// A read transaction that keeps the environment open.
    pub(super) fn read_txn(&self) -> Result<(RoTxn<'static, WithoutTls>, super::lmdb::Entries)> {
        let opened = self.access()?;
        let lmdb = opened.lmdb.as_ref().ok_or_else(|| in_use_at_fork(&self.files))?;
        Ok((lmdb.static_read_txn().map_err(|e| self.error("read", e))?, lmdb.entries))
    }

    fn clear_stale_readers(&self, lmdb: &Lmdb) -> Result<()> {
        // Another thread that looks now is enough.
        let Ok(mut checked) = self.checked.try_lock() else { return Ok(()) };
        if checked.elapsed() > STALE_CHECK {
            lmdb.clear_stale_readers().map_err(|e| self.error("look for dead readers of", e))?;
            *checked = Instant::now();
        }
        Ok(())
    }

    /// Runs `f` in a write transaction, which is committed if `f` succeeds. Blocks while another one runs, in
    /// whatever process.
    pub(super) fn write<R, E: From<Error>>(
        &self,
        f: impl for<'t> FnOnce(RwTxn<'t>, &Lmdb) -> (RwTxn<'t>, Result<R, E>),
    ) -> Result<R, E> {
        let opened = self.access()?;
        let lmdb = opened.lmdb.as_ref().ok_or_else(|| in_use_at_fork(&self.files))?;
        let (me, process) = (THREAD.with(|thread| std::ptr::from_ref(thread).addr()), getpid());
        if self.writer.load(Ordering::Relaxed) == me {
            let what = format!("a change of {} inside a transaction on it", self.label());
            return Err(Error::invalid(what, "change it through the transaction").into());
        }
        self.clear_stale_readers(lmdb)?;
        let txn = lmdb.write_txn().map_err(|e| self.error("begin to change", e))?;
        let mark = Mark::set(&self.writer, me);
        let (txn, result) = f(txn, lmdb);
        if getpid() != process {
            // A child that was forked inside `f` came here too: the transaction is its parent's.
            std::mem::forget((txn, mark));
            let what = format!("a transaction on {} in a child that was forked inside it", self.label());
            return Err(Error::invalid(what, "the parent alone can end it; leave the child with _exit or exec").into());
        }
        let result = result?;
        // Before the next writer can set it.
        drop(mark);
        txn.commit().map_err(|e| self.error("write to", e))?;
        Ok(result)
    }
}

/// Which thread is in a write transaction, for as long as it is.
struct Mark<'a>(&'a AtomicUsize);

impl<'a> Mark<'a> {
    fn set(writer: &'a AtomicUsize, me: usize) -> Self {
        writer.store(me, Ordering::Relaxed);
        Self(writer)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
