//! A read transaction that is kept for its reader.

use std::sync::Arc;

use heed::{RoTxn, WithoutTls};

use super::{
    environment::{Environment, Lease},
    lmdb::Entries,
};
use crate::{
    error::{Error, Result},
    fork::process,
};

pub(super) type ReadTxn<'t> = RoTxn<'t, WithoutTls>;

/// One state of a map, independent of the types of its keys and values.
pub(super) struct State {
    /// Empty only in `drop`.
    txn: Option<ReadTxn<'static>>,
    entries: Entries,
    process: u32,
    // After the transaction, whose environment it keeps open.
    lease: Arc<Lease>,
}

impl State {
    pub(super) fn new(lease: Arc<Lease>) -> Result<Self> {
        let (txn, entries) = lease.environment()?.read_txn()?;
        Ok(Self { txn: Some(txn), entries, process: process(), lease })
    }

    /// Returns what a reader needs. An error in a forked child, which must not read through its parent's transaction.
    pub(super) fn parts(&self) -> Result<(&Environment, Entries, &ReadTxn<'static>)> {
        let environment = self.lease.environment()?;
        let txn = self.txn.as_ref().filter(|_| self.process == process()).ok_or_else(|| {
            let what = format!("a snapshot of {} in a forked child", environment.label());
            Error::invalid(what, "it is its parent's; take one in this process")
        })?;
        Ok((environment, self.entries, txn))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.process != process() {
            // A forked child's copy: ending it would release the parent's slot.
            std::mem::forget(self.txn.take());
        }
    }
}
