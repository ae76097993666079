//! The frames of `CREATE TABLE .. AS` in the store of a node: hidden while the query runs, one published frame at its end.

use std::{
    collections::HashSet,
    convert::Infallible,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, MutexGuard, PoisonError},
};

use coframe::{Frame, PublishMode, PublishOptions};
use datafusion::{
    common::{Result, exec_datafusion_err, exec_err},
    execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::oneshot;

use crate::{
    node::Node,
    part::external,
    wire::{CommitRequest, DropRequest, TableId},
};

/// Rows of a batch of a table, as `coframe-datafusion` writes them.
const BATCH_ROWS: usize = 1 << 17;
/// Metadata of a frame that is a part of a table: the token of its statement, and of how many parts the table is.
const TABLE: &str = "coframe.cluster.table";

/// Start of the hidden names of the frames that tasks of a `CREATE TABLE` write.
pub(crate) const STAGED: &str = "_staged.";

/// A text that differs in every call, on every machine.
pub(crate) fn unique() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// The start of the hidden names of a statement.
fn prefix(token: &str) -> String {
    format!("{STAGED}{token}.")
}

/// A hidden frame that is removed when this value is dropped, unless the task returns it.
struct Hidden {
    node: Arc<Node>,
    name: String,
    rows: u64,
    is_kept: bool,
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = self.node.store().remove(&self.name)
        {
            log::warn!("the hidden frame `{}` remains: {error}", self.name);
        }
    }
}

