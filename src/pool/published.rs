//! Results that are frames.

use std::{
    cell::RefCell,
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::process::{Pid, getpid};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::worker;
use crate::{
    error::{Error, Result},
    frame::{Frame, Handle, Sent, note},
    ipc::Table,
    store::Store,
};

/// A table that a task returns as a frame.
///
/// The worker publishes it into the pool's session (one copy, into shared memory), its handle goes through the pipe,
/// and the caller gets a frame on the same bytes. It is freed when the caller drops it; frames, batches and columns
/// made from it keep their memory. As an argument of another task it travels as its handle, and lives until that
/// task is finished.
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
///         println!("{}", part.to_polars()?);
///     }
///     Ok(())
/// }
/// ```
pub struct Published {
    frame: Frame,
    owner: Option<Arc<Owner>>,
}

/// Takes the name away when the last one goes.
struct Owner {
    session: Store,
    name: String,
    process: Pid,
    /// Another process has it now.
    left: Arc<AtomicBool>,
}

impl Owner {
    fn new(session: &Store, name: String) -> Self {
        Self { session: session.clone(), name, process: getpid(), left: Arc::default() }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if getpid() == self.process && !self.left.load(Ordering::Relaxed) {
            // What cannot be removed goes with the session.
            let _ = self.session.remove(&self.name);
        }
    }
}

thread_local! {
    /// The session of the pool whose results are just being read.
    static TAKES_OVER: RefCell<Option<Store>> = const { RefCell::new(None) };
}

/// Calls with results read in the name of their new owner, the caller of the pool with this session.
pub(super) fn taking_over<T>(session: &Store, call: impl FnOnce() -> T) -> T {
    let outer = TAKES_OVER.replace(Some(session.clone()));
    let result = call();
    TAKES_OVER.set(outer);
    result
}

impl Published {
    /// Publishes a table into the session of the pool that this worker works for. Copies it once.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) outside a worker, where [`Pool::session`](super::Pool::session) publishes;
    /// [`is_no_space`](Error::is_no_space) when the store is full.
    pub fn new<Via>(table: impl Table<Via>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let session = worker::session()
            .ok_or_else(|| Error::invalid("`Published::new` outside a worker", "publish into `Pool::session` there"))?;
        let name = format!("result-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let frame = session.publish(&name, table)?;
        let owner = Owner::new(session, name);
        Ok(Self { frame, owner: Some(Arc::new(owner)) })
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl Deref for Published {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        &self.frame
    }
}

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if let Some(owner) = &self.owner {
            if worker::session().is_some() {
                note(|| Sent::Given(self.frame.handle(), owner.left.clone()));
            } else {
                let owner = owner.clone();
                note(|| Sent::Other(Box::new(owner)));
            }
        }
        serializer.collect_str(&self.frame.handle())
    }
}

impl<'de> Deserialize<'de> for Published {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let frame = Frame::deserialize(deserializer)?;
        let own = |session: &Store| Arc::new(Owner::new(session, frame.name().to_string()));
        let owner = TAKES_OVER.with_borrow(|session| session.as_ref().map(own));
        Ok(Self { frame, owner })
    }
}

/// A frame that a worker has given away and nobody has taken yet.
pub(super) struct Unclaimed(Owner);

impl Unclaimed {
    pub(super) fn of(session: &Store, handle: &Handle) -> Self {
        Self(Owner::new(session, handle.name().to_string()))
    }

    /// Somebody else owns it now.
    pub(super) fn claimed(self) {
        self.0.left.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Published").field(&self.frame).finish()
    }
}
