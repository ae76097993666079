//! Frames inside serialised values: they are sent as handles.

#[cfg(feature = "pool")]
use std::{any::Any, cell::RefCell};

use serde::{Serialize, Serializer};

use super::{Frame, handle::Handle};

/// Serialises as its handle (about 100 bytes); the other side opens the frame.
///
/// Like a handle, the bytes do not keep the frame: [`Handle::open`] documents how long they work.
impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[cfg(feature = "pool")]
        note(|| Sent::Frame(self.clone()));
        serializer.collect_str(&self.handle())
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[cfg(feature = "pool")]
        note(|| Sent::Handle(self.clone()));
        serializer.collect_str(self)
    }
}

/// A serialised object that must not be removed before the other side has opened it.
#[cfg(feature = "pool")]
pub(crate) enum Sent {
    Frame(Frame),
    Handle(Handle),
    /// A frame whose reader will own it, and the flag to set once it was sent.
    Given(Handle, std::sync::Arc<std::sync::atomic::AtomicBool>),
    /// Any other object that must live as long.
    Other(Box<dyn Any + Send + Sync>),
}

#[cfg(feature = "pool")]
thread_local! {
    static SENT: RefCell<Option<Vec<Sent>>> = const { RefCell::new(None) };
    static OPENING_ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `call`, and returns the objects that this thread serialised meanwhile.
#[cfg(feature = "pool")]
pub(crate) fn collect_sent<T>(call: impl FnOnce() -> T) -> (T, Vec<Sent>) {
    /// Restores the previous collection, even if the caller's code panics.
    struct Restore(Option<Vec<Sent>>);

    impl Drop for Restore {
        fn drop(&mut self) {
            drop(SENT.replace(self.0.take()));
        }
    }

    let _restore = Restore(SENT.replace(Some(Vec::new())));
    let result = call();
    (result, SENT.take().unwrap_or_default())
}

/// Records an object that is being serialised, if a caller collects them.
#[cfg(feature = "pool")]
pub(crate) fn note(sent: impl FnOnce() -> Sent) {
    SENT.with_borrow_mut(|all| {
        if let Some(all) = all {
            all.push(sent());
        }
    });
}

/// Remembers why a frame inside a value could not be opened, for formats whose errors carry only a code.
#[cfg(feature = "pool")]
pub(crate) fn note_opening_error(error: String) {
    OPENING_ERROR.set(Some(error));
}

/// The error noted last in this thread.
#[cfg(feature = "pool")]
pub(crate) fn take_opening_error() -> Option<String> {
    OPENING_ERROR.take()
}
