//! Whether this process is a worker, whose it is, and where it publishes.

use std::sync::OnceLock;

use rustix::process::Pid;

use crate::store::Store;

/// First part of the argument that makes a process a worker; the process id of the pool follows.
pub(super) const MARKER: &str = "coframe-worker:";

/// The pool that started this process as a worker.
pub(super) fn parent() -> Option<Pid> {
    let marked = |argument: String| argument.strip_prefix(MARKER)?.parse().ok();
    let arguments = std::env::args_os().filter_map(|argument| argument.into_string().ok());
    arguments.filter_map(marked).find_map(Pid::from_raw)
}

/// The session that this worker publishes results into, and the number of this worker in its pool.
static SESSION: OnceLock<(Store, u64)> = OnceLock::new();

/// The session of the pool that this process works for, and the number that this process has there.
pub(super) fn session() -> Option<&'static (Store, u64)> {
    SESSION.get()
}

/// Sets what `session` returns, once.
pub(super) fn set_session(session: Store, number: u64) {
    SESSION.get_or_init(|| (session, number));
}
