//! Writes the output of workers in a separate thread, so that a terminal or a pipe that accepts nothing does not stop
//! the pool.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::shared::Shared;

/// The number of bytes that may wait. Above it the pipes of workers are not read: a worker that prints more blocks, as
/// at any pipe.
const MOST: usize = 1 << 20;
/// How long a pool that is terminated waits for its last output.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
pub(super) enum Output {
    Stdout,
    Stderr,
}

/// The queue of one pool. Its thread starts with the first output.
#[derive(Clone)]
pub(super) struct Printer(Arc<Queue>);

struct Queue {
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Output, Vec<u8>)>,
    /// The number of bytes that wait or are being written.
    bytes: usize,
    has_thread: bool,
    is_closed: bool,
}

impl Printer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Queue { shared, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Returns whether more output can wait. The supervisor is woken once it can again.
    pub(super) fn has_room(&self) -> bool {
        self.0.state().bytes < MOST
    }

    /// Queues bytes to be written after those that wait.
    pub(super) fn print(&self, to: Output, bytes: Vec<u8>) {
        let mut state = self.0.state();
        if !state.has_thread {
            let queue = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name("coframe-printer".into()).spawn(move || queue.serve());
            if thread.is_err() {
                drop(state);
                return write(to, &bytes);
            }
            state.has_thread = true;
        }
        state.bytes += bytes.len();
        state.waiting.push_back((to, bytes));
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, or for at most a second if the pool is terminated. Then ends the thread.
    pub(super) fn finish(&self) {
        let start = Instant::now();
        let mut state = self.0.state();
        while state.bytes > 0 && !(self.0.shared.is_terminated() && start.elapsed() > FAREWELL) {
            let slice = Duration::from_millis(20);
            state = self.0.changed.wait_timeout(state, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_closed = true;
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.state();
        while !state.is_closed {
            let Some((to, bytes)) = state.waiting.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            write(to, &bytes);
            state = self.state();
            let was_full = state.bytes >= MOST;
            state.bytes -= bytes.len();
            if was_full && state.bytes < MOST {
                self.shared.wake();
            }
            self.changed.notify_all();
        }
    }
}

/// Bypasses the lock and the buffer of `std::io::Stdout`, because a caller may hold that lock while it waits for
/// results.
fn write(to: Output, mut rest: &[u8]) {
    let to = match to {
        Output::Stdout => rustix::stdio::stdout(),
        Output::Stderr => rustix::stdio::stderr(),
    };
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            // Nothing can be done for output that no process reads; the tasks go on.
            Err(_) => return,
        }
    }
}
