//! The store of this machine, as a node of a cluster.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    fs::File,
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::datatypes::SchemaRef;
use coframe::{Frame, Name, Store};
use coframe_flight::{PullOptions, Remote, RemoteOptions};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::sync::oneshot;

use crate::{
    part::{Home, Part, external},
    staging::{STAGED, table_of},
    wire::TableId,
};

/// How long a node keeps a frame open after a query used or planned it, so that no sweep removes its version.
const HELD: Duration = Duration::from_mins(1);
/// Start of the names of mirrors that this crate pulls.
pub(crate) const MIRROR: &str = "_cluster.";
/// Target of the log records of scans.
const READS: &str = "coframe_cluster::reads";

/// A node: a name, a store, and how it reaches the other nodes.
///
/// Executors of the same machine are one node and share a store. A frame of another node is pulled once for all of them,
/// under the name `_cluster.<segment id>`.
pub struct Node {
    name: String,
    url: String,
    store: Store,
    remote: RemoteOptions,
    held: Mutex<HashMap<u128, Held>>,
    pulled: Mutex<BTreeMap<u128, Name>>,
    /// The directory of the store, locked while an executor of this node runs.
    entered: Mutex<Option<File>>,
    /// Tokens of statements that write no more.
    pub(crate) ended: Mutex<HashSet<String>>,
}

/// A frame of a node.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its columns.
    pub schema: SchemaRef,
    /// What a plan has to know of it.
    pub part: Part,
    /// Whether its bytes came from another store.
    pub is_mirror: bool,
    pub(crate) written: Option<TableId>,
}

struct Held {
    frame: Frame,
    used: Instant,
}

impl Node {
    /// A node whose store is served at a URL, and which pulls from other nodes with these options.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>, store: Store, remote: RemoteOptions) -> Self {
        let (name, url) = (name.into(), url.into());
        Self {
            name,
            url,
            store,
            remote,
            held: Mutex::default(),
            pulled: Mutex::default(),
            entered: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Describes the latest version of a frame, or the given one; `None` if the store does not have it. The node keeps the
    /// version open for a minute, so that a query can start. Blocks.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or the frame is damaged or was not written by coframe.
    pub fn describe(&self, name: &str, version: Option<u64>) -> Result<Option<Description>> {
        let opened = match version {
            Some(version) => self.store.open_version(name, version),
            None => self.store.open(name),
        };
        let frame = match opened {
            Ok(frame) => frame,
            Err(error) if error.is_not_found() || error.is_superseded() || error.is_invalid_argument() => {
                return Ok(None);
            }
            Err(error) => return Err(external(error)),
        };
        let (schema, part) = Part::of(&frame, &self.name, &self.url)?;
        let (is_mirror, written) = (frame.is_mirror(), table_of(&frame));
        self.hold(part.id, frame);
        Ok(Some(Description { schema, part, is_mirror, written }))
    }

    /// The names of the store, without those of mirrors that queries pulled and of tables that are being written. Blocks.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let names = self.store.names().map_err(external)?;
        let is_shown = |name: &String| !name.starts_with(MIRROR) && !name.starts_with(STAGED);
        Ok(names.into_iter().map(|name| name.to_string()).filter(is_shown).collect())
    }

