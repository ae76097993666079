//! The error type of the crate: opaque, with a predicate for each kind that a caller can handle.
//!
//! A message gives what failed, the value found, the value expected and the next step, in lower case and without a
//! final stop. `Display` does not include the source; a program that prints the error joins the chain with colons.

mod into;
mod predicates;
#[cfg(any(feature = "map", feature = "pool"))]
mod refusal;
#[cfg(feature = "pool")]
mod task;
mod text;

use std::{fmt, io, path::PathBuf};

use arrow::error::ArrowError;
#[cfg(any(feature = "map", feature = "pool"))]
pub(crate) use refusal::refusal;
use rustix::io::Errno;
#[cfg(feature = "pool")]
pub(crate) use task::{Remote, TaskFailure};
use text::{Part, Shown};
pub use text::{excerpt, visible};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why a call failed. One word wide.
///
/// Use the predicates to handle it, and print the chain of [`source`](std::error::Error::source)s to show it.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = coframe::Store::open_at(dir.path().join("store"))?;
/// let error = store.open("prices").unwrap_err();
/// assert!(error.is_not_found());
/// assert!(error.to_string().starts_with("frame `prices` not found in the store"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Error {
    kind: Box<Kind>,
}

pub(crate) enum Kind {
    /// An operating-system call failed. `action` completes "could not ...".
    Os {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The file system, or a limit on it, is full.
    NoSpace {
        path: PathBuf,
        /// The least number of bytes that the call needed, if it is known.
        needed: Option<u64>,
        free: u64,
        total: u64,
    },
    NotFound {
        what: String,
        store: PathBuf,
    },
    /// A column that a frame does not have.
    NoColumn {
        column: String,
        frame: String,
        store: PathBuf,
    },
    /// A handle or version that existed earlier; `now` describes its successor.
    Superseded {
        what: String,
        now: String,
    },
    /// A session that has ended: its owner ended it, or died and was swept.
    Ended {
        session: String,
        store: PathBuf,
    },
    /// A compare-and-swap found something else.
    Conflict {
        name: String,
        expected: Option<u64>,
        found: Option<u64>,
    },
    /// Bytes that break a rule of docs/FORMAT.md.
    Corrupt {
        what: String,
        rule: &'static str,
        detail: String,
    },
    Unsupported {
        what: String,
        next: String,
    },
    /// A directory that must not be trusted.
    Untrusted {
        path: PathBuf,
        found: String,
        next: String,
    },
    /// A cell or dict of a store that was created elsewhere.
    #[cfg(feature = "sync")]
    Elsewhere {
        what: String,
        store: PathBuf,
    },
    /// A path without a store, opened by a call that does not create one.
    NoStore {
        path: PathBuf,
    },
    /// Another process held a lock until the deadline.
    Busy {
        what: String,
        holder: String,
    },
    /// The caller ended a wait.
    Interrupted {
        what: String,
    },
    /// A copy would be needed, and the copy policy forbids it.
    WouldCopy {
        column: String,
        reason: String,
    },
    Invalid {
        what: String,
        expected: String,
    },
    /// The owner of a lock died while it held the lock.
    #[cfg(feature = "sync")]
    Poisoned {
        what: String,
        cause: String,
    },
    /// A barrier that cannot open anymore.
    #[cfg(feature = "sync")]
    Broken {
        what: String,
        why: String,
    },
    /// A task of a pool ended without a result.
    #[cfg(feature = "pool")]
    Task {
        index: usize,
        argument: Option<String>,
        failure: TaskFailure,
    },
    /// A worker process could not be started.
    #[cfg(feature = "pool")]
    Worker {
        found: String,
        next: &'static str,
    },
    /// LMDB failed, but no system call did.
    #[cfg(feature = "map")]
    Dict {
        action: &'static str,
        what: String,
        source: Box<heed::Error>,
    },
    Arrow {
        action: String,
        source: ArrowError,
    },
    #[cfg(feature = "polars")]
    Polars {
        action: String,
        source: polars::error::PolarsError,
    },
}

impl Error {
    /// Whether one file is to blame, and other files of the store can be opened.
    pub(crate) fn is_of_one_file(&self) -> bool {
        // A link, a socket or a directory in the place of a file, or one that this user cannot read.
        let codes = [Errno::LOOP, Errno::NXIO, Errno::ISDIR, Errno::ACCESS].map(Errno::raw_os_error);
        let is_bad_file = |source: &io::Error| source.raw_os_error().is_some_and(|code| codes.contains(&code));
        self.is_corrupt()
            || self.is_untrusted()
            || self.is_unsupported()
            || self.is_not_found()
            || self.is_superseded()
            || matches!(&*self.kind, Kind::Os { source, .. } if is_bad_file(source))
    }

