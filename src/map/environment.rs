//! LMDB environments: one for each dict and process, opened again after a fork.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use heed::{RoTxn, RwTxn, WithoutTls};

use super::lmdb::{Lmdb, label};
use crate::{
    error::{Error, Kind, Result},
    fork::process,
    interrupt::Looks,
    name::Name,
    store::{MapFiles, Store},
    sync::{GATE_BYTES, Gate},
};

/// The environments of this process by device and inode of their dict's data: LMDB must not open a file twice.
///
/// It is locked while an environment is opened or closed, because heed then locks a mutex for which a forked child
/// could wait for ever. It is locked after the store's lock and never before it. Nothing under it waits for another
/// process's names, or calls the code of an [`interruptible`](crate::interruptible) caller, which may hold what other
/// threads need.
static OPEN: Mutex<Environments> = Mutex::new(BTreeMap::new());
/// The process that uses `OPEN`. A forked child finds its parent's id.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// Environments whose leases were dropped, with the process that dropped them: a drop never waits for `OPEN`. The
/// thread that holds `OPEN` closes them when it is done.
static DROPPED: Mutex<Dropped> = Mutex::new(Vec::new());

type Dropped = Vec<(u32, Arc<Environment>)>;

type Environments = BTreeMap<(u64, u64), Arc<Environment>>;

/// How long another thread may be opening or closing an environment.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a holder of the lock may take to record itself.
const MOMENT: Duration = Duration::from_millis(200);
/// How often a writer checks for the slots of dead readers, which keep old pages from being reused.
const STALE_CHECK: Duration = Duration::from_millis(50);

/// One dict's LMDB environment in this process.
pub(super) struct Environment {
    store: Store,
    files: MapFiles,
    inode: (u64, u64),
    /// `None` if opening it again after a fork failed.
    opened: RwLock<Option<Lmdb>>,
    /// The process for which `opened` is valid: no other one locks it for reading. A forked child finds its parent's
    /// id.
    process: AtomicU32,
    /// The process whose thread was the last that opened it.
    opener: AtomicU32,
    /// The gate at which writers wait. A forked child continues to use its parent's map of it.
    gate: Gate,
    /// When the slots of dead readers were last checked.
    checked: Mutex<Instant>,
}

/// A share in an environment, which is closed with the last one.
pub(super) struct Lease {
    environment: Option<Arc<Environment>>,
    process: u32,
}

impl Lease {
    /// Opens a dict's environment, or shares the one that this process has open. `check` may refuse an existing one.
    pub(super) fn open(store: &Store, name: &Name, check: impl FnOnce(&MapFiles) -> Result<()>) -> Result<Self> {
        check_fork(name)?;
        let environment = store.with_dict(name, |files, inode| {
            check(&files)?;
            let mut registry = registry(name)?;
            let open = registry.environments()?;
            if let Some(environment) = open.get(&inode) {
                return Ok(Arc::clone(environment));
            }
            let (gate, lmdb) = (gate(store, &files)?, Lmdb::open(store, &files)?);
            let environment = Arc::new(Environment {
                store: store.clone(),
                files,
                inode,
                opened: RwLock::new(Some(lmdb)),
                process: AtomicU32::new(process()),
                opener: AtomicU32::new(process()),
                gate,
                checked: Mutex::new(Instant::now()),
            });
            open.insert(inode, Arc::clone(&environment));
            Ok(environment)
        })?;
        Ok(Self { environment: Some(environment), process: process() })
    }

