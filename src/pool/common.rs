//! The argument that all tasks of one call share: sent to a worker once, and decoded there once.

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

/// The shared argument in the pool's process.
pub(super) struct Common {
    /// Not 0, and unique in this process.
    pub(super) id: u64,
    pub(super) bytes: Vec<u8>,
    /// The frames of the argument, which can be opened until the call is over.
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

/// The shared argument in a worker.
struct Received {
    bytes: Vec<u8>,
    /// Decoded by the first task that needs it.
    value: Option<Rc<dyn Any>>,
}

thread_local! {
    /// The shared arguments of calls that are not over, by their ids.
    static RECEIVED: RefCell<BTreeMap<u64, Received>> = const { RefCell::new(BTreeMap::new()) };
    /// The id of the shared argument of the task that runs.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Keeps a shared argument for later tasks.
pub(super) fn receive(id: u64, bytes: Vec<u8>) {
    RECEIVED.with_borrow_mut(|received| received.insert(id, Received { bytes, value: None }));
}

/// Drops the shared argument of a call that is over.
pub(super) fn forget(id: u64) {
    // Dropped outside of the cell, because its drop is the user's code.
    drop(RECEIVED.with_borrow_mut(|received| received.remove(&id)));
}

/// Sets the shared argument of the tasks that follow.
pub(super) fn set_current(id: u64) {
    CURRENT.set(id);
}

/// Returns the shared argument of the task that runs, decoded at its first use in this worker.
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
    // Outside of the cell, because this runs the user's code, which may panic. After a panic or an error the next task
    // tries again.
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
