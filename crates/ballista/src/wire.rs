//! What crosses the wire in addition to Ballista's messages.
//!
//! A tag never gets another meaning. A message of another build is an error or has defaults, but never other rows.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, Statistics, exec_datafusion_err, exec_err};
use datafusion_proto::protobuf::Schema as ProtoSchema;
use datafusion_proto_common::Statistics as ProtoStatistics;
use prost::Message;

use crate::part::{Home, Part, external};

/// Tables and scans of this crate start with these bytes. No message of Ballista does.
const MAGIC: &[u8] = b"coframe1";
/// A [`StageMessage`] starts with these.
const STAGE_MAGIC: &[u8] = b"coframe2";
/// The action that describes a frame of a node.
pub(crate) const DESCRIBE: &str = "coframe.describe";
/// The action that lists the frames of a node.
pub(crate) const LIST: &str = "coframe.list";

/// The action that publishes what a node wrote.
pub(crate) const COMMIT: &str = "coframe.commit";
/// The action that removes what a statement wrote on a node.
pub(crate) const DROP: &str = "coframe.drop";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HomeMessage {
    #[prost(string, tag = "1")]
    pub(crate) node: String,
    #[prost(string, tag = "2")]
    pub(crate) url: String,
    #[prost(uint64, tag = "3")]
    pub(crate) version: u64,
    #[prost(string, tag = "4")]
    pub(crate) name: String,
}

/// A mirror that a node has of a segment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MirrorMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(crate) home: Option<HomeMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "3")]
    id: Vec<u8>,
    #[prost(uint64, tag = "4")]
    rows: u64,
    #[prost(uint64, tag = "5")]
    bytes: u64,
    #[prost(uint64, repeated, tag = "6")]
    batches: Vec<u64>,
    #[prost(message, repeated, tag = "7")]
    homes: Vec<HomeMessage>,
    /// Absent in a physical plan, which does not need them.
    #[prost(message, optional, tag = "8")]
    statistics: Option<ProtoStatistics>,
}

/// A table in a logical plan.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TableMessage {
    #[prost(message, repeated, tag = "1")]
    pub(crate) parts: Vec<PartMessage>,
    #[prost(message, optional, tag = "2")]
    schema: Option<ProtoSchema>,
}

/// A scan in a physical plan.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScanMessage {
    /// DataFusion's own node for a scan of Arrow files.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) scan: Vec<u8>,
    /// Separate, because DataFusion's node has no field for it.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) predicate: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) parts: Vec<PartMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DescribeRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// The latest if `None`.
    #[prost(uint64, optional, tag = "2")]
    pub(crate) version: Option<u64>,
}

/// A frame of a node. Empty if the node does not have it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DescribeAnswer {
    #[prost(message, optional, tag = "1")]
    pub(crate) table: Option<TableMessage>,
    /// Whether its bytes came from another store.
    #[prost(bool, tag = "2")]
    pub(crate) is_mirror: bool,
    #[prost(string, tag = "3")]
    pub(crate) node: String,
    /// The mirrors that queries pulled to this node, of any name.
    #[prost(message, repeated, tag = "4")]
    pub(crate) mirrors: Vec<MirrorMessage>,
    /// Which table it is a part of, if `CREATE TABLE` wrote it.
    #[prost(message, optional, tag = "5")]
    pub(crate) written: Option<TableId>,
}

/// A table that `CREATE TABLE` wrote, and the number of its parts.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct TableId {
    #[prost(string, tag = "1")]
    pub(crate) token: String,
    #[prost(uint64, tag = "2")]
    pub(crate) parts: u64,
}

/// A node of a plan that writes its rows on the nodes that compute them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StageMessage {
    #[prost(string, tag = "1")]
    pub(crate) token: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) nodes: Vec<String>,
}

