//! One state of a map, kept for its reader.

use std::{marker::PhantomData, sync::Arc};

use heed::{RoTxn, WithoutTls};
use rustix::process::{Pid, getpid};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    environment::Lease,
    lmdb::Entries,
    reads::{Reads, reading},
};
use crate::error::{Error, Result};

/// A map as it was at one moment. Writers neither wait for it nor change it.
///
/// While it lives, the pages of its state are not used again, so a map that is written to grows. When its process
/// dies, they are free again. It can be sent to another thread; in a forked child it cannot be read.
#[must_use = "a snapshot keeps memory for as long as it lives"]
pub struct Snapshot<K, V> {
    /// Empty in `drop` alone.
    txn: Option<RoTxn<'static, WithoutTls>>,
    entries: Entries,
    process: Pid,
    // After the transaction, whose environment it keeps open.
    lease: Arc<Lease>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Snapshot<K, V> {
    pub(super) fn new(lease: Arc<Lease>) -> Result<Self> {
        let (txn, entries) = lease.environment()?.read_txn()?;
        Ok(Self { txn: Some(txn), entries, process: getpid(), lease, types: PhantomData })
    }
}

impl<K, V> Snapshot<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(super) fn reads(&self) -> Result<Reads<'_, K, V>> {
        let environment = self.lease.environment()?;
        let txn = self.txn.as_ref().filter(|_| self.process == getpid()).ok_or_else(|| {
            let what = format!("a snapshot of {} in a forked child", environment.label());
            Error::invalid(what, "it is its parent's; take one in this process")
        })?;
        Ok(Reads::new(environment, self.entries, txn))
    }
}

reading!(Snapshot<K, V>);

impl<K, V> Drop for Snapshot<K, V> {
    fn drop(&mut self) {
        if self.process != getpid() {
            // A forked child's copy: to end it would give up the parent's slot.
            std::mem::forget(self.txn.take());
        }
    }
}
