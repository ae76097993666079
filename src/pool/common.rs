//! The argument that all tasks of one call have in common: sent to a worker once, and decoded there once.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    codec::read,
    held::{Held, encode_held},
};
use crate::error::{Error, Result};

/// The common argument in the pool's process.
pub(super) struct Common {
    /// Not 0, and no other one's in this process.
    pub(super) id: u64,
    pub(super) bytes: Vec<u8>,
    /// Frames of the argument, which stay openable until the call is over.
    _held: Vec<Held>,
}

impl Common {
    pub(super) fn new<S: Serialize>(argument: &S) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (bytes, held) =
            encode_held(argument).map_err(|detail| Error::invalid("the shared argument of a call", detail))?;
        Ok(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), bytes, _held: held })
    }
}

/// The common argument in a worker.
struct Received {
    bytes: Vec<u8>,
    /// Decoded by the first task that needs it.
    value: Option<Rc<dyn Any>>,
}

thread_local! {
    /// The common arguments of calls that are not over, by their ids.
    static RECEIVED: RefCell<BTreeMap<u64, Received>> = const { RefCell::new(BTreeMap::new()) };
    /// The one of the task that runs.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Keeps a common argument for the tasks to come.
pub(super) fn receive(id: u64, bytes: Vec<u8>) {
    RECEIVED.with_borrow_mut(|received| received.insert(id, Received { bytes, value: None }));
}

/// Drops the common argument of a call that is over.
pub(super) fn forget(id: u64) {
    // Dropped outside the cell: its drop is the user's code.
    drop(RECEIVED.with_borrow_mut(|received| received.remove(&id)));
}

/// Names the common argument of the tasks that follow.
pub(super) fn set_current(id: u64) {
    CURRENT.set(id);
}

/// The common argument of the task that runs, decoded at its first use in this worker.
pub(super) fn current<S: DeserializeOwned + 'static>() -> Result<Rc<S>, String> {
    let id = CURRENT.get();
    let decoded = RECEIVED.with_borrow(|received| received.get(&id).and_then(|received| received.value.clone()));
    let value = match decoded {
        Some(value) => value,
        None => decode::<S>(id)?,
    };
    value.downcast::<S>().map_err(|_| "the shared argument of its call has another type".to_owned())
}

fn decode<S: DeserializeOwned + 'static>(id: u64) -> Result<Rc<dyn Any>, String> {
    let bytes = RECEIVED.with_borrow(|received| received.get(&id).map(|received| received.bytes.clone()));
    let bytes = bytes.ok_or("the shared argument of its call did not arrive")?;
    // Outside the cell: this runs the user's code, which may panic. Then, and after an error, the next task tries again.
    let value = read::<S>(&bytes).map_err(|detail| format!("the shared argument of its call: {detail}"))?;
    let value: Rc<dyn Any> = Rc::new(value);
    RECEIVED.with_borrow_mut(|received| {
        if let Some(received) = received.get_mut(&id) {
            received.value = Some(value.clone());
            received.bytes = Vec::new();
        }
    });
    Ok(value)
}
