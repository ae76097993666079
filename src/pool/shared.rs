//! What callers and the supervisor share: calls with waiting tasks, and orders.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

use super::{
    call::{Call, Queued},
    published::Owned,
};
use crate::{
    error::{Error, Result},
    fork::process,
    interrupt,
    store::Store,
};

/// What callers and the supervisor share.
pub(super) struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
    wake: OwnedFd,
    /// The supervisor was woken and has not read its orders since.
    is_woken: AtomicBool,
    /// The pool's session, in which workers publish results.
    session: Store,
    /// The results that are frames of this process.
    owned: Arc<Owned>,
    /// The process in which the supervisor runs.
    process: u32,
}

/// What callers want from the supervisor, and what it reports about itself.
#[derive(Default)]
struct Orders {
    /// Calls with waiting tasks, in turn.
    calls: VecDeque<Arc<Call>>,
    /// Calls whose running task is to be killed.
    cancelled: Vec<Arc<Call>>,
    /// Callers that may still add tasks.
    open: usize,
    /// No more calls are accepted; the workers end when all is done.
    closed: bool,
    terminated: bool,
    workers: Vec<u32>,
    started: Option<Result<()>>,
    /// Why the supervisor has ended.
    over: Option<String>,
}

impl Shared {
    pub(super) fn new(session: &Store) -> Result<Arc<Self>> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::os("make an event for", "/proc/self", e))?;
        Ok(Arc::new(Self {
            orders: Mutex::default(),
            changed: Condvar::new(),
            wake,
            is_woken: AtomicBool::new(false),
            session: session.clone(),
            owned: Arc::default(),
            process: process(),
        }))
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        // Nothing that can panic runs under this lock.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        // One system call for all orders that the supervisor reads together.
        if self.is_woken.swap(true, Ordering::SeqCst) {
            return;
        }
        // The counter is full only if it was not read for long; then the supervisor is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    pub(super) fn session(&self) -> &Store {
        &self.session
    }

    pub(super) fn owned(&self) -> &Arc<Owned> {
        &self.owned
    }

    /// Returns whether this process built the pool. In a forked child its locks may belong to threads that do not exist
    /// there.
    pub(super) fn is_here(&self) -> bool {
        process() == self.process
    }

    /// Refuses what needs the pool's thread in a process that was forked after the pool was built.
    pub(super) fn check_process(&self, what: &str) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        let parent = self.process;
        let expected = format_args!("process {parent} built it and has its thread; build a pool here, after the fork");
        Err(Error::invalid(format_args!("{what} of the parent process, in a forked child,"), expected))
    }

    /// Starts to add tasks; `end_adding` must follow.
    pub(super) fn begin_adding(&self) -> Result<()> {
        self.check_process("a call of a pool")?;
        let mut orders = self.orders();
        if let Some(why) = &orders.over {
            return Err(Error::invalid("a call of a pool that has ended", why));
        }
        if orders.closed {
            return Err(Error::invalid("a call of a closed pool", "calls must come before `close`"));
        }
        orders.open += 1;
        Ok(())
    }

    pub(super) fn end_adding(&self) {
        self.orders().open -= 1;
        self.wake();
    }

    /// Adds tasks to a call, and wakes the supervisor.
    pub(super) fn submit(&self, call: &Arc<Call>, tasks: &mut Vec<Queued>) -> Result<()> {
        if tasks.is_empty() {
            return Ok(());
        }
        let mut orders = self.orders();
        if let Some(why) = &orders.over {
            return Err(Error::invalid("a call of a pool that has ended", why));
        }
        call.add(tasks);
        orders.enqueue(call);
        drop(orders);
        self.wake();
        Ok(())
    }

    /// Ends the running task of an abandoned call.
    pub(super) fn cancel(&self, call: &Arc<Call>) {
        if !self.is_here() {
            return;
        }
        call.abandon();
        self.orders().cancelled.push(call.clone());
        self.wake();
    }

    pub(super) fn close(&self) {
        if !self.is_here() {
            return;
        }
        self.orders().closed = true;
        self.wake();
    }

    pub(super) fn terminate(&self) {
        if !self.is_here() {
            return;
        }
        self.orders().terminated = true;
        self.wake();
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.orders().terminated
    }

    /// Returns whether the pool was closed, and whether it was terminated; moves the cancelled calls out.
    pub(super) fn state(&self, cancelled: &mut Vec<Arc<Call>>) -> (bool, bool) {
        let mut orders = self.orders();
        cancelled.append(&mut orders.cancelled);
        (orders.closed, orders.terminated)
    }

    /// Returns whether there are tasks to do, or callers that may add some.
    pub(super) fn has_calls(&self) -> bool {
        let orders = self.orders();
        // A call that was abandoned may still be in the queue, without a waiting caller.
        orders.open > 0 || orders.calls.iter().any(|call| call.has_waiting())
    }

    /// Takes a chunk of the call whose turn it is. `size` is called with the number of waiting tasks and their mean
    /// time.
    pub(super) fn next_call(
        &self,
        size: impl FnOnce(usize, Option<u64>) -> usize,
        tasks: &mut Vec<Queued>,
    ) -> Option<Arc<Call>> {
        let mut orders = self.orders();
        let call = orders.next()?;
        call.take(size, tasks);
        if call.has_waiting() {
            orders.enqueue(&call);
        }
        Some(call)
    }

    /// Puts a call back into the queue.
    pub(super) fn enqueue(&self, call: &Arc<Call>) {
        self.orders().enqueue(call);
    }

    pub(super) fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(super) fn clear_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        // Before the orders are read, because an order that comes later wakes again.
        self.is_woken.store(false, Ordering::SeqCst);
    }

    pub(super) fn set_worker_ids(&self, ids: Vec<u32>) {
        self.orders().workers = ids;
    }

    pub(super) fn set_started(&self, result: Result<()>) {
        self.orders().started = Some(result);
        self.changed.notify_all();
    }

    /// Refuses calls from now on; returns those that still wait.
    pub(super) fn set_over(&self, why: &str) -> VecDeque<Arc<Call>> {
        let mut orders = self.orders();
        orders.over = Some(why.to_owned());
        orders.workers.clear();
        self.changed.notify_all();
        std::mem::take(&mut orders.calls)
    }

    pub(super) fn worker_ids(&self) -> Vec<u32> {
        if !self.is_here() {
            return Vec::new();
        }
        self.orders().workers.clone()
    }

    /// Waits until all workers are ready, or one cannot start.
    pub(super) fn started(&self) -> Result<()> {
        self.wait_for("the workers of a pool to start", |orders| orders.started.take())?
    }

    /// Waits until the workers have ended.
    pub(super) fn wait_until_over(&self) -> Result<()> {
        self.wait_for("the tasks of a pool that is joined", |orders| orders.over.as_ref().map(drop))
    }

    fn wait_for<R>(&self, what: &str, look: impl Fn(&mut Orders) -> Option<R>) -> Result<R> {
        let mut orders = self.orders();
        loop {
            if let Some(found) = look(&mut orders) {
                return Ok(found);
            }
            orders = match interrupt::slice(None) {
                None => self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner),
                Some(slice) => {
                    let waited = self.changed.wait_timeout(orders, slice);
                    // The caller's code runs without the lock, which the supervisor needs.
                    drop(waited.unwrap_or_else(PoisonError::into_inner));
                    interrupt::check(|| what.to_owned())?;
                    self.orders()
                }
            };
        }
    }
}

impl Orders {
    /// Adds a call to the queue, unless it is in it. Its time does not depend on the number of calls.
    fn enqueue(&mut self, call: &Arc<Call>) {
        if !call.in_queue.swap(true, Ordering::Relaxed) {
            self.calls.push_back(call.clone());
        }
    }

    /// Takes the first call from the queue.
    fn next(&mut self) -> Option<Arc<Call>> {
        let call = self.calls.pop_front()?;
        call.in_queue.store(false, Ordering::Relaxed);
        Some(call)
    }
}
