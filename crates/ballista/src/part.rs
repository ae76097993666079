//! One frame of a table, and where it is, without the frame.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use coframe::Frame;
use coframe_datafusion::FrameTable;
use datafusion::{
    catalog::TableProvider,
    common::{Result, Statistics, plan_err},
    error::DataFusionError,
};

/// An error of a library as one of DataFusion.
pub(crate) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A node that has a frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Home {
    /// The name of the node, with which its executors start.
    pub node: String,
    /// Where its store is served: `http://host:port` of a [`coframe_flight::Server`].
    pub url: String,
    /// The name of the frame in this store.
    pub name: String,
    /// Its version in this store.
    pub version: u64,
}

/// What a plan has to know of a frame: enough to plan a scan and to open it elsewhere, in a few hundred bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The name of the frame.
    pub name: String,
    /// The id of its segment, which is the same in every store.
    pub id: u128,
    /// Its rows.
    pub rows: usize,
    /// The bytes of its segment.
    pub bytes: usize,
    /// The rows of each of its batches, in order.
    pub batches: Vec<usize>,
    /// The nodes that have it; at least one.
    pub homes: Vec<Home>,
    /// What is known of its values.
    pub statistics: Statistics,
}

impl Part {
    /// Describes a frame of a node, and returns its columns too. Reads no values.
    ///
    /// # Errors
    ///
    /// If the frame is a part of one, if coframe did not write it, or if it is damaged.
    pub fn of(frame: &Frame, node: &str, url: &str) -> Result<(SchemaRef, Self)> {
        let (name, version) = (frame.name().to_string(), frame.version());
        let label = format!("`{name}@{version}` of node `{node}`");
        let Some(id) = frame.segment_id() else {
            return plan_err!("{label} has no segment id, because coframe did not write the file; publish it again");
        };
        let table = FrameTable::new(frame.clone())?;
        // Without columns no array is made.
        let outline = frame.select([""; 0]).map_err(external)?;
        let home = Home { node: node.to_owned(), url: url.to_owned(), name: name.clone(), version };
        let part = Self {
            name,
            id,
            rows: frame.num_rows(),
            bytes: frame.size_bytes(),
            batches: outline.batches().iter().map(RecordBatch::num_rows).filter(|rows| *rows > 0).collect(),
            homes: vec![home],
            statistics: table.statistics().unwrap_or_else(|| Statistics::new_unknown(frame.schema())),
        };
        Ok((table.schema(), part))
    }

    /// `name@version`, with the version of its first home.
    pub(crate) fn label(&self) -> String {
        format!("{}@{}", self.name, self.homes.first().map_or(0, |home| home.version))
    }

    /// Whether a node has it.
    pub(crate) fn is_at(&self, node: &str) -> bool {
        self.homes.iter().any(|home| home.node == node)
    }

    /// The names of its homes, in order.
    pub(crate) fn nodes(&self) -> Vec<&str> {
        let mut nodes: Vec<&str> = self.homes.iter().map(|home| home.node.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// Parts of a table, shared by its scans.
pub(crate) type Parts = Arc<[Part]>;
