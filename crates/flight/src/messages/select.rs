//! Some columns of a file's messages: the headers are rebuilt, the bodies are slices of the file.

use arrow::{
    datatypes::{DataType, Schema, UnionMode},
    ipc::{
        self, Buffer, DictionaryBatchBuilder, FieldNode, MessageBuilder, MessageHeader, MetadataVersion,
        RecordBatchBuilder,
        writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions},
    },
};
use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};
use tonic::Status;

use super::{Data, message};

/// Bodies and buffers start at multiples of 64.
const ALIGNMENT: usize = 64;
static ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// The columns that are sent.
pub(super) struct Selection {
    schema: Bytes,
    /// For each column of the file, how many nodes and buffers it has.
    shapes: Vec<Shape>,
    /// Columns of the file, in the order in which they are sent.
    positions: Vec<usize>,
    /// Ids of dictionaries: in the file, and in the rebuilt schema, which numbers them anew.
    dictionaries: Vec<(i64, i64)>,
}

/// What one column takes in a record batch; views are the nodes that have a varying number of buffers.
#[derive(Clone, Copy, Default)]
struct Shape {
    nodes: usize,
    buffers: usize,
    views: usize,
}

impl Selection {
    pub(super) fn new(header: &[u8], schema: &Schema, positions: &[usize]) -> Result<Self, Status> {
        let projected = schema.project(positions).map_err(|e| Status::internal(crate::error::text(e)))?;
        let rebuilt = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &projected,
            &mut DictionaryTracker::new(false),
            &IpcWriteOptions::default(),
        );
        let mut dictionaries = Vec::new();
        {
            let damaged = || Status::data_loss("the schema of the segment is damaged");
            let old = message(header)?.header_as_schema().and_then(|schema| schema.fields()).ok_or_else(damaged)?;
            let new = message(&rebuilt.ipc_message)?.header_as_schema().and_then(|schema| schema.fields());
            let new = new.ok_or_else(damaged)?;
            for (at, position) in positions.iter().enumerate() {
                if *position >= old.len() || at >= new.len() {
                    return Err(damaged());
                }
                pair_ids(old.get(*position), new.get(at), &mut dictionaries);
            }
        }
        let shapes = schema.fields().iter().map(|field| shape(field.data_type())).collect();
        Ok(Self { schema: rebuilt.ipc_message.into(), shapes, positions: positions.to_vec(), dictionaries })
    }

    pub(super) fn schema(&self) -> Bytes {
        self.schema.clone()
    }

    /// The headers of a dictionary: none if no column uses it, and one for each of its ids.
    pub(super) fn dictionary(&self, header: &[u8]) -> Result<Vec<Bytes>, Status> {
        let damaged = || Status::data_loss("a dictionary of the segment is damaged");
        let message = message(header)?;
        let dictionary = message.header_as_dictionary_batch().ok_or_else(damaged)?;
        let batch = dictionary.data().ok_or_else(damaged)?;
        let ids = self.dictionaries.iter().filter(|(old, _)| *old == dictionary.id());
        Ok(ids.map(|(_, new)| rebuild_dictionary(*new, batch, message.bodyLength())).collect())
    }

    /// A batch with these columns only.
    pub(super) fn batch(&self, header: &[u8], body: &Bytes) -> Result<Data, Status> {
        let damaged = || Status::data_loss("a batch of the segment does not fit its schema");
        let message = message(header)?;
        let batch = message.header_as_record_batch().ok_or_else(damaged)?;
        let (nodes, buffers) = (batch.nodes().ok_or_else(damaged)?, batch.buffers().ok_or_else(damaged)?);
        let variadic: Vec<i64> = batch.variadicBufferCounts().map(|counts| counts.iter().collect()).unwrap_or_default();

        // Where each column of the file starts among the nodes, the buffers and the counts of views.
        let mut starts = Vec::with_capacity(self.shapes.len());
        let mut at = Shape::default();
        for shape in &self.shapes {
            let views = variadic.get(at.views..at.views + shape.views).ok_or_else(damaged)?;
            let more: usize = views.iter().filter_map(|count| usize::try_from(*count).ok()).sum();
            let size = Shape { buffers: shape.buffers + more, ..*shape };
            starts.push((at, size));
            at = Shape {
                nodes: at.nodes + size.nodes,
                buffers: at.buffers + size.buffers,
                views: at.views + size.views,
            };
        }
        if at.nodes != nodes.len() || at.buffers != buffers.len() || at.views != variadic.len() {
            return Err(damaged());
        }

        let mut rebuilt = Rebuilt::default();
        for position in &self.positions {
            let (start, size) = *starts.get(*position).ok_or_else(damaged)?;
            rebuilt.nodes.extend((start.nodes..start.nodes + size.nodes).map(|at| *nodes.get(at)));
            rebuilt.views.extend(variadic.get(start.views..start.views + size.views).unwrap_or_default());
            for at in start.buffers..start.buffers + size.buffers {
                let buffer = buffers.get(at);
                let (offset, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
                let (Ok(offset), Ok(length)) = (offset, length) else { return Err(damaged()) };
                rebuilt.buffer(body, offset, length).ok_or_else(damaged)?;
            }
        }
        Ok(rebuilt.finish(batch.length()))
    }
}

