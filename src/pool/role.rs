//! Whether this process is a worker, of which pool, and where it publishes.

use std::sync::OnceLock;

use rustix::process::Pid;

use crate::store::Store;

/// The first part of the argument that makes a process a worker; the process id of the pool follows.
pub(super) const MARKER: &str = "coframe-worker:";

/// Returns the process of the pool that started this process as a worker.
pub(super) fn parent() -> Option<Pid> {
    let marked = |argument: String| argument.strip_prefix(MARKER)?.parse().ok();
    let arguments = std::env::args_os().filter_map(|argument| argument.into_string().ok());
    arguments.filter_map(marked).find_map(Pid::from_raw)
}

/// The session that this worker publishes results into, and the number of this worker in its pool.
static SESSION: OnceLock<(Store, u64)> = OnceLock::new();

/// Returns the session of the pool of this worker, and the number of this worker in it.
pub(super) fn session() -> Option<&'static (Store, u64)> {
    SESSION.get()
}

/// Sets what `session` returns, once.
pub(super) fn set_session(session: Store, number: u64) {
    SESSION.get_or_init(|| (session, number));
}
