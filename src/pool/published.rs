//! Results that are frames.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::process::{Pid, getpid};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::role;
use crate::{
    error::{Error, Result},
    frame::{Frame, Handle, Sent, note},
    store::Store,
    table::Table,
};

/// A table that a task returns as a frame.
///
/// The worker publishes it into the pool's session (one copy, into shared memory), its handle goes through the pipe,
/// and the caller gets a frame on the same bytes. The frame is freed when the caller drops it; frames, batches and
/// columns made from it keep their memory. As an argument of another task it is sent as its handle, and lives until
/// that task is finished. A task can return a frame that it received: argument and result then share the frame, which
/// is freed when the caller has dropped both.
///
/// ```no_run
/// use coframe::{Frame, Pool, polars::prelude::*, pool::Published};
///
/// fn late(flights: Frame) -> Result<Published, Box<dyn std::error::Error + Send + Sync>> {
///     let late = flights.to_polars()?.head(Some(10));
///     Ok(Published::new(&late)?)
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     coframe::pool::init();
///     let pool = Pool::builder().build()?;
///     let flights = pool.session().publish("flights", &df!("delay" => [1, 2, 3])?)?;
///     for part in pool.try_map(late, flights.split(4))? {
///         println!("{}", part.frame().to_polars()?);
///     }
///     Ok(())
/// }
/// ```
pub struct Published {
    frame: Frame,
    owner: Option<Arc<Owner>>,
}

/// Removes the name of a result when its last owner is dropped.
pub(super) struct Owner {
    session: Store,
    name: String,
    segment: u128,
    process: Pid,
    /// Another process owns it now.
    left: Arc<AtomicBool>,
    /// Where the name is recorded: in the pool's process.
    recorded: Option<Arc<Owned>>,
}

impl Owner {
    fn new(session: &Store, frame: &Handle, recorded: Option<Arc<Owned>>) -> Arc<Self> {
        let name = frame.name().to_string();
        if let Some(owned) = &recorded {
            owned.names().insert(name.clone());
        }
        let (session, segment) = (session.clone(), frame.segment);
        Arc::new(Self { session, name, segment, process: getpid(), left: Arc::default(), recorded })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if getpid() != self.process || self.left.load(Ordering::Relaxed) {
            return;
        }
        // What cannot be removed is removed with the session.
        let _ = self.session.remove(&self.name);
        if let Some(owned) = &self.recorded {
            owned.names().remove(&self.name);
        }
    }
}

/// The names of the results that the pool's process owns. A dead worker's other frames are orphans.
#[derive(Default)]
pub(super) struct Owned(Mutex<BTreeSet<String>>);

impl Owned {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Every change is one call, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the frames that a dead worker published and did not send.
    pub(super) fn remove_orphans(&self, session: &Store, worker: u64) {
        let prefix = prefix(worker);
        // What cannot be listed or removed is removed with the session.
        for name in session.names().unwrap_or_default() {
            if name.as_str().starts_with(&prefix) && !self.names().contains(name.as_str()) {
                let _ = session.remove(name.as_str());
            }
        }
    }
}

/// Returns the prefix of the names of frames that a worker publishes.
fn prefix(worker: u64) -> String {
    format!("result-{worker}-")
}

/// The owners of the frames in one result, by the ids of their segments. When it is dropped, frames without another
/// owner are removed.
#[derive(Default)]
pub(super) struct Owners(BTreeMap<u128, Arc<Owner>>);

impl Owners {
    /// Takes over the frames that a worker sent, and shares those of the task's argument.
    pub(super) fn new<'a>(
        given: impl Iterator<Item = Handle>,
        argument: impl Iterator<Item = &'a Arc<Owner>>,
        session: &Store,
        owned: &Arc<Owned>,
    ) -> Self {
        let mut owners = BTreeMap::new();
        // Not `collect`, which sorts first: most results have no frames.
        owners.extend(argument.map(|owner| (owner.segment, owner.clone())));
        for frame in given {
            owners.entry(frame.segment).or_insert_with(|| Owner::new(session, &frame, Some(owned.clone())));
        }
        Self(owners)
    }

    /// Calls `call`, which reads a result, and gives its frames to these owners.
    pub(super) fn reading<T>(self, call: impl FnOnce() -> T) -> T {
        /// Restores the previous value, also after a panic of the reader's own code.
        struct Restore(Option<Owners>);

        impl Drop for Restore {
            fn drop(&mut self) {
                // Dropped outside of the cell, because owners remove frames.
                drop(OWNERS.replace(self.0.take()));
            }
        }

        let _restore = Restore(OWNERS.replace(Some(self)));
        call()
    }
}

thread_local! {
    /// The owners of the frames in the result that this thread is reading.
    static OWNERS: RefCell<Option<Owners>> = const { RefCell::new(None) };
}

impl Published {
    /// Publishes a table into the session of the pool that this worker works for. Copies it once.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](Error::is_invalid_argument) outside of a worker, where
    /// [`Pool::session`](super::Pool::session) publishes; [`is_no_space`](Error::is_no_space) if the store is full.
    pub fn new<Via>(table: impl Table<Via>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (session, number) = role::session()
            .ok_or_else(|| Error::invalid("`Published::new` outside a worker", "publish into `Pool::session` there"))?;
        let name = format!("{}{}", prefix(*number), NEXT.fetch_add(1, Ordering::Relaxed));
        let frame = session.publish(&name, table)?;
        let owner = Owner::new(session, &frame.handle(), None);
        Ok(Self { frame, owner: Some(owner) })
    }

    /// Returns the frame.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl AsRef<Frame> for Published {
    fn as_ref(&self) -> &Frame {
        &self.frame
    }
}

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        note(|| match &self.owner {
            Some(owner) if role::session().is_some() => Sent::Given(self.frame.handle(), owner.left.clone()),
            Some(owner) => Sent::Other(Box::new(owner.clone())),
            // An argument of this task, or a frame that was read outside of a pool, has another owner.
            None => Sent::Frame(self.frame.clone()),
        });
        serializer.collect_str(&self.frame.handle())
    }
}

impl<'de> Deserialize<'de> for Published {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let frame = Frame::deserialize(deserializer)?;
        let segment = frame.handle().segment;
        let owner = OWNERS.with_borrow(|owners| owners.as_ref()?.0.get(&segment).cloned());
        Ok(Self { frame, owner })
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Published").field(&self.frame).finish()
    }
}
