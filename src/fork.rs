//! Which process this is, without a system call: `getpid` takes longer than a small task of a pool does.
#![expect(unsafe_code, reason = "the C library calls a handler in forked children")]

use std::sync::{
    Once,
    atomic::{AtomicU32, Ordering},
};

/// The number of forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The id of this process, or 0. A forked child resets it.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Returns the number of forks between the first process and this one. A guard compares it, so that it does nothing in
/// a forked child.
#[cfg(feature = "sync")]
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Returns the id of this process, with a system call only at the first use.
///
/// A child that was made with the system call `clone`, past the C library, gets the id of its parent.
#[inline]
pub(crate) fn process() -> u32 {
    match PROCESS.load(Ordering::Relaxed) {
        0 => first(),
        known => known,
    }
}

#[cold]
fn first() -> u32 {
    count_forks();
    let id = std::process::id();
    PROCESS.store(id, Ordering::Relaxed);
    id
}

/// Registers the handler that counts forks. Call it before the first use of [`generation`].
pub(crate) fn count_forks() {
    static REGISTERED: Once = Once::new();
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
        PROCESS.store(0, Ordering::Relaxed);
    }
    REGISTERED.call_once(|| {
        // SAFETY: the handler only changes atomics, which is allowed after a fork.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}
