//! The reasons why a task of a pool failed.

use std::fmt;

use super::{Error, Kind};

/// The reason why a task failed.
#[derive(Clone, Debug)]
pub(crate) enum TaskFailure {
    Panicked { message: String, location: String },
    Failed(Remote),
    Lost { pid: u32, how: String },
    TimedOut(std::time::Duration),
    Cancelled(String),
    NotSent { what: &'static str, detail: String },
}

/// An error of another process: its message and those of its sources.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    message: String,
    source: Option<Box<Self>>,
}

impl Remote {
    pub(crate) fn from_chain(chain: Vec<String>) -> Self {
        let link = |source: Option<Self>, message| Some(Self { message, source: source.map(Box::new) });
        chain.into_iter().rev().fold(None, link).unwrap_or_else(|| Self { message: "no message".into(), source: None })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Remote {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source: &(dyn std::error::Error + 'static) = self.source.as_deref()?;
        Some(source)
    }
}

impl Error {
    /// The position of the task that this error is about, among the items of its call; `None` for other errors.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn parse(text: String) -> Result<i32, std::num::ParseIntError> {
    ///     text.parse()
    /// }
    /// let error = pool.try_map(parse, ["1".to_owned(), "x".to_owned()]).unwrap_err();
    /// assert_eq!(error.task(), Some(1)); // the second item
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn task(&self) -> Option<usize> {
        match *self.kind {
            Kind::Task { index, .. } => Some(index),
            _ => None,
        }
    }

    /// True if a task panicked. Its worker keeps running.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn fail(n: u32) -> u32 {
    ///     panic!("{n}")
    /// }
    /// assert!(pool.map(fail, [1]).unwrap_err().is_panic());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.is_task(|failure| matches!(failure, TaskFailure::Panicked { .. }))
    }

    /// True if a task's function returned an error, whose chain is the [`source`](std::error::Error::source) of
    /// this one.
    #[must_use]
    pub fn is_task_failure(&self) -> bool {
        self.is_task(|failure| matches!(failure, TaskFailure::Failed(_)))
    }

    /// True if the worker of a task died while it ran: killed, aborted, out of memory, or exited.
    ///
    /// ```no_run
    /// # fn main() -> coframe::Result<()> {
    /// # coframe::pool::init();
    /// # let pool = coframe::Pool::builder().build()?;
    /// fn exit(code: i32) {
    ///     std::process::exit(code)
    /// }
    /// assert!(pool.map(exit, [3]).unwrap_err().is_worker_lost());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_worker_lost(&self) -> bool {
        self.is_task(|failure| matches!(failure, TaskFailure::Lost { .. }))
    }

    /// True if a task of a pool exceeded its timeout and was killed.
    ///
    /// A wait for a lock that another process holds is [`is_busy`](Error::is_busy) or `None`, as its method documents.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.is_task(|failure| matches!(failure, TaskFailure::TimedOut(_)))
    }

    /// True if a task was cancelled, or its pool ended before it did.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.is_task(|failure| matches!(failure, TaskFailure::Cancelled(_)))
    }

    fn is_task(&self, test: impl FnOnce(&TaskFailure) -> bool) -> bool {
        matches!(&*self.kind, Kind::Task { failure, .. } if test(failure))
    }
}

/// What follows "task 7".
impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { message, location } => write!(f, " panicked at {location}: {message}"),
            Self::Failed(_) => f.write_str(" failed"),
            Self::Lost { pid, how } => {
                write!(f, " lost its worker: process {pid} {how}; `Builder::retries` runs such tasks again")
            }
            Self::TimedOut(limit) => write!(f, " ran for longer than {limit:?}, its time-out, and was killed"),
            Self::Cancelled(why) => write!(f, " was cancelled: {why}"),
            Self::NotSent { what, detail } => write!(f, ": its {what} cannot be sent: {detail}"),
        }
    }
}