/// The rows until `stopped` has lost its sender, and an error then.
fn until(rows: SendableRecordBatchStream, stopped: oneshot::Receiver<Infallible>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let cancelled = stopped.map(|_| Err(exec_datafusion_err!("the task was cancelled")));
    let rows = stream::select(rows.map(Some).chain(stream::iter([None])), stream::once(cancelled).map(Some));
    let rows = rows.take_while(|item| std::future::ready(item.is_some())).filter_map(std::future::ready);
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The statement that wrote a frame, and how many parts its table has.
pub(crate) fn table_of(frame: &Frame) -> Option<TableId> {
    let (token, parts) = frame.metadata().get(TABLE)?.split_once(' ')?;
    Some(TableId { token: token.to_owned(), parts: parts.parse().ok()? })
}

impl Node {
    /// Writes rows as a frame with a hidden name. Returns the name and the number of rows. If the rows fail, the future is
    /// dropped or the statement has ended, nothing is left.
    pub(crate) async fn stage(self: &Arc<Self>, token: &str, rows: SendableRecordBatchStream) -> Result<(String, u64)> {
        let name = prefix(token) + &unique();
        // A thread publishes, which this future cannot cancel. So another task waits for it, and knows when to remove the frame.
        let (_running, stopped) = oneshot::channel();
        let (node, hidden, rows) = (self.clone(), name.clone(), until(rows, stopped));
        let writing = tokio::spawn(async move {
            let options = PublishOptions::new();
            let frame = coframe_datafusion::publish_stream(rows, node.store(), &hidden, &options).await?;
            let rows = frame.num_rows() as u64;
            Ok(Hidden { node, name: hidden, rows, is_kept: false })
        });
        let written: Result<Hidden> =
            writing.await.map_err(|error| exec_datafusion_err!("writing `{name}`: {error}"))?;
        let mut written = written?;
        // Frames of before the end were removed at the end.
        if self.ended().contains(token) {
            return exec_err!("the statement of `{name}` has ended");
        }
        written.is_kept = true;
        Ok((name, written.rows))
    }

    /// Publishes hidden frames, one after the other, as one frame that did not exist, then removes them. Blocks.
    pub(crate) fn commit(&self, request: &CommitRequest) -> Result<()> {
        let CommitRequest { name, token, parts, staged } = request;
        let mut frames = Vec::new();
        for staged in staged {
            if !staged.starts_with(&prefix(token)) {
                return exec_err!("`{staged}` is not a frame of the statement {token}");
            }
            frames.push(self.store().open(staged).map_err(external)?);
        }
        let Some(first) = frames.first() else {
            return exec_err!("no frames were written for `{name}` on node `{}`", self.name());
        };
        let options = PublishOptions::new().statistics(true).batch_rows(BATCH_ROWS).mode(PublishMode::Create);
        let options = options.metadata(TABLE, format!("{token} {parts}"));
        let mut writer = self.store().writer_with(name, first.schema().clone(), &options).map_err(external)?;
        for frame in &frames {
            writer.write(frame).map_err(external)?;
        }
        writer.publish().map_err(external)?;
        drop(frames);
        // The client did not wait so long, and has removed the other parts.
        if self.ended().contains(token) {
            self.remove_part(name, token)?;
            return exec_err!("the statement that creates `{name}` has ended");
        }
        self.remove_staged(token)
    }

    /// Removes what a statement left: its hidden frames, and its part of the table, if the request names the table. Blocks.
    pub(crate) fn drop_parts(&self, request: &DropRequest) -> Result<()> {
        self.ended().insert(request.token.clone());
        self.remove_staged(&request.token)?;
        request.name.as_ref().map_or(Ok(()), |name| self.remove_part(name, &request.token))
    }

    /// Removes a part of a table if the statement wrote it.
    fn remove_part(&self, name: &str, token: &str) -> Result<()> {
        match self.store().open(name) {
            Ok(frame) if table_of(&frame).is_some_and(|table| table.token == token) => {
                self.store().remove(name).map(|_| ()).map_err(external)
            }
            Err(error) if !error.is_not_found() && !error.is_invalid_argument() => Err(external(error)),
            _ => Ok(()),
        }
    }

    fn ended(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_staged(&self, token: &str) -> Result<()> {
        let names = self.store().names().map_err(external)?;
        for name in names.into_iter().filter(|name| name.as_str().starts_with(&prefix(token))) {
            self.store().remove(&name).map_err(external)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use arrow::array::{Int64Array, RecordBatch};
    use coframe::Store;
    use coframe_flight::RemoteOptions;
    use tokio::time::sleep;

    use super::*;

    fn rows(of: std::ops::Range<i64>) -> SendableRecordBatchStream {
        let column = Arc::new(of.collect::<Int64Array>());
        let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
        Box::pin(RecordBatchStreamAdapter::new(batch.schema(), stream::iter([Ok(batch)])))
    }

    fn names(node: &Node) -> Vec<String> {
        node.store().names().unwrap().into_iter().map(|name| name.to_string()).collect()
    }

    fn node() -> (tempfile::TempDir, Arc<Node>) {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let store = Store::open_at(directory.path().join("store")).unwrap();
        (directory, Arc::new(Node::new("n0", "", store, RemoteOptions::new())))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_that_is_cancelled_at_any_time_leaves_no_frame() {
        let (_directory, node) = node();
        let mut whole = Duration::ZERO;
        for _ in 0..3 {
            let start = Instant::now();
            node.stage("token", rows(0..100_000)).await.unwrap();
            whole = start.elapsed();
        }
        node.remove_staged("token").unwrap();
        for step in 0..200 {
            let staging = tokio::spawn({
                let node = node.clone();
                async move { node.stage(&format!("token{step}"), rows(0..100_000)).await.map(|_| ()) }
            });
            // Timers of the runtime are too coarse.
            let (start, limit) = (Instant::now(), whole * step / 150);
            while start.elapsed() < limit {
                std::hint::spin_loop();
            }
            staging.abort();
            if staging.await.is_ok() {
                node.remove_staged(&format!("token{step}")).unwrap();
            }
        }
        let start = Instant::now();
        while !names(&node).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", names(&node));
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_part_that_is_published_after_its_statement_has_ended_is_removed() {
        let (_directory, node) = node();
        let (staged, _) = node.stage("token", rows(0..10)).await.unwrap();
        node.ended().insert("token".to_owned());
        let request = CommitRequest { name: "t".to_owned(), token: "token".to_owned(), parts: 1, staged: vec![staged] };
        let error = node.commit(&request).unwrap_err().to_string();
        assert!(error.contains("the statement that creates `t` has ended"), "{error}");
        node.remove_staged("token").unwrap();
        assert_eq!(names(&node), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_partition_that_was_written_twice_is_published_once() {
        let (_directory, node) = node();
        let store = node.store().clone();
        let (first, written) = node.stage("token", rows(0..10)).await.unwrap();
        assert_eq!(written, 10);
        let (again, _) = node.stage("token", rows(0..10)).await.unwrap();
        let (other, _) = node.stage("token", rows(10..13)).await.unwrap();
        let (foreign, _) = node.stage("another", rows(0..1)).await.unwrap();
        assert!(first != again && node.names().unwrap().is_empty(), "they are hidden");
        let request = |name: &str, staged: &[&String]| CommitRequest {
            name: name.to_owned(),
            token: "token".to_owned(),
            parts: 1,
            staged: staged.iter().map(|name| (*name).clone()).collect(),
        };
        assert!(node.commit(&request("t", &[&foreign])).is_err(), "of another statement");
        node.commit(&request("t", &[&again, &other])).unwrap();
        assert_eq!(store.open("t").unwrap().num_rows(), 13);
        assert_eq!(names(&node), [foreign.clone(), "t".to_owned()]);
        // A statement that failed removes its part, and not a frame of the same name that it did not write.
        store
            .publish("u", &RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap())
            .unwrap();
        for name in ["t", "u", "v"] {
            node.drop_parts(&DropRequest { token: "token".to_owned(), name: Some(name.to_owned()) }).unwrap();
        }
        assert_eq!(names(&node), [foreign, "u".to_owned()]);
        // A task that ends after its statement leaves nothing.
        assert!(node.stage("token", rows(0..10)).await.unwrap_err().to_string().contains("has ended"));
        assert_eq!(names(&node).len(), 2);
    }
}
