//! The frames of `CREATE TABLE .. AS` in the store of a node: hidden while the query runs, one published frame at its end.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{MutexGuard, PoisonError},
};

use coframe::{Frame, PublishMode, PublishOptions};
use datafusion::{
    common::{Result, exec_err},
    execution::SendableRecordBatchStream,
};

use crate::{
    node::{MIRROR, Node},
    part::external,
    wire::{CommitRequest, DropRequest, TableId},
};

/// Rows of a batch of a table, as `coframe-datafusion` writes them.
const BATCH_ROWS: usize = 1 << 17;
/// Metadata of a frame that is a part of a table: the token of its statement, and of how many parts the table is.
const TABLE: &str = "coframe.cluster.table";

/// A text that is different at each call, on each machine.
pub(crate) fn unique() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// The start of the hidden names of a statement. An executor that starts removes them, as it does mirrors.
fn prefix(token: &str) -> String {
    format!("{MIRROR}{token}.")
}

/// The statement that wrote a frame, and how many parts its table has.
pub(crate) fn table_of(frame: &Frame) -> Option<TableId> {
    let (token, parts) = frame.metadata().get(TABLE)?.split_once(' ')?;
    Some(TableId { token: token.to_owned(), parts: parts.parse().ok()? })
}

impl Node {
    /// Writes rows as a frame with a hidden name. Returns the name and the number of rows. If the rows fail or the future
    /// is dropped, nothing is left.
    pub(crate) async fn stage(&self, token: &str, rows: SendableRecordBatchStream) -> Result<(String, u64)> {
        let name = prefix(token) + &unique();
        let frame = coframe_datafusion::publish_stream(rows, self.store(), &name, &PublishOptions::new()).await?;
        // The statement may have failed meanwhile.
        if self.ended().contains(token) {
            self.store().remove(&name).map_err(external)?;
            return exec_err!("the statement of `{name}` has ended");
        }
        Ok((name, frame.num_rows() as u64))
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
        self.remove_staged(token)
    }

    /// Removes what a statement left: its hidden frames, and its part of the table, if the request names the table. Blocks.
    pub(crate) fn drop_parts(&self, request: &DropRequest) -> Result<()> {
        self.ended().insert(request.token.clone());
        self.remove_staged(&request.token)?;
        let Some(name) = &request.name else { return Ok(()) };
        match self.store().open(name) {
            Ok(frame) if table_of(&frame).is_some_and(|table| table.token == request.token) => {
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
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use coframe::Store;
    use coframe_flight::RemoteOptions;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::stream;

    use super::*;

    fn rows(of: std::ops::Range<i64>) -> SendableRecordBatchStream {
        let column = Arc::new(of.collect::<Int64Array>());
        let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
        Box::pin(RecordBatchStreamAdapter::new(batch.schema(), stream::iter([Ok(batch)])))
    }

    fn names(node: &Node) -> Vec<String> {
        node.store().names().unwrap().into_iter().map(|name| name.to_string()).collect()
    }

    #[tokio::test]
    async fn a_partition_that_was_written_twice_is_published_once() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let store = Store::open_at(directory.path().join("store")).unwrap();
        let node = Node::new("n0", "", store.clone(), RemoteOptions::new());
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
