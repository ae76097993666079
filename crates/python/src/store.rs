//! Stores and sessions.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use coframe::{Handle, PublishMode, PublishOptions};
use pyo3::{prelude::*, types::PyIterator};

use crate::{
    detach::{detached, limit},
    error::Result,
    frame::Frame,
    from_python::{Chain, Interruptible, Reader, reader},
};

/// A store, or the store of a session.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Store {
    pub(crate) store: coframe::Store,
}

/// Name, version, rows, columns, bytes, created, superseded versions.
type Info = (String, u64, usize, usize, usize, Option<f64>, Vec<u64>);
/// Numbers of frames, segments, cells and maps; bytes of segments, of cells and maps, free, and in all.
type Usage = ((usize, usize, usize, usize), (u64, u64, u64, u64));
/// Process, command, version, PSS.
type User = (u32, String, u64, Option<u64>);

#[pymethods]
impl Store {
    /// Opens a store, and creates it if it is missing; without a path, the default one.
    #[new]
    #[pyo3(signature = (path=None))]
    fn new(py: Python<'_>, path: Option<std::path::PathBuf>) -> Result<Self> {
        let open = || path.map_or_else(coframe::Store::open_default, coframe::Store::open_at);
        Ok(Self { store: detached(py, open)? })
    }

    /// Opens a session that another process owns.
    #[staticmethod]
    fn open_session(py: Python<'_>, path: std::path::PathBuf, id: &str) -> Result<Self> {
        Ok(Self { store: detached(py, || coframe::Store::open_session(path, id))? })
    }

    #[getter]
    fn path(&self) -> std::ffi::OsString {
        // Not a path, for which Python imports `pathlib`.
        self.store.path().as_os_str().to_owned()
    }

    #[pyo3(signature = (name, table, rest=None, *, layout, keep, metadata, mode, batch_rows, statistics=false))]
    #[expect(clippy::too_many_arguments, reason = "the options of a publish; Python has names for them")]
    fn publish(
        &self,
        py: Python<'_>,
        name: &str,
        table: &Bound<'_, PyAny>,
        rest: Option<&Bound<'_, PyIterator>>,
        layout: &str,
        keep: u32,
        metadata: Vec<(String, String)>,
        mode: Option<(Option<u64>,)>,
        batch_rows: Option<usize>,
        statistics: bool,
    ) -> Result<Frame> {
        let layout = layout.parse()?;
        let mut options = PublishOptions::new().layout(layout).keep(keep).statistics(statistics);
        options = metadata.into_iter().fold(options, |options, (key, value)| options.metadata(key, value));
        if let Some((version,)) = mode {
            options = options.mode(version.map_or(PublishMode::Create, PublishMode::Update));
        }
        if let Some(rows) = batch_rows {
            options = options.batch_rows(rows);
        }
        let reader: Reader = match rest {
            Some(rest) => Box::new(Chain::new(table, rest)?),
            None => reader(table)?,
        };
        let reader = Interruptible(reader);
        Ok(Frame { frame: detached(py, || self.store.publish_with(name, reader, &options))? })
    }

    /// Publishes an Arrow IPC file or stream.
    fn import_file(
        &self,
        py: Python<'_>,
        name: &str,
        path: std::path::PathBuf,
        layout: &str,
        keep: u32,
    ) -> Result<Frame> {
        let options = PublishOptions::new().layout(layout.parse()?).keep(keep);
        Ok(Frame { frame: detached(py, || self.store.import_with(name, path, &options))? })
    }

    #[pyo3(signature = (name, version=None))]
    fn open(&self, py: Python<'_>, name: &str, version: Option<u64>) -> Result<Frame> {
        let open = || match version {
            None => self.store.open(name),
            Some(version) => self.store.open_version(name, version),
        };
        Ok(Frame { frame: detached(py, open)? })
    }

    /// What a handle of another machine names, if its segment is here under one of these names.
    fn open_mirror(&self, py: Python<'_>, handle: &str, names: Vec<String>) -> Result<Option<Frame>> {
        detached(py, || mirror(&self.store, &handle.parse()?, &names))
    }

