//! Functions on frames, in many processes.
//!
//! A [`Pool`] is for Rust functions on shared frames what `multiprocessing.Pool` and `joblib.Parallel` are to Python:
//! a frame is never sent, only its handle, and results that are frames come back the same way ([`Published`]).
//! Processes instead of threads, so that a task may crash, be killed, or run out of memory or time, and is one error
//! among results.
//!
//! ```standalone_crate
//! use coframe::{Frame, Pool, polars::prelude::*};
//!
//! fn total(part: Frame) -> coframe::Result<i64> {
//!     let df = part.to_polars()?;
//!     Ok(df.column("x").unwrap().i64().unwrap().sum().unwrap_or(0))
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     coframe::pool::init(); // first line: this process may be a worker
//!     # let dir = tempfile::tempdir_in("/dev/shm")?;
//!     # let store = coframe::Store::open_at(dir.path().join("store"))?;
//!     let frame = store.publish("numbers", &polars::df!("x" => (1..=1000_i64).collect::<Vec<_>>())?)?;
//!     let pool = Pool::builder().workers(2) // default: all CPUs
//!         # .store(&store)
//!         .build()?;
//!     let totals = pool.try_map(total, frame.split(8))?;
//!     assert_eq!(totals.iter().sum::<i64>(), 500_500);
//!     Ok(())
//! }
//! ```
//!
//! # Tasks
//!
//! A task is a function pointer and an argument that serde takes: closures that capture something are not function
//! pointers, so what a function needs is in its argument (or was made by the [`initializer`](Builder::initializer)).
//! Workers are the same executable, started again. They inherit only the environment and the working directory. Unlike
//! after a fork, they contain no thread or lock of the caller.
//!
//! [`Frame`](crate::Frame) and [`Handle`](crate::Handle) may be anywhere in arguments and results. The pool keeps every frame of an
//! unfinished task, so that a publish that supersedes the frame does not remove it.
//!
//! # What goes wrong
//!
//! If a task fails in any way, the call returns and the pool continues: [`is_panic`](crate::Error::is_panic),
//! [`is_task_failure`](crate::Error::is_task_failure), [`is_worker_lost`](crate::Error::is_worker_lost),
//! [`is_timed_out`](crate::Error::is_timed_out), each with [`task`](crate::Error::task), the position of the item. No
//! task runs twice unless [`retries`](Builder::retries) allows it, and results that a worker had finished before it
//! died are kept.
//!
//! Waits for results, and those of [`Builder::build`] and [`Pool::join`], end when
//! [`interruptible`](crate::interruptible) wants them to. In a forked child each call fails: the pool belongs to the
//! process that built it.
//!
//! When the process of the pool dies, its workers end within a second, and remove its session. Ctrl-C reaches the
//! whole process group; workers leave it to the pool's process.
//!
//! # Threads
//!
//! A pool has one thread in the process that built it, and a second one once its workers print, which writes that to
//! standard output and error. Each worker has one next to the one that runs tasks. They are the only ones that coframe
//! starts.

mod atomic;
mod board;
mod builder;
mod call;
mod codec;
mod common;
mod function;
mod held;
mod lines;
mod mapping;
mod outbox;
mod printer;
mod process;
#[cfg(feature = "indicatif")]
mod progress_bar;
mod published;
mod report;
mod role;
mod setup;
mod shared;
mod steps;
mod stream;
mod supervisor;
mod task;
mod watch;
mod wire;
mod worker;

use std::{error::Error as StdError, fmt, fmt::Debug, sync::Arc, thread::JoinHandle, time::Duration};

pub use builder::Builder;
pub use published::Published;
pub use stream::{MapIter, OnFailure, Progress, Unordered};
pub use task::Task;
pub use worker::init;

use function::Function;
use rustix::process::{Pid, getpid};
use serde::{Serialize, de::DeserializeOwned};
use shared::Shared;
use stream::Terms;

use crate::{
    error::Result,
    interrupt::Looks,
    store::{Session, Store},
};

