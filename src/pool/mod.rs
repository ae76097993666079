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
//! [`Frame`] and [`Handle`](crate::Handle) may be anywhere in arguments and results. The pool keeps every frame of an
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

mod board;
mod builder;
mod call;
mod codec;
mod common;
mod function;
mod held;
mod lines;
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

use common::Common;
use function::Function;
use rustix::process::{Pid, getpid};
use serde::{Serialize, de::DeserializeOwned};
use shared::Shared;
use stream::{Stream, Terms};

use crate::{
    error::Result,
    frame::Frame,
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

    fn stream<I>(&self, function: Function, items: I) -> Result<Stream<'_, I::IntoIter>>
    where
        I: IntoIterator<Item: Argument>,
    {
        self.stream_with(function, None, items)
    }

    fn stream_with<I>(&self, function: Function, common: Option<Common>, items: I) -> Result<Stream<'_, I::IntoIter>>
    where
        I: IntoIterator<Item: Argument>,
    {
        let limit = self.terms.in_flight.unwrap_or(4096.max(64 * self.workers));
        Stream::new(&self.shared, (function, common), items.into_iter(), limit, self.terms.clone())
    }

    /// Calls a function with each item and returns the results in the order of the items. Blocks until all have ended.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// assert_eq!(pool.map(square, 1..=3)?, [1, 4, 9]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first failure, by default at once ([`Builder::on_failure`]). [`map_iter`](Self::map_iter) gives each task its own.
    pub fn map<A: Argument, R: Output>(&self, f: fn(A) -> R, items: impl IntoIterator<Item = A>) -> Result<Vec<R>> {
        self.stream(Function::new(f)?, items)?.collect()
    }

    /// Like [`map`](Self::map), for a function that may fail: its error, with its chain, is a failure of the task.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// fn parse(text: String) -> Result<i32, std::num::ParseIntError> {
    ///     text.parse()
    /// }
    /// # let pool = coframe::Pool::builder().build()?;
    /// let error = pool.try_map(parse, ["1".to_owned(), "x".to_owned()]).unwrap_err();
    /// assert_eq!((error.is_task_failure(), error.task()), (true, Some(1)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_map<A, R, E>(&self, f: fn(A) -> Result<R, E>, items: impl IntoIterator<Item = A>) -> Result<Vec<R>>
    where
        A: Argument,
        R: Output,
        E: TaskError,
    {
        self.stream(Function::fallible(f)?, items)?.collect()
    }

    /// As [`map`](Self::map), for a function that also gets a value which all its tasks share: a frame, a model, a
    /// configuration.
    ///
    /// The value is encoded once, sent to each worker once, and decoded (a frame: opened) once in each, where
    /// [`map`](Self::map) would do all of it for each item. A worker drops it after the call.
    ///
    /// ```no_run
    /// use coframe::{Frame, Pool, polars::prelude::*};
    ///
    /// fn above(prices: &Frame, limit: f64) -> PolarsResult<usize> {
    ///     let prices = prices.to_polars()?;
    ///     Ok(prices.column("x")?.f64()?.gt(limit).sum().unwrap_or(0) as usize)
    /// }
    ///
    /// fn main() -> coframe::Result<()> {
    ///     coframe::pool::init();
    ///     let pool = Pool::builder().build()?;
    ///     let prices = pool.session().publish("prices", &df!("x" => [1.0, 2.5]).unwrap())?;
    ///     assert_eq!(pool.try_map_with(above, &prices, [0.0, 2.0])?, [2, 1]);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`map`](Self::map), and [`is_invalid_argument`](crate::Error::is_invalid_argument) when the value cannot be serialised.
    pub fn map_with<S, A, R>(&self, f: fn(&S, A) -> R, shared: &S, items: impl IntoIterator<Item = A>) -> Result<Vec<R>>
    where
        S: Serialize + DeserializeOwned + 'static,
        A: Argument,
        R: Output,
    {
        self.stream_with(Function::common(f)?, Some(Common::new(shared)?), items)?.collect()
    }

    /// Like [`map_with`](Self::map_with), for a function that may fail.
    pub fn try_map_with<S, A, R, E>(
        &self,
        f: fn(&S, A) -> Result<R, E>,
        shared: &S,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>>
    where
        S: Serialize + DeserializeOwned + 'static,
        A: Argument,
        R: Output,
        E: TaskError,
    {
        self.stream_with(Function::common_fallible(f)?, Some(Common::new(shared)?), items)?.collect()
    }

    /// Cuts a frame into `n` row ranges and calls a function with each; results in the order of rows.
    ///
    /// The most common case, the same as `map(f, frame.split(n))`. More ranges than workers, such as four
    /// for each, even out what takes longer. Each task opens its part in microseconds and copies nothing.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// # let frame = pool.session().open("flights")?;
    /// fn rows(part: coframe::Frame) -> usize {
    ///     part.num_rows()
    /// }
    /// let counts = pool.map_rows(rows, &frame, 16)?; // 16 ranges, no copy
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_rows<R: Output>(&self, f: fn(Frame) -> R, frame: &Frame, n: usize) -> Result<Vec<R>> {
        self.map(f, frame.split(n))
    }

    /// Like [`map_rows`](Self::map_rows), for a function that may fail.
    pub fn try_map_rows<R, E>(&self, f: fn(Frame) -> Result<R, E>, frame: &Frame, n: usize) -> Result<Vec<R>>
    where
        R: Output,
        E: TaskError,
    {
        self.try_map(f, frame.split(n))
    }

    /// Calls a function with each item, for its effects. Blocks until all calls have ended.
    pub fn for_each<A: Argument>(&self, f: fn(A), items: impl IntoIterator<Item = A>) -> Result<()> {
        self.map(f, items).map(drop)
    }

    /// Calls a function with each item and folds the results, in the order of items, in this process.
    ///
    /// Holds only the results of tasks in progress, so its memory does not depend on the number of items.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn length(text: String) -> usize {
    ///     text.len()
    /// }
    /// let total = pool.map_reduce(length, ["a".to_owned(), "bc".to_owned()], 0, |sum, n| sum + n)?;
    /// assert_eq!(total, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_reduce<A, R, T>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
        start: T,
        mut fold: impl FnMut(T, R) -> T,
    ) -> Result<T>
    where
        A: Argument,
        R: Output,
    {
        self.map_iter(f, items)?.try_fold(start, |folded, result| Ok(fold(folded, result?)))
    }

    /// Calls a function with each item, lazily: results in the order of items as they come, each task's own error
    /// among them.
    ///
    /// Items are taken from the iterator by the thread that asks for results, no more than
    /// [`in_flight`](Builder::in_flight) ahead; it may be endless, and slow, but must not wait for results itself.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// for result in pool.map_iter(square, 0..1_000_000_000)? { // takes items as workers need them
    ///     if result? > 100 {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_iter<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<MapIter<'_, I::IntoIter, R>>
    where
        A: Argument,
        R: Output,
        I: IntoIterator<Item = A>,
    {
        Ok(MapIter::new(self.stream(Function::new(f)?, items)?))
    }

    /// Like [`map_iter`](Self::map_iter), for a function that may fail.
    pub fn try_map_iter<A, R, E, I>(&self, f: fn(A) -> Result<R, E>, items: I) -> Result<MapIter<'_, I::IntoIter, R>>
    where
        A: Argument,
        R: Output,
        E: TaskError,
        I: IntoIterator<Item = A>,
    {
        Ok(MapIter::new(self.stream(Function::fallible(f)?, items)?))
    }

    /// As [`map_iter`](Self::map_iter), with results as they come, each with the position of its item. The position of a
    /// failure is [`task`](crate::Error::task).
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    /// for item in pool.map_unordered(square, 1..=3)? {
    ///     println!("{:?}", item); // as they finish
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_unordered<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Unordered<'_, I::IntoIter, R>>
    where
        A: Argument,
        R: Output,
        I: IntoIterator<Item = A>,
    {
        Ok(Unordered::new(self.stream(Function::new(f)?, items)?))
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
