//! One call of a function on many items, as the pool keeps it: which tasks wait, and which are finished.

use std::{
    collections::VecDeque,
    fmt::Debug,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    task::Waker,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    codec::describe,
    common::Common,
    function::Function,
    held::{Held, encode_held},
    published::{Owner, Owners},
};
use crate::{
    error::{Error, Kind, Result, TaskFailure},
    frame::Sent,
    interrupt,
    segment::Mapping,
};

/// The bytes of arguments that are sent to a worker in one message, unless one argument has more.
const CHUNK_BYTES: usize = 4 << 20;

/// A task that waits for a worker, or runs in one.
pub(super) struct Queued {
    pub(super) index: usize,
    pub(super) argument: Vec<u8>,
    /// The frames of the argument, which can be opened until the task is finished.
    held: Vec<Held>,
    /// How many of its workers may still die.
    pub(super) retries: u32,
    /// The number of consecutive workers that died before they started it.
    pub(super) deaths: u32,
}

impl Queued {
    /// Returns the owners of the results of other tasks that are in the argument.
    pub(super) fn owners(&self) -> impl Iterator<Item = &Arc<Owner>> {
        self.held.iter().filter_map(|held| match held {
            Held::Sent(Sent::Other(other)) => other.downcast_ref(),
            _ => None,
        })
    }
}

/// A task that has ended.
pub(super) struct Finished {
    pub(super) index: usize,
    pub(super) result: std::result::Result<Value, TaskFailure>,
    /// The encoded argument of a task that failed, for its error.
    pub(super) argument: Option<Vec<u8>>,
}

/// An encoded result, with the frames in it.
pub(super) struct Value {
    pub(super) bytes: Vec<u8>,
    /// Apart, because most results have none, and every result is moved several times.
    pub(super) frames: Option<Box<Frames>>,
}

/// The frames in a result.
pub(super) struct Frames {
    /// Keeps them from being swept until the result is read.
    pub(super) held: Vec<Arc<Mapping>>,
    /// Their owners. Frames that the caller does not take are dropped with the value.
    pub(super) owners: Owners,
}

/// One call. Callers and the supervisor share it.
pub(super) struct Call {
    pub(super) function: Function,
    /// The argument that all tasks get in addition to their own.
    pub(super) common: Option<Common>,
    describe: fn(&[u8]) -> Option<String>,
    /// Whether the call is in the pool's queue. It changes only under the lock of the orders.
    pub(super) in_queue: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Queued>,
    finished: VecDeque<Finished>,
    /// The caller does not want results anymore.
    abandoned: bool,
    /// Moving average of task durations, in nanoseconds; `None` before the first task has ended.
    mean: Option<u64>,
    /// Why no more results will arrive: the pool's workers are gone.
    ended: Option<String>,
    /// The waker of the executor that awaits the call's only task.
    waker: Option<Waker>,
}