    pub(super) fn environment(&self) -> Result<&Environment> {
        // Empty only in `drop`.
        self.environment.as_deref().ok_or_else(|| Error::invalid("this dict", "expected one that is open"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(environment) = self.environment.take() else { return };
        if process() != self.process {
            // In a forked child, the registry's lock may belong to a thread that does not exist there.
            std::mem::forget(environment);
            return;
        }
        let Some(mut dropped) = dropped() else {
            // As above, for the list.
            std::mem::forget(environment);
            return;
        };
        dropped.push((self.process, environment));
        drop(dropped);
        close_dropped();
    }
}

/// Returns the list of dropped environments, whose lock is held for a push or a swap. `None` in a forked child if the
/// lock belongs to a thread of the parent, which does not exist there.
fn dropped() -> Option<MutexGuard<'static, Dropped>> {
    let start = Instant::now();
    loop {
        match DROPPED.try_lock() {
            Ok(dropped) => return Some(dropped),
            Err(TryLockError::Poisoned(dropped)) => return Some(dropped.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() > MOMENT => return None,
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
}

/// Closes dropped environments, unless another thread holds the registry: that thread closes them when it is done.
fn close_dropped() {
    while dropped().is_some_and(|dropped| !dropped.is_empty()) {
        let open = match OPEN.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(open)) => open.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        PROCESS.store(process(), Ordering::Relaxed);
        close_those(open);
    }
}

/// Closes dropped environments without other users, and unlocks the registry.
fn close_those(mut open: MutexGuard<'static, Environments>) {
    let all = dropped().map(|mut dropped| std::mem::take(&mut *dropped)).unwrap_or_default();
    for (owner, environment) in all {
        if owner != process() {
            // A forked child's copy of its parent's list.
            std::mem::forget(environment);
            continue;
        }
        // This reference and the registry's are the last: no other thread can get one while the registry is locked.
        if Arc::strong_count(&environment) == 2 {
            open.remove(&environment.inode);
        }
        // Closed before the registry is unlocked, so that the next thread to open it finds it closed.
        drop(environment);
    }
    drop(open);
}

/// The locked registry. Unlocking it closes what was dropped meanwhile.
pub(super) struct Registry(Option<MutexGuard<'static, Environments>>);

impl Registry {
    fn environments(&mut self) -> Result<&mut Environments> {
        // Empty only in `drop`.
        self.0.as_deref_mut().ok_or_else(|| Error::invalid("the registry of dicts", "expected one that is locked"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            close_those(open);
        }
        // A thread that dropped an environment since then found the registry locked.
        close_dropped();
    }
}

/// Returns an error in a forked child if a thread of the parent held the registry. It is checked before the child waits
/// for the store's lock.
fn check_fork(name: &Name) -> Result<()> {
    if PROCESS.load(Ordering::Relaxed) == process() { Ok(()) } else { registry(name).map(drop) }
}

/// Opens a dict's gate, and creates it if it is missing because another program or an earlier version created the dict.
/// Call it under the store lock.
pub(super) fn gate(store: &Store, files: &MapFiles) -> Result<Gate> {
    let (file, len) = store.dict_gate(files, GATE_BYTES, Gate::initialise)?;
    Gate::open(&file, len, || label(store, files))
}

/// Locks the registry. Call it under the store's lock, or without that for a moment. In a forked child its lock may
/// have an owner that does not exist there; this is an error. `name` is the dict's name in errors.
pub(super) fn registry(name: &Name) -> Result<Registry> {
    let start = Instant::now();
    loop {
        let open = match OPEN.try_lock() {
            Ok(open) => open,
            // A panic while it was locked: the map is consistent, because each change of it is one call.
            Err(TryLockError::Poisoned(open)) => open.into_inner(),
            // No thread of this process ever opened it.
            Err(TryLockError::WouldBlock)
                if PROCESS.load(Ordering::Relaxed) != process() && start.elapsed() > MOMENT =>
            {
                return Err(in_use_at_fork(name));
            }
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            Err(TryLockError::WouldBlock) => {
                let what = format!("the dict `{name}`");
                return Err(Kind::Busy { what, holder: "a thread that opens or closes a dict".to_owned() }.into());
            }
        };
        PROCESS.store(process(), Ordering::Relaxed);
        return Ok(Registry(Some(open)));
    }
}

fn in_use_at_fork(name: &Name) -> Error {
    let what = format!("the dict `{name}` in a forked child");
    let next = "another thread of the parent used a dict when it forked; fork where no thread does, or start processes \
                with a pool or by spawning";
    Error::invalid(what, next)
}

impl Environment {
    pub(super) fn id(&self) -> u128 {
        self.files.id
    }

    /// Returns the dict's name for errors.
    pub(super) fn label(&self) -> String {
        label(&self.store, &self.files)
    }

    pub(super) fn error(&self, action: &'static str, error: heed::Error) -> Error {
        super::lmdb::error(&self.store, &self.files, action, error)
    }

    /// Returns the open environment of this very process.
    fn access(&self) -> Result<RwLockReadGuard<'_, Option<Lmdb>>> {
        if !self.is_opened() {
            self.wait_until_opened()?;
        }
        Ok(self.opened.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_opened(&self) -> bool {
        // Pairs with the release in `open_anew`: a thread that sees the process sees the environment.
        self.process.load(Ordering::Acquire) == process()
    }

    #[cold]
    fn wait_until_opened(&self) -> Result<()> {
        let (start, mut looks) = (Instant::now(), Looks::new());
        while !self.is_opened() {
            match self.opened.try_write() {
                Ok(opened) => self.open_anew(opened)?,
                Err(TryLockError::Poisoned(opened)) => self.open_anew(opened.into_inner())?,
                // No thread of this process ever opened it: a thread of the parent, which was not copied, was inside.
                Err(TryLockError::WouldBlock)
                    if self.opener.load(Ordering::Relaxed) != process() && start.elapsed() > MOMENT =>
                {
                    return Err(in_use_at_fork(&self.files.name));
                }
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    looks.check(|| format!("a thread that opens {} anew", self.label()))?;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = "a thread that opens it anew after a fork".to_owned();
                    return Err(Kind::Busy { what: self.label(), holder }.into());
                }
            }
        }
        Ok(())
    }

    /// Closes the copy of the parent's environment after a fork, and opens a new one.
    ///
    /// Closing it here does not affect the parent, because LMDB changes only slots of the calling process.
    fn open_anew(&self, mut opened: RwLockWriteGuard<'_, Option<Lmdb>>) -> Result<()> {
        if self.is_opened() {
            return Ok(());
        }
        self.opener.store(process(), Ordering::Relaxed);
        check_fork(&self.files.name)?;
        self.store.with_dict(&self.files.name, |files, inode| {
            let _registry = registry(&self.files.name)?;
            if inode != self.inode {
                let what = format!("dict `{}` with this id", files.name);
                return Err(Kind::NotFound { what, store: self.store.path().to_owned() }.into());
            }
            *opened = None;
            *opened = Some(Lmdb::open(&self.store, &files)?);
            // Acquired by `is_opened`.
            self.process.store(process(), Ordering::Release);
            Ok(())
        })
    }

    /// Runs `f` in a read transaction.
    pub(super) fn read<R>(&self, f: impl FnOnce(&RoTxn<'_, WithoutTls>, &Lmdb) -> Result<R>) -> Result<R> {
        let opened = self.access()?;
        let lmdb = opened.as_ref().ok_or_else(|| in_use_at_fork(&self.files.name))?;
        let txn = lmdb.read_txn().map_err(|e| self.error("read", e))?;
        f(&txn, lmdb)
    }

    /// Starts a read transaction that keeps the environment open.
    pub(super) fn read_txn(&self) -> Result<(RoTxn<'static, WithoutTls>, super::lmdb::Entries)> {
        let opened = self.access()?;
        let lmdb = opened.as_ref().ok_or_else(|| in_use_at_fork(&self.files.name))?;
        Ok((lmdb.static_read_txn().map_err(|e| self.error("read", e))?, lmdb.entries))
    }

    fn clear_stale_readers(&self, lmdb: &Lmdb) -> Result<()> {
        // One thread that checks now is enough.
        let Ok(mut checked) = self.checked.try_lock() else { return Ok(()) };
        if checked.elapsed() > STALE_CHECK {
            lmdb.clear_stale_readers().map_err(|e| self.error("check for dead readers of", e))?;
            *checked = Instant::now();
        }
        Ok(())
    }

    /// Runs `f` in a write transaction, which is committed if `f` succeeds. Blocks while another one runs, in any
    /// process.
    pub(super) fn write<R, E: From<Error>>(
        &self,
        f: impl for<'t> FnOnce(RwTxn<'t>, &Lmdb) -> (RwTxn<'t>, Result<R, E>),
    ) -> Result<R, E> {
        let opened = self.access()?;
        let lmdb = opened.as_ref().ok_or_else(|| in_use_at_fork(&self.files.name))?;
        let before = process();
        let Some(inside) = self.gate.enter(|| self.label())? else {
            let what = format!("a change of {} inside a transaction on it", self.label());
            return Err(Error::invalid(what, "change it through the transaction").into());
        };
        self.clear_stale_readers(lmdb)?;
        // This waits only for programs that use LMDB without the gate.
        let txn = lmdb.write_txn().map_err(|e| self.error("start to change", e))?;
        let (txn, result) = f(txn, lmdb);
        if process() != before {
            // A child that was forked inside `f` came here too: the transaction is its parent's.
            std::mem::forget((txn, inside));
            let what = format!("a transaction on {} in a child that was forked inside it", self.label());
            return Err(Error::invalid(what, "the parent alone can end it; leave the child with _exit or exec").into());
        }
        let result = result?;
        txn.commit().map_err(|e| self.error("write to", e))?;
        // After LMDB's own lock, so that the next writer need not wait for that.
        drop(inside);
        Ok(result)
    }
}