/// Hidden frames to publish as one of this name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommitRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) token: String,
    /// Nodes that publish a part.
    #[prost(uint64, tag = "3")]
    pub(crate) parts: u64,
    #[prost(string, repeated, tag = "4")]
    pub(crate) staged: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DropRequest {
    #[prost(string, tag = "1")]
    pub(crate) token: String,
    /// Its part of the table too, if it was published.
    #[prost(string, optional, tag = "2")]
    pub(crate) name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DoneAnswer {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListAnswer {
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
    /// Partitions that the executor computes at a time.
    #[prost(uint32, tag = "2")]
    pub(crate) cores: u32,
}

impl HomeMessage {
    pub(crate) fn of(home: &Home) -> Self {
        let Home { node, url, name, version } = home.clone();
        Self { node, url, version, name }
    }

    pub(crate) fn home(self) -> Home {
        let Self { node, url, version, name } = self;
        Home { node, url, name, version }
    }
}

impl PartMessage {
    pub(crate) fn of(part: &Part, with_statistics: bool) -> Self {
        Self {
            name: part.name.clone(),
            id: part.id.to_be_bytes().to_vec(),
            rows: part.rows as u64,
            bytes: part.bytes as u64,
            batches: part.batches.iter().map(|rows| *rows as u64).collect(),
            homes: part.homes.iter().map(HomeMessage::of).collect(),
            statistics: with_statistics.then(|| ProtoStatistics::from(&part.statistics)),
        }
    }

    pub(crate) fn part(self, schema: &Schema) -> Result<Part> {
        let Ok(id) = <[u8; 16]>::try_from(self.id.as_slice()) else {
            return exec_err!("the segment id of `{}` has {} bytes, expected 16", self.name, self.id.len());
        };
        let rows = usize::try_from(self.rows).map_err(external)?;
        let batches: Vec<usize> = self.batches.iter().map(|rows| *rows as usize).collect();
        let counted = batches.iter().try_fold(0_usize, |sum, rows| sum.checked_add(*rows));
        if counted != Some(rows) {
            return exec_err!("the batches of `{}` have {counted:?} rows, the frame {rows}", self.name);
        }
        let statistics = match &self.statistics {
            Some(statistics) => Statistics::try_from(statistics)?,
            None => Statistics::new_unknown(schema),
        };
        if statistics.column_statistics.len() != schema.fields().len() {
            let (found, expected) = (statistics.column_statistics.len(), schema.fields().len());
            return exec_err!("the statistics of `{}` are of {found} columns, the table has {expected}", self.name);
        }
        Ok(Part {
            name: self.name,
            id: u128::from_be_bytes(id),
            rows,
            bytes: usize::try_from(self.bytes).map_err(external)?,
            batches,
            homes: self.homes.into_iter().map(HomeMessage::home).collect(),
            statistics,
        })
    }
}

impl TableMessage {
    pub(crate) fn of(schema: &Schema, parts: &[Part]) -> Result<Self> {
        let parts = parts.iter().map(|part| PartMessage::of(part, true)).collect();
        Ok(Self { parts, schema: Some(ProtoSchema::try_from(schema).map_err(external)?) })
    }

    pub(crate) fn table(self) -> Result<(SchemaRef, Vec<Part>)> {
        let schema = self.schema.as_ref().ok_or_else(|| exec_datafusion_err!("a table of frames has no schema"))?;
        let schema = Schema::try_from(schema).map_err(external)?;
        let parts = self.parts.into_iter().map(|part| part.part(&schema)).collect::<Result<_>>()?;
        Ok((Arc::new(schema), parts))
    }
}

/// A message that starts with bytes by which it is recognized.
pub(crate) trait Tagged: Message + Default {
    const TAG: &[u8];
}

impl Tagged for TableMessage {
    const TAG: &[u8] = MAGIC;
}

impl Tagged for ScanMessage {
    const TAG: &[u8] = MAGIC;
}

impl Tagged for StageMessage {
    const TAG: &[u8] = STAGE_MAGIC;
}

/// A message after its tag.
pub(crate) fn encode<M: Tagged>(message: &M, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.extend_from_slice(M::TAG);
    message.encode(buffer).map_err(external)
}

/// A message that [`encode`] wrote; `None` if it does not start with its tag.
pub(crate) fn decode<M: Tagged>(bytes: &[u8]) -> Option<Result<M>> {
    bytes.strip_prefix(M::TAG).map(|body| M::decode(body).map_err(external))
}