impl Call {
    pub(super) fn new<A: DeserializeOwned + Debug>(function: Function, common: Option<Common>) -> Arc<Self> {
        Arc::new(Self {
            function,
            common,
            describe: describe::<A>,
            in_queue: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes an item as a task.
    pub(super) fn encode<A: Serialize>(index: usize, argument: &A, retries: u32) -> Result<Queued, TaskFailure> {
        let encoded = encode_held(argument);
        let (argument, held) = encoded.map_err(|detail| TaskFailure::NotSent { what: "argument", detail })?;
        Ok(Queued { index, argument, held, retries, deaths: 0 })
    }

    /// Adds tasks at the end.
    pub(super) fn add(&self, tasks: &mut Vec<Queued>) {
        self.state().waiting.extend(tasks.drain(..));
    }

    /// Puts back a task that has not run, before all others.
    pub(super) fn requeue(&self, task: Queued) {
        let mut state = self.state();
        if !state.abandoned {
            state.waiting.push_front(task);
        }
    }

    /// Takes the next tasks. `count` is called with the number of waiting tasks and the mean time of one, and returns
    /// how many to take.
    pub(super) fn take(&self, count: impl FnOnce(usize, Option<u64>) -> usize, into: &mut Vec<Queued>) {
        let mut state = self.state();
        let mut count = count(state.waiting.len(), state.mean);
        let mut room = CHUNK_BYTES;
        while let (Some(_), Some(task)) = (count.checked_sub(1), state.waiting.front()) {
            // The first one is taken, whatever its size.
            if !into.is_empty() && task.argument.len() > room {
                break;
            }
            count -= 1;
            room = room.saturating_sub(task.argument.len());
            into.extend(state.waiting.pop_front());
        }
    }

    pub(super) fn mean(&self) -> Option<u64> {
        self.state().mean
    }

    /// Returns whether results wait to be taken.
    pub(super) fn has_finished(&self) -> bool {
        !self.state().finished.is_empty()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Takes finished tasks, with the nanoseconds that each took, if they are known.
    pub(super) fn finish(&self, ends: impl IntoIterator<Item = (Finished, Option<u64>)>) {
        let mut unwanted = Vec::new();
        let mut state = self.state();
        for (finished, took) in ends {
            if let Some(took) = took {
                let took = took.max(1);
                state.mean =
                    Some(state.mean.map_or(took, |mean| (mean / 8).saturating_mul(7).saturating_add(took / 8).max(1)));
            }
            if state.abandoned {
                unwanted.push(finished);
            } else {
                state.finished.push_back(finished);
            }
        }
        let waker = state.waker.take();
        drop(state);
        // Outside the lock: dropping unread results removes their frames from the store.
        drop(unwanted);
        self.notify(waker);
    }

    /// Wakes all that wait. Do not call it under the lock: a waker is the code of an executor.
    fn notify(&self, waker: Option<Waker>) {
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns whether its caller wants no more results.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Drops the tasks that wait, and the results of those that run.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        let (waiting, finished) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.finished));
        drop(state);
        // Outside the lock: they unmap frames.
        drop((waiting, finished));
    }

    /// Ends all tasks that wait, and wakes their callers.
    pub(super) fn end(&self, why: &str) {
        let mut state = self.state();
        state.ended = Some(why.to_owned());
        while let Some(task) = state.waiting.pop_front() {
            let (index, argument) = (task.index, Some(task.argument));
            let result = Err(TaskFailure::Cancelled(why.to_owned()));
            state.finished.push_back(Finished { index, result, argument });
        }
        let waker = state.waker.take();
        drop(state);
        self.notify(waker);
    }

    /// Waits for finished tasks and takes them all. Takes none if the time limit passes or the pool ended.
    ///
    /// # Errors
    ///
    /// If the caller of [`interruptible`](crate::interruptible) ends the wait; then nothing was taken.
    pub(super) fn wait(&self, into: &mut VecDeque<Finished>, limit: Option<Duration>) -> Result<()> {
        let start = Instant::now();
        let mut state = self.state();
        loop {
            if !state.finished.is_empty() {
                std::mem::swap(&mut state.finished, into);
                return Ok(());
            }
            let rest = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            if state.ended.is_some() || rest.is_some_and(|rest| rest.is_zero()) {
                return Ok(());
            }
            state = match interrupt::slice(rest) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(rest) => self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0,
            };
            if interrupt::is_possible() && state.finished.is_empty() {
                // The caller's code runs without the lock, which the supervisor needs.
                drop(state);
                interrupt::check(|| "a result of a pool".to_owned())?;
                state = self.state();
            }
        }
    }

    /// Takes finished tasks. Returns false if no task has finished yet: `waker` is then called when one has, or when
    /// the pool ends.
    pub(super) fn poll(&self, into: &mut VecDeque<Finished>, waker: &Waker) -> bool {
        let mut state = self.state();
        if state.finished.is_empty() && state.ended.is_none() {
            let replaced = state.waker.replace(waker.clone());
            drop(state);
            drop(replaced);
            return false;
        }
        std::mem::swap(&mut state.finished, into);
        true
    }

    /// Returns why no more results will arrive.
    pub(super) fn why_ended(&self) -> Option<String> {
        self.state().ended.clone()
    }

    /// Returns the error of a task.
    pub(super) fn error(&self, index: usize, argument: Option<&[u8]>, failure: TaskFailure) -> Error {
        let argument = argument.and_then(self.describe);
        Kind::Task { index, argument, failure }.into()
    }
}