    /// True if a path, or the store at it, does not exist.
    pub(crate) fn is_missing_path(&self) -> bool {
        match &*self.kind {
            Kind::Os { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Kind::NoStore { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn os(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.into(), source.into());
        Kind::Os { action, path, source }.into()
    }

    /// Completes the error of a full store: the bytes that the call needed at least, and those that it had taken and
    /// has freed.
    pub(crate) fn with_needed(mut self, needed: u64, taken: u64) -> Self {
        if let Kind::NoSpace { needed: found, free, .. } = &mut *self.kind {
            *found = Some(needed);
            *free = free.saturating_add(taken);
        }
        self
    }

    pub(crate) fn corrupt(what: impl fmt::Display, rule: &'static str, detail: impl fmt::Display) -> Self {
        let (what, detail) = (what.to_string(), detail.to_string());
        Kind::Corrupt { what, rule, detail }.into()
    }

    pub(crate) fn unsupported(what: impl fmt::Display, next: impl fmt::Display) -> Self {
        let (what, next) = (what.to_string(), next.to_string());
        Kind::Unsupported { what, next }.into()
    }

    pub(crate) fn invalid(what: impl fmt::Display, expected: impl fmt::Display) -> Self {
        let (what, expected) = (what.to_string(), expected.to_string());
        Kind::Invalid { what, expected }.into()
    }

    pub(crate) fn arrow(action: impl fmt::Display, source: ArrowError) -> Self {
        let action = action.to_string();
        Kind::Arrow { action, source }.into()
    }

    #[cfg(feature = "polars")]
    pub(crate) fn polars(action: impl fmt::Display, source: polars::error::PolarsError) -> Self {
        let action = action.to_string();
        Kind::Polars { action, source }.into()
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self { kind: Box::new(kind) }
    }
}

/// Describes a process in a message: "process 4711 (python3)".
pub(crate) fn process(pid: &impl fmt::Display) -> String {
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("process {pid} ({})", command.trim_end())
}

fn version(found: Option<u64>) -> String {
    found.map_or_else(|| "nothing".to_owned(), |n| format!("version {n}"))
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xF_FFFF) * 10) >> 20)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Os { action, path, .. } => write!(f, "could not {action} `{}`", Shown(path)),
            Kind::NoSpace { path, needed, free, total } => {
                write!(f, "no space left in the store `{}`: ", Shown(path))?;
                if let Some(needed) = needed {
                    write!(f, "at least {} are needed, ", mib(*needed))?;
                }
                let (free, total) = (mib(*free), mib(*total));
                write!(
                    f,
                    "{free} of {total} are free; remove frames, or set COFRAME_STORE to a directory with more room \
                     (in a container: start it with a larger --shm-size)"
                )
            }
            Kind::Ended { session, store } => {
                write!(f, "the session `{session}` of the store `{}` has ended; start another one", Shown(store))
            }
            Kind::NotFound { what, store } => {
                let what = Part(what);
                write!(f, "{what} not found in the store `{}`; publish it first, or list the store", Shown(store))
            }
            Kind::NoColumn { column, frame, store } => write!(
                f,
                "column `{}` not found in the frame {frame} of the store `{}`; list its columns with `schema`",
                excerpt(column),
                Shown(store)
            ),
            Kind::Superseded { what, now } => {
                let (what, now) = (Part(what), Part(now));
                write!(f, "{what} is superseded: {now}; open it by name to get the current version")
            }
            Kind::Conflict { name, expected, found } => write!(
                f,
                "`{name}` was not published: expected {} to be the latest, found {}; read it again and retry",
                version(*expected),
                version(*found),
            ),
            Kind::Corrupt { what, rule, detail } => {
                let (what, detail) = (Part(what), Part(detail));
                write!(
                    f,
                    "{what} breaks rule {rule} of docs/FORMAT.md: {detail}; publish it again from the original data"
                )
            }
            Kind::Unsupported { what, next } => write!(f, "{} is not supported; {}", Part(what), Part(next)),
            Kind::Untrusted { path, found, next } => {
                let (found, next) = (Part(found), Part(next));
                write!(f, "the directory `{}` is refused as a store: {found}; {next}", Shown(path))
            }
            #[cfg(feature = "sync")]
            Kind::Elsewhere { what, store } => write!(
                f,
                "the {} is refused: the store `{}` was not made here (it was copied, unpacked or mounted); run \
                 `coframe adopt` or call `Store::adopt` if you trust its writer",
                Part(what),
                Shown(store)
            ),
            Kind::NoStore { path } => {
                write!(f, "no store found at `{}`; publish a frame to it first, or name another path", Shown(path))
            }
            Kind::Busy { what, holder } => {
                let (what, holder) = (Part(what), Part(holder));
                write!(f, "{what} stayed locked by {holder}; end that process or try again")
            }
            Kind::Interrupted { what } => write!(f, "the wait for {} was interrupted by its caller", Part(what)),
            Kind::WouldCopy { column, reason } => write!(
                f,
                "column `{}` would be copied: {}; allow it with CopyPolicy::Allow, or leave the column out",
                excerpt(column),
                Part(reason)
            ),
            Kind::Invalid { what, expected } => write!(f, "{}: {}", Part(what), Part(expected)),
            #[cfg(feature = "sync")]
            Kind::Poisoned { what, cause } => write!(
                f,
                "{} may be half-changed: {}; take it with `lock_poisoned`, repair the value \
                 and call `clear_poison`",
                Part(what),
                Part(cause)
            ),
            #[cfg(feature = "sync")]
            Kind::Broken { what, why } => {
                write!(f, "{} is broken: {}; `reset` it for the next round", Part(what), Part(why))
            }
            #[cfg(feature = "pool")]
            Kind::Task { index, argument, failure } => {
                write!(f, "task {index}")?;
                if let Some(argument) = argument {
                    write!(f, " (argument {argument})")?;
                }
                failure.fmt(f)
            }
            #[cfg(feature = "pool")]
            Kind::Worker { found, next } => write!(f, "could not start a worker: {found}; {next}"),
            #[cfg(feature = "map")]
            Kind::Dict { action, what, .. } => write!(f, "could not {action} {}", Part(what)),
            Kind::Arrow { action, .. } => write!(f, "could not {}", Part(action)),
            #[cfg(feature = "polars")]
            Kind::Polars { action, .. } => write!(f, "could not {}", Part(action)),
        }
    }
}

/// The message followed by its sources, so that `unwrap` shows all of them. Other libraries quote what they read in
/// full; the errors of a task's function are shown as they are.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        #[cfg(feature = "pool")]
        let is_of_task = self.is_task_failure();
        #[cfg(not(feature = "pool"))]
        let is_of_task = false;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let text = cause.to_string();
            if is_of_task { write!(f, ": {text}") } else { write!(f, ": {}", Part(&text)) }?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            Kind::Os { source, .. } => Some(source),
            #[cfg(feature = "pool")]
            Kind::Task { failure: TaskFailure::Failed(source), .. } => Some(source),
            #[cfg(feature = "map")]
            Kind::Dict { source, .. } => Some(source),
            Kind::Arrow { source, .. } => Some(source),
            #[cfg(feature = "polars")]
            Kind::Polars { source, .. } => Some(source),
            _ => None,
        }
    }
}
