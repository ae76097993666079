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

/// Messages of this crate start with these bytes. No message of Ballista does.
pub(crate) const MAGIC: &[u8] = b"coframe1";
/// The action that describes a frame of a node.
pub(crate) const DESCRIBE: &str = "coframe.describe";
/// The action that lists the frames of a node.
pub(crate) const LIST: &str = "coframe.list";

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
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ListAnswer {
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
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

/// A message after [`MAGIC`].
pub(crate) fn encode(message: &impl Message, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.extend_from_slice(MAGIC);
    message.encode(buffer).map_err(external)
}

/// A message that [`encode`] wrote; `None` if it does not start with [`MAGIC`].
pub(crate) fn decode<M: Message + Default>(bytes: &[u8]) -> Option<Result<M>> {
    bytes.strip_prefix(MAGIC).map(|body| M::decode(body).map_err(external))
}