/// What can be a task's argument: anything that serde takes both ways and that can be shown in an error.
pub trait Argument: Serialize + DeserializeOwned + Debug {}
impl<A: Serialize + DeserializeOwned + Debug> Argument for A {}

/// What a task can return: anything that serde takes both ways.
pub trait Output: Serialize + DeserializeOwned {}
impl<R: Serialize + DeserializeOwned> Output for R {}

/// What the error of a fallible task can be: an error, a string, or anything else that becomes a boxed error.
pub trait TaskError: Into<Box<dyn StdError + Send + Sync>> {}
impl<E: Into<Box<dyn StdError + Send + Sync>>> TaskError for E {}

/// Worker processes that run functions. The [module](self) has an example.
///
/// `Send + Sync`: calls from several threads share the workers in turn. Dropping the pool kills running tasks and
/// leaves no process and no file behind. In a forked child, dropping the copy does nothing.
pub struct Pool {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Dropped after the workers have ended.
    session: Session,
    terms: Terms,
    workers: usize,
    process: Pid,
}

impl Pool {
    fn new(shared: Arc<Shared>, thread: JoinHandle<()>, session: Session, terms: Terms, workers: usize) -> Self {
        Self { shared, thread: Some(thread), session, terms, workers, process: getpid() }
    }

    /// Returns the settings of a new pool.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Process ids of the current workers.
    #[must_use]
    pub fn worker_ids(&self) -> Vec<u32> {
        self.shared.worker_ids()
    }

    /// Calls a function with one argument and returns at once.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// let task = pool.submit(square, &7)?;
    /// assert_eq!(task.wait()?, 49);
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit<A: Argument, R: Output>(&self, f: fn(A) -> R, argument: &A) -> Result<Task<R>> {
        Task::start(&self.shared, Function::new(f)?, argument, self.terms.retries)
    }

    /// Like [`submit`](Self::submit), for a function that may fail.
    pub fn try_submit<A, R, E>(&self, f: fn(A) -> Result<R, E>, argument: &A) -> Result<Task<R>>
    where
        A: Argument,
        R: Output,
        E: TaskError,
    {
        Task::start(&self.shared, Function::fallible(f)?, argument, self.terms.retries)
    }

    /// The pool's session: frames published there die with the pool, or with its process.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// let frame = pool.session().publish("input", &polars::df!("x" => [1, 2]).unwrap())?; // removed with the pool
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn session(&self) -> &Store {
        self.session.store()
    }

    /// Accepts no more calls. Calls that were made before continue.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Closes the pool and blocks until all tasks are done and the workers have ended.
    ///
    /// # Errors
    ///
    /// [`is_interrupted`](crate::Error::is_interrupted) when [`interruptible`](crate::interruptible) ends the wait: the
    /// workers are killed then, as by [`terminate`](Self::terminate). [`is_invalid_argument`](crate::Error::is_invalid_argument) in a
    /// forked child, because the pool's threads are not copied.
    pub fn join(mut self) -> Result<()> {
        self.shared.check_process("`join` of a pool")?;
        self.shared.close();
        self.shared.wait_until_over()?;
        // What the workers printed last is being written.
        let mut looks = Looks::new();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            looks.check(|| "the output of a pool that is joined".to_owned())?;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.join_thread();
        Ok(())
    }

    /// Kills the workers. Tasks that are not finished are errors for their callers.
    ///
    /// # Errors
    ///
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) in a forked child: the workers are its parent's.
    pub fn terminate(mut self) -> Result<()> {
        self.shared.check_process("`terminate` of a pool")?;
        self.shared.terminate();
        self.join_thread();
        Ok(())
    }

    fn join_thread(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the workers end with their sockets.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if getpid() != self.process {
            // A forked child: the thread is the parent's, and the session looks after itself.
            std::mem::forget(self.thread.take());
            return;
        }
        self.shared.terminate();
        self.join_thread();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.worker_ids()).finish_non_exhaustive()
    }
}