    /// The segments of other nodes that queries pulled, with their names and versions in this store. Blocks.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn mirrors(&self) -> Result<Vec<(u128, Home)>> {
        let mut mirrors = Vec::new();
        for name in self.store.names().map_err(external)? {
            let id = name.as_str().strip_prefix(MIRROR).and_then(|id| u128::from_str_radix(id, 16).ok());
            let Some(id) = id else { continue };
            if let Some(version) = self.store.versions(&name).map_err(external)?.last().copied() {
                let (node, url, name) = (self.name.clone(), self.url.clone(), name.to_string());
                mirrors.push((id, Home { node, url, name, version }));
            }
        }
        Ok(mirrors)
    }

    /// Opens the frame of a part from this store, else from a mirror, which the first query pulls.
    ///
    /// # Errors
    ///
    /// If no home can be reached or has the frame any more; the error has the frame, the nodes and the causes.
    pub(crate) async fn open(self: &Arc<Self>, part: &Part, rows: &Range<usize>) -> Result<Frame> {
        let frame = match self.known(part.id) {
            Some(frame) => frame,
            None => self.open_elsewhere(part).await?,
        };
        let bytes = part.bytes as u128 * rows.len() as u128 / part.rows.max(1) as u128;
        let place = if part.is_at(&self.name) { "local" } else { "remote" };
        let node = &self.name;
        log::info!(
            target: READS,
            "{place} node={node} frame={} id={:032x} rows={}..{} bytes={bytes}",
            part.label(), part.id, rows.start, rows.end
        );
        Ok(frame)
    }

    /// Opens a frame in a thread that may block.
    async fn open_elsewhere(self: &Arc<Self>, part: &Part) -> Result<Frame> {
        let (node, wanted) = (self.clone(), part.clone());
        let (send, opened) = oneshot::channel();
        // Not `spawn_blocking`: its threads belong to the runtime, on which a `Remote` refuses to block.
        let opening = std::thread::Builder::new().name("coframe-open".into()).spawn(move || {
            // Fails if the task was cancelled.
            let _ = send.send(node.open_blocking(&wanted));
        });
        opening?;
        opened.await.map_err(|_| exec_datafusion_err!("opening `{}` panicked", part.label()))?
    }

    fn open_blocking(&self, part: &Part) -> Result<Frame> {
        let frame = match self.local(part)? {
            Some(frame) => frame,
            None => self.pull(part)?,
        };
        if frame.segment_id() != Some(part.id) || frame.num_rows() != part.rows {
            return exec_err!("the frame `{}` of node `{}` is not the one of the plan", part.label(), self.name);
        }
        self.hold(part.id, frame.clone());
        Ok(frame)
    }

    /// Closes the frames that no query used for a minute, so that the store can sweep their versions.
    pub fn release_idle(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, held| held.used.elapsed() < HELD);
    }

    fn known(&self, id: u128) -> Option<Frame> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_mut(&id)?;
        held.used = Instant::now();
        Some(held.frame.clone())
    }

    fn hold(&self, id: u128, frame: Frame) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, held| held.used.elapsed() < HELD);
        held.insert(id, Held { frame, used: Instant::now() });
    }

    /// A version of its name, or a mirror, with the segment.
    fn local(&self, part: &Part) -> Result<Option<Frame>> {
        for name in [part.name.clone(), mirror(part.id)] {
            let Ok(name) = name.parse::<Name>() else { continue };
            let versions = self.store.versions(&name).map_err(external)?;
            // A version may be swept meanwhile.
            let mut frames =
                versions.into_iter().rev().filter_map(|version| self.store.open_version(&name, version).ok());
            if let Some(frame) = frames.find(|frame| frame.segment_id() == Some(part.id)) {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Of the first home that answers. Of all processes of this machine, one pulls and the others wait.
    fn pull(&self, part: &Part) -> Result<Frame> {
        let mut causes = Vec::new();
        let name = mirror(part.id);
        for home in part.homes.iter().filter(|home| home.node != self.name) {
            let options = PullOptions::new().version(home.version).name(&name).map_err(external)?;
            let pulled = Remote::connect_with(&home.url, &self.remote)
                .and_then(|remote| remote.pull_with(&self.store, &home.name, &options));
            match pulled {
                Ok(frame) => {
                    let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
                    pulled.insert(part.id, frame.name().clone());
                    log::info!("pulled `{}` from node `{}`: {} bytes", part.label(), home.node, frame.size_bytes());
                    return Ok(frame);
                }
                Err(error) => causes.push(format!("node `{}`: {error}", home.node)),
            }
        }
        if part.is_at(&self.name) {
            causes.push(format!("node `{}`: its store does not have this version any more", self.name));
        }
        let (label, node) = (part.label(), &self.name);
        exec_err!(
            "node `{node}` cannot read the frame `{label}`; {}; run the query again, or restart the node",
            causes.join("; ")
        )
    }

    /// Removes the mirrors that this node pulled.
    pub fn remove_mirrors(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let pulled = std::mem::take(&mut *self.pulled.lock().unwrap_or_else(PoisonError::into_inner));
        for name in pulled.values() {
            if let Err(error) = self.store.remove(name) {
                log::warn!("cannot remove the mirror `{name}`: {error}");
            }
        }
    }

    /// Records that an executor of this store runs. Call it when an executor starts.
    ///
    /// If no other executor of the store runs, this removes what executors that were killed left there: hidden frames of
    /// `CREATE TABLE`, and the mirrors of other nodes' frames, unless `keep_mirrors` is set.
    ///
    /// # Errors
    ///
    /// If the directory of the store cannot be opened or locked, or a frame cannot be removed.
    pub fn enter(&self, keep_mirrors: bool) -> Result<()> {
        let path = self.store.path();
        let locked = |error: io::Error| exec_datafusion_err!("cannot lock the store `{}`: {error}", path.display());
        let directory = File::open(path).map_err(locked)?;
        if is_alone(&directory).map_err(locked)? {
            self.remove_left(keep_mirrors)?;
        }
        flock(&directory, FlockOperation::LockShared).map_err(io::Error::from).map_err(locked)?;
        *self.entered.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory);
        Ok(())
    }

    /// The counterpart of [`Self::enter`]: the last executor of the store removes the same frames. Call it when an executor
    /// stops.
    ///
    /// # Errors
    ///
    /// Those of [`Self::enter`].
    pub fn leave(&self, keep_mirrors: bool) -> Result<()> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let directory = self.entered.lock().unwrap_or_else(PoisonError::into_inner).take();
        match directory {
            Some(directory) if is_alone(&directory)? => self.remove_left(keep_mirrors),
            _ => Ok(()),
        }
    }

    fn remove_left(&self, keep_mirrors: bool) -> Result<()> {
        for name in self.store.names().map_err(external)? {
            if name.as_str().starts_with(STAGED) || !keep_mirrors && name.as_str().starts_with(MIRROR) {
                self.store.remove(&name).map_err(external)?;
            }
        }
        Ok(())
    }
}

/// Locks the directory of a store, if no executor has it locked.
fn is_alone(directory: &File) -> io::Result<bool> {
    match flock(directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The name of a mirror of a segment.
fn mirror(id: u128) -> String {
    format!("{MIRROR}{id:032x}")
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.name).field("store", &self.store.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};

    use super::*;

    #[test]
    fn the_first_and_the_last_executor_of_a_store_remove_what_others_left() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let store = Store::open_at(directory.path().join("store")).unwrap();
        let node = || Node::new("n0", "", store.clone(), RemoteOptions::new());
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
        let leave_frames = || {
            for name in ["_staged.token.1".to_owned(), mirror(7), "t".to_owned()] {
                store.publish(&name, &rows).unwrap();
            }
        };
        let names = || store.names().unwrap().into_iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let (first, second) = (node(), node());
        leave_frames();
        first.enter(true).unwrap();
        assert_eq!(names(), [mirror(7), "t".to_owned()], "mirrors are kept");
        leave_frames();
        second.enter(false).unwrap();
        assert_eq!(names().len(), 3, "a statement may run on the first");
        first.leave(false).unwrap();
        assert_eq!(names().len(), 3, "a statement may run on the second");
        second.leave(false).unwrap();
        assert_eq!(names(), ["t"]);
    }
}