    fn list(&self, py: Python<'_>) -> Result<Vec<Info>> {
        let infos = detached(py, || self.store.list())?;
        let created =
            |time: std::time::SystemTime| Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64());
        let info = |i: coframe::FrameInfo| {
            (
                i.name.to_string(),
                i.version,
                i.num_rows,
                i.num_columns,
                i.size_bytes,
                i.created.and_then(created),
                i.superseded,
            )
        };
        Ok(infos.into_iter().map(info).collect())
    }

    fn versions(&self, py: Python<'_>, name: &str) -> Result<Vec<u64>> {
        detached(py, || self.store.versions(name))
    }

    fn exists(&self, py: Python<'_>, name: &str) -> Result<bool> {
        detached(py, || self.store.exists(name))
    }

    fn remove(&self, py: Python<'_>, name: &str) -> Result<bool> {
        detached(py, || self.store.remove(name))
    }

    fn remove_cell(&self, py: Python<'_>, name: &str) -> Result<bool> {
        detached(py, || self.store.remove_cell(name))
    }

    fn remove_dict(&self, py: Python<'_>, name: &str) -> Result<bool> {
        detached(py, || self.store.remove_map(name))
    }

    /// Waits for a version above `newer_than`; `None` on a timeout. Ctrl-C ends the wait.
    #[pyo3(signature = (name, newer_than=0, timeout=None))]
    fn wait(&self, py: Python<'_>, name: &str, newer_than: u64, timeout: Option<f64>) -> Result<Option<u64>> {
        detached(py, || self.store.wait(name, newer_than, limit(timeout).unwrap_or(Duration::MAX)))
    }

    fn sweep(&self, py: Python<'_>) -> Result<(usize, usize, u64, Vec<String>)> {
        let swept = detached(py, || self.store.sweep())?;
        Ok((swept.segments, swept.sessions, swept.bytes, swept.problems))
    }

    fn usage(&self, py: Python<'_>) -> Result<Usage> {
        let usage = detached(py, || self.store.usage())?;
        let files = (usage.frames, usage.segments, usage.cells, usage.maps);
        Ok((files, (usage.bytes, usage.shared_bytes, usage.free, usage.total)))
    }

    fn users(&self, py: Python<'_>, name: &str) -> Result<Vec<User>> {
        let users = detached(py, || self.store.users(name))?;
        Ok(users.into_iter().map(|user| (user.pid, user.command, user.version, user.pss)).collect())
    }

    fn verify(&self, py: Python<'_>, name: &str) -> Result<Frame> {
        Ok(Frame { frame: detached(py, || self.store.verify(name))? })
    }

    /// Starts a session, owned by this process.
    fn session(&self, py: Python<'_>) -> Result<Session> {
        let session = detached(py, || self.store.session())?;
        Ok(Session { session: Mutex::new(Some(session)) })
    }
}

/// The part of a frame that a handle of another store names, from the segment with the same id here.
fn mirror(store: &coframe::Store, handle: &Handle, names: &[String]) -> coframe::Result<Option<Frame>> {
    let Some(id) = handle.segment_id() else { return Ok(None) };
    for name in names {
        for version in store.versions(name)?.into_iter().rev() {
            // A version that is swept meanwhile is not here.
            let Ok(frame) = store.open_version(name, version) else { continue };
            if frame.segment_id() != Some(id) {
                continue;
            }
            let part = match handle.columns() {
                Some(columns) => frame.select(columns)?,
                None => frame,
            };
            let part = match handle.rows() {
                Some(rows) => part.slice(rows)?,
                None => part,
            };
            return Ok(Some(Frame { frame: part }));
        }
    }
    Ok(None)
}

/// A session that this process owns. Dropped in a forked child it removes nothing: the library's session knows its process.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Session {
    session: Mutex<Option<coframe::Session>>,
}

#[pymethods]
impl Session {
    /// The store of the session; `None` when it has ended.
    fn store(&self) -> Option<Store> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.as_ref().map(|session| Store { store: session.store().clone() })
    }

    /// The id by which other processes open it; `None` when it has ended.
    fn id(&self) -> Option<String> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.as_ref().map(|session| session.id().to_owned())
    }

    /// Ends it and removes its names. Processes keep the frames that they have open.
    fn end(&self, py: Python<'_>) {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(session));
    }
}

/// Removes the sessions of dead processes from the store at a path; returns how many.
///
/// With a `timeout` in seconds it gives up when another process has the store locked for longer.
#[pyfunction]
#[pyo3(signature = (path, timeout=None))]
pub(crate) fn end_dead_sessions(py: Python<'_>, path: std::path::PathBuf, timeout: Option<f64>) -> Result<usize> {
    let deadline = limit(timeout).and_then(|limit| Instant::now().checked_add(limit));
    let is_late = move || deadline.is_some_and(|deadline| Instant::now() > deadline);
    detached(py, || coframe::interruptible(is_late, || coframe::Store::end_dead_sessions(path)))
}
