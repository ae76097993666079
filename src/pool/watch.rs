//! The second thread of a worker: ends the process when its pool is gone, and sends results that wait too long.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open},
    time::{ClockId, clock_gettime},
};

use super::outbox::Outbox;
use crate::{
    error::{Error, Result},
    store::Store,
};

/// How long a finished result may wait for a task that is still running.
const WHILE_RUNNING: Duration = Duration::from_millis(20);
/// How often it checks whether a task runs.
const WHILE_IDLE: Duration = Duration::from_millis(400);

/// Returns the nanoseconds of `CLOCK_MONOTONIC`, which is the same in all processes.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000_000 + nanoseconds.unwrap_or(0)
}

/// Opens the pool's process, which must still be this one's parent.
pub(super) fn open_parent(parent: Pid) -> Result<OwnedFd> {
    let pidfd = pidfd_open(parent, PidfdFlags::empty())
        .map_err(|e| Error::os("watch the process of the pool,", format!("/proc/{parent}"), e))?;
    // Checked after opening, because an id that was reused does not belong to the parent any more.
    if getppid() != Some(parent) {
        return Err(Error::invalid(
            format_args!("the argument that names process {parent} as the pool"),
            "that process is not the parent of this one; only a pool starts a worker",
        ));
    }
    Ok(pidfd)
}

/// Starts the thread. `store` and `session` are what the pool leaves when it dies.
pub(super) fn start(pool: OwnedFd, outbox: Arc<Outbox>, store: PathBuf, session: String) -> Result<()> {
    let watch = move || {
        while !is_over(&pool, &outbox) {
            let _ = outbox.flush_if_free();
        }
        // The pool was killed; otherwise it would have ended this process first. Its session lost its owner.
        let _ = Store::end_session_of_dead(&store, &session);
        // Not `exit`: no process waits for what the task holds.
        let _ = kill_process(getpid(), Signal::KILL);
    };
    let thread = std::thread::Builder::new().name("coframe-watcher".into()).spawn(watch);
    thread.map(drop).map_err(|e| Error::os("start a thread in", "/proc/self", e))
}

/// Waits for a while; returns true if the pool's process has ended.
fn is_over(pool: &OwnedFd, outbox: &Outbox) -> bool {
    let wait = if outbox.board.running().is_some() { WHILE_RUNNING } else { WHILE_IDLE };
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut [PollFd::new(pool, PollFlags::IN)], Some(&wait)) {
        Ok(0) | Err(Errno::INTR) => false,
        Ok(_) | Err(_) => true,
    }
}