/// A batch that is put together.
#[derive(Default)]
struct Rebuilt {
    nodes: Vec<FieldNode>,
    buffers: Vec<Buffer>,
    views: Vec<i64>,
    body: Vec<Bytes>,
    length: usize,
}

impl Rebuilt {
    /// Appends a buffer of the body, and zeros up to the next multiple of 64.
    fn buffer(&mut self, body: &Bytes, offset: usize, length: usize) -> Option<()> {
        let end = offset.checked_add(length).filter(|end| *end <= body.len())?;
        self.buffers.push(Buffer::new(i64::try_from(self.length).ok()?, i64::try_from(length).ok()?));
        let padding = length.next_multiple_of(ALIGNMENT) - length;
        if length > 0 {
            self.body.push(body.slice(offset..end));
        }
        if padding > 0 {
            self.body.push(Bytes::from_static(&ZEROS).slice(..padding));
        }
        self.length += length + padding;
        Some(())
    }

    fn finish(self, rows: i64) -> Data {
        let mut fbb = FlatBufferBuilder::new();
        let batch = record_batch(&mut fbb, rows, &self.nodes, &self.buffers, &self.views).as_union_value();
        let header = finish(fbb, MessageHeader::RecordBatch, batch, i64::try_from(self.length).unwrap_or(i64::MAX));
        Data { header, body: self.body }
    }
}

fn record_batch<'a>(
    fbb: &mut FlatBufferBuilder<'a>,
    rows: i64,
    nodes: &[FieldNode],
    buffers: &[Buffer],
    views: &[i64],
) -> WIPOffset<ipc::RecordBatch<'a>> {
    let nodes = fbb.create_vector(nodes);
    let buffers = fbb.create_vector(buffers);
    let views = (!views.is_empty()).then(|| fbb.create_vector(views));
    let mut batch = RecordBatchBuilder::new(fbb);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(buffers);
    if let Some(views) = views {
        batch.add_variadicBufferCounts(views);
    }
    batch.finish()
}

/// The dictionary under another id; its body stays as it is.
fn rebuild_dictionary(id: i64, batch: ipc::RecordBatch<'_>, body_length: i64) -> Bytes {
    let mut fbb = FlatBufferBuilder::new();
    let nodes: Vec<_> = batch.nodes().map(|nodes| nodes.iter().copied().collect()).unwrap_or_default();
    let buffers: Vec<_> = batch.buffers().map(|buffers| buffers.iter().copied().collect()).unwrap_or_default();
    let views: Vec<i64> = batch.variadicBufferCounts().map(|counts| counts.iter().collect()).unwrap_or_default();
    let values = record_batch(&mut fbb, batch.length(), &nodes, &buffers, &views);
    let mut dictionary = DictionaryBatchBuilder::new(&mut fbb);
    dictionary.add_id(id);
    dictionary.add_data(values);
    let dictionary = dictionary.finish().as_union_value();
    finish(fbb, MessageHeader::DictionaryBatch, dictionary, body_length)
}

fn finish(
    mut fbb: FlatBufferBuilder<'_>,
    kind: MessageHeader,
    header: WIPOffset<UnionWIPOffset>,
    body_length: i64,
) -> Bytes {
    let mut message = MessageBuilder::new(&mut fbb);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(kind);
    message.add_header(header);
    message.add_bodyLength(body_length);
    let root = message.finish();
    fbb.finish(root, None);
    Bytes::copy_from_slice(fbb.finished_data())
}

/// Pairs the ids of the dictionaries of a field, depth first, in two encodings of one type.
fn pair_ids(old: ipc::Field<'_>, new: ipc::Field<'_>, ids: &mut Vec<(i64, i64)>) {
    if let (Some(old), Some(new)) = (old.dictionary(), new.dictionary()) {
        ids.push((old.id(), new.id()));
    }
    let (old, new) = (old.children(), new.children());
    for (old, new) in old.iter().flatten().zip(new.iter().flatten()) {
        pair_ids(old, new, ids);
    }
}

/// What a column of this type takes in a record batch, without the buffers of views.
fn shape(data_type: &DataType) -> Shape {
    let leaf = |buffers| Shape { nodes: 1, buffers, views: 0 };
    let nested = |buffers, children: &mut dyn Iterator<Item = Shape>| {
        children.fold(leaf(buffers), |sum, child| Shape {
            nodes: sum.nodes + child.nodes,
            buffers: sum.buffers + child.buffers,
            views: sum.views + child.views,
        })
    };
    let one = |field: &arrow::datatypes::FieldRef| std::iter::once(shape(field.data_type()));
    match data_type {
        DataType::Null => leaf(0),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => leaf(3),
        DataType::Utf8View | DataType::BinaryView => Shape { nodes: 1, buffers: 2, views: 1 },
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => nested(2, &mut one(item)),
        DataType::ListView(item) | DataType::LargeListView(item) => nested(3, &mut one(item)),
        DataType::FixedSizeList(item, _) => nested(1, &mut one(item)),
        DataType::Struct(fields) => nested(1, &mut fields.iter().map(|field| shape(field.data_type()))),
        DataType::Union(fields, mode) => {
            let own = if *mode == UnionMode::Dense { 2 } else { 1 };
            nested(own, &mut fields.iter().map(|(_, field)| shape(field.data_type())))
        }
        DataType::RunEndEncoded(ends, values) => nested(0, &mut one(ends).chain(one(values))),
        // Keys; the values are in separate messages.
        _ => leaf(2),
    }
}
