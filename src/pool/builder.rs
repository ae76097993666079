//! The settings of a pool.

use std::{ffi::OsString, fmt::Debug, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Pool,
    codec::encode,
    function::Function,
    process::Start,
    role,
    setup::{Initializer, Setup},
    shared::Shared,
    stream::{OnFailure, Progress, Terms},
    supervisor::{Rules, Supervisor},
};
use crate::{
    error::{Error, Result},
    store::Store,
};

/// The settings of a new pool; returned by [`Pool::builder`].
///
/// ```standalone_crate
/// use coframe::Pool;
///
/// fn main() -> coframe::Result<()> {
///     coframe::pool::init();
///     # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
///     # let store = coframe::Store::open_at(dir.path().join("store"))?;
///     let pool = Pool::builder()
///         .workers(2)
///         .task_timeout(std::time::Duration::from_secs(60))
///         .retries(1)
///         # .store(&store)
///         .build()?;
///     assert_eq!(pool.worker_ids().len(), 2);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    workers: Option<usize>,
    inner_threads: Option<usize>,
    /// The function and its encoded argument, or the reason why encoding failed, which `build` returns.
    initializer: Option<Result<Initializer, Arc<Error>>>,
    max_tasks_per_worker: Option<u64>,
    task_timeout: Option<Duration>,
    initializer_timeout: Option<Duration>,
    chunk_size: Option<usize>,
    memory_limit: Option<u64>,
    environment: Vec<(OsString, OsString)>,
    store: Option<Store>,
    test: Option<String>,
    terms: Terms,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            workers: None,
            inner_threads: None,
            initializer: None,
            max_tasks_per_worker: None,
            task_timeout: None,
            initializer_timeout: None,
            chunk_size: None,
            memory_limit: None,
            environment: Vec::new(),
            store: None,
            test: None,
            terms: Terms::default(),
        }
    }

    /// Sets the number of worker processes. Default: the number of CPUs that this process may use, within the quota of
    /// its cgroup.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().workers(4).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = Some(n.max(1));
        self
    }

    /// Sets how many threads Polars and rayon may start in each worker. Default: CPUs / workers, at least 1.
    ///
    /// They are set as `POLARS_MAX_THREADS` and `RAYON_NUM_THREADS` before a worker starts; [`env`](Self::env)
    /// overrides them.
    pub fn inner_threads(mut self, n: usize) -> Self {
        self.inner_threads = Some(n.max(1));
        self
    }

    /// Calls `f(argument)` once in each worker before its first task, including workers that replace others.
    ///
    /// If it panics, the pool ends with that error. The pool also ends if a worker dies in it while the pool is built,
    /// or if ten workers in a row die in it later.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// fn seed(number: u64) {
    ///     println!("this worker starts with {number}");
    /// }
    /// let pool = coframe::Pool::builder().initializer(seed, &7).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn initializer<A: Serialize + DeserializeOwned>(mut self, f: fn(A), argument: &A) -> Self {
        let mut bytes = Vec::new();
        let encoded =
            encode(argument, &mut bytes).map_err(|detail| Error::invalid("the argument of an initializer", detail));
        let made = encoded.and_then(|()| Ok((Function::new(f)?, bytes)));
        self.initializer = Some(made.map_err(Arc::new));
        self
    }

    /// Sets how long the [`initializer`](Self::initializer) may run in a worker. After that, [`build`](Self::build)
    /// fails, or, later, the worker is killed and replaced, up to ten times in a row. Default: no limit.
    pub fn initializer_timeout(mut self, limit: Duration) -> Self {
        self.initializer_timeout = Some(limit);
        self
    }

    /// Replaces a worker after this many tasks. Default: never.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().max_tasks_per_worker(1_000).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_tasks_per_worker(mut self, n: u64) -> Self {
        self.max_tasks_per_worker = Some(n.max(1));
        self
    }

    /// Sets how long a task may run before its worker is killed and replaced, and the task fails. Default: no limit.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().task_timeout(std::time::Duration::from_secs(30)).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.task_timeout = Some(limit);
        self
    }

    /// Sets how often a task runs again after its worker died. Default: 0, because the task may have had effects.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().retries(2).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn retries(mut self, n: u32) -> Self {
        self.terms.retries = n;
        self
    }

    /// Sets how many tasks are sent to a worker in one message. Default: one at first, and then as many as take about a
    /// millisecond.
    pub fn chunk_size(mut self, n: usize) -> Self {
        self.chunk_size = Some(n.max(1));
        self
    }

    /// Sets how many tasks of one call may be in progress: taken from its items, but not yet returned. Default: 4096,
    /// and at least 64 for each worker.
    pub fn in_flight(mut self, n: usize) -> Self {
        self.terms.in_flight = Some(n.max(1));
        self
    }

    /// Sets an environment variable in the workers.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().env("POLARS_MAX_THREADS", "1").build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Limits the private writable memory of each worker to this number of bytes (`RLIMIT_DATA`). Mapped frames do not
    /// count.
    ///
    /// A task that needs more loses its worker, because Rust aborts if memory is refused. Default: no limit.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().memory_limit(2 << 30).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes.max(1));
        self
    }

    /// Sets what happens to the other tasks of a call when one fails. Default: [`OnFailure::Cancel`].
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().on_failure(coframe::pool::OnFailure::Finish).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_failure(mut self, choice: OnFailure) -> Self {
        self.terms.on_failure = choice;
        self
    }

    /// Sets a function that is called with the progress of a call whenever results have arrived, in the thread that
    /// waits for them.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// let pool = coframe::Pool::builder().on_progress(|progress| println!("{progress:?}")).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_progress(mut self, call: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.terms.progress = Some(Arc::new(call));
        self
    }

    /// Shows a bar on standard error for each call, if standard error is a terminal. Meant for one call at a time.
    #[cfg(feature = "indicatif")]
    pub fn progress_bar(self) -> Self {
        self.on_progress(super::progress_bar::show())
    }

    /// Sets the store of the pool's session, which holds results that are frames. Default: the user's default store.
    pub fn store(mut self, store: &Store) -> Self {
        self.store = Some(store.clone());
        self
    }

    /// Names the test in which workers start under `cargo test` and nextest, whose binaries lack a `main`: the full
    /// name of a test that calls [`init`](super::init) and does nothing else.
    ///
    /// ```no_run
    /// use coframe::Pool;
    ///
    /// #[test]
    /// fn coframe_worker() {
    ///     coframe::pool::init();
    /// }
    ///
    /// fn double(x: u32) -> u32 {
    ///     2 * x
    /// }
    ///
    /// #[test]
    /// fn doubles() {
    ///     // In a module `tests` its name would be "tests::coframe_worker".
    ///     let pool = Pool::builder().worker_test("coframe_worker").build().unwrap();
    ///     assert_eq!(pool.map(double, [1, 2]).unwrap(), [2, 4]);
    /// }
    /// ```
    pub fn worker_test(mut self, name: impl Into<String>) -> Self {
        self.test = Some(name.into());
        self
    }

    /// Starts the workers. Blocks until all have run their initializer: some milliseconds without one.
    ///
    /// # Errors
    ///
    /// If a worker cannot start, with what it lacks (most often the call of [`init`](super::init)); inside a worker,
    /// always; if the store cannot be opened; if [`interruptible`](crate::interruptible) ends the wait.
    pub fn build(self) -> Result<Pool> {
        if role::parent().is_some() {
            return Err(Error::invalid(
                "a pool inside a worker of another pool",
                "build it after `coframe::pool::init()`, which never returns in a worker",
            ));
        }
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = self.workers.unwrap_or(cpus);
        let inner = self.inner_threads.unwrap_or(cpus / workers).max(1).to_string();
        let store = match self.store {
            Some(store) => store,
            None => Store::open_default()?,
        };
        let initializer = self
            .initializer
            .transpose()
            .map_err(|error| Error::invalid("the initializer", format_args!("{error:?}")))?;
        let session = store.session()?;
        let setup = Setup {
            store: session.store().path().to_owned(),
            session: session.id().to_owned(),
            worker: 0,
            memory_limit: self.memory_limit,
            initializer,
        };
        let threads = ["POLARS_MAX_THREADS", "RAYON_NUM_THREADS"].map(|key| (key.into(), OsString::from(&inner)));
        let environment = threads.into_iter().chain(self.environment).collect();
        let start = Start { setup, environment, test: self.test };
        let rules = Rules {
            workers,
            task_timeout: self.task_timeout,
            initializer_timeout: self.initializer_timeout,
            chunk_size: self.chunk_size,
            max_tasks_per_worker: self.max_tasks_per_worker,
        };
        let shared = Shared::new(session.store())?;
        let supervisor = Supervisor::new(shared.clone(), start, rules);
        let thread = std::thread::Builder::new()
            .name("coframe-pool".into())
            .spawn(move || supervisor.run())
            .map_err(|e| Error::os("start a thread in", "/proc/self", e))?;
        let pool = Pool::new(shared, thread, session, self.terms, workers);
        pool.shared.started().map(|()| pool)
    }
}

impl Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("workers", &self.workers).finish_non_exhaustive()
    }
}
