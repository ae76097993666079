//! The flatbuffer of a schema message, and messages of rows whose types it has.

use arrow::ipc::{
    self, DictionaryBatchArgs, Field, FieldNode, MessageArgs, MessageHeader, MetadataVersion, RecordBatchArgs, Type,
    UnionMode, convert::fb_to_schema, root_as_message_with_opts,
};
use coframe::{IpcReader, Result};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, VerifierOptions, WIPOffset};

use crate::{
    allowed, read,
    scratch::{self, Scratch, check_error},
    segment::{self, Message},
};

/// Compares the schema with what the format allows and with Arrow's reading of it. Reads and publishes it without batches,
/// then with a batch without rows, and with one of two rows, whose buffers are zeros.
pub fn schema(bytes: &[u8]) {
    let mut header = bytes.to_vec();
    // As in a stream: a flatbuffer that was cut may be valid with its padding.
    header.resize(header.len().next_multiple_of(8), 0);
    let first = Message { header: header.clone(), body: Vec::new() };
    let stream = segment::stream(std::slice::from_ref(&first));
    let schema = match IpcReader::stream(&*stream, "the schema") {
        Ok(reader) => reader.schema().clone(),
        Err(error) => return check_error(&error),
    };
    // Deeper than the reader's limit, so that it is this limit that refuses what is too deep.
    let options = VerifierOptions { max_depth: 256, ..VerifierOptions::default() };
    let message = root_as_message_with_opts(&options, &header).expect("the reader has verified it");
    let found = message.header_as_schema().expect("the reader has found it");
    if let Some(reason) = allowed::reason_against(found) {
        panic!("accepted a schema that the format does not allow: {reason}");
    }
    if arrow_reads(found) {
        assert_eq!(*schema, fb_to_schema(found), "another schema than Arrow's");
    }
    publish(&stream);
    let fields: Vec<_> = found.fields().into_iter().flatten().collect();
    for rows in [0, 2] {
        let stream = segment::stream(&[std::slice::from_ref(&first), &*rows_of(&fields, rows)].concat());
        if allowed::fits(&fields, rows, Rows::MOST) {
            let batches: Result<Vec<_>> = IpcReader::stream(&*stream, "the stream").and_then(Iterator::collect);
            let batches = batches.expect("the rows fit the schema");
            let counts: Vec<_> = batches.iter().map(|batch| batch.num_rows() as i64).collect();
            assert_eq!(counts, [rows]);
        }
        publish(&stream);
    }
}

fn publish(stream: &[u8]) {
    scratch::with(|scratch| {
        let write = |scratch: &Scratch| -> Result<_> {
            let reader = IpcReader::stream(stream, "the stream")?;
            let mut writer = scratch.store.writer("t", reader.schema().clone())?;
            for batch in reader {
                let batch = batch?;
                read::batch(&batch);
                writer.write(&batch)?;
            }
            writer.publish()
        };
        match write(scratch) {
            Ok(frame) => {
                read::frame(scratch, &frame);
                read::frame(scratch, &scratch.store.verify("t").expect("what was published is valid"));
            }
            Err(error) => check_error(&error),
        }
    });
}

/// Whether Arrow's conversion knows all that a schema has. It panics on other content.
fn arrow_reads(schema: ipc::Schema<'_>) -> bool {
    fn known(field: Field<'_>) -> bool {
        let key = field.dictionary().is_none_or(|dictionary| dictionary.indexType().is_some());
        // Polars' integers of 128 bits.
        let int = field.type_as_int().is_none_or(|int| int.bitWidth() <= 64);
        key && int && field.children().into_iter().flatten().all(known)
    }
    schema.fields().is_some_and(|fields| fields.iter().all(known))
}

/// The messages of one batch and its dictionaries.
fn rows_of(fields: &[Field<'_>], rows: i64) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut batch = Rows::default();
    for field in fields {
        batch.column(*field, rows, &mut messages);
    }
    messages.push(batch.message(rows, None));
    messages
}

/// A batch, or the values of a dictionary, while it is put together.
#[derive(Default)]
struct Rows {
    nodes: Vec<FieldNode>,
    buffers: Vec<ipc::Buffer>,
    variadic: Vec<i64>,
    body: Vec<u8>,
}

impl Rows {
    /// The bytes of the widest value that is not a fixed-size binary.
    const WIDTH: usize = 32;
    /// Larger arrays get buffers that are too short.
    const MOST: usize = 1 << 16;

    /// A buffer for values of a width, or for offsets.
    fn zeros(&mut self, rows: i64, width: usize) {
        let values = usize::try_from(rows).unwrap_or(0).saturating_add(1);
        self.buffer(&vec![0; values.saturating_mul(width).min(Self::MOST)]);
    }

    fn buffer(&mut self, bytes: &[u8]) {
        self.buffers.push(ipc::Buffer::new(self.body.len() as i64, bytes.len() as i64));
        self.body.extend_from_slice(bytes);
        self.body.resize(self.body.len().next_multiple_of(8), 0);
    }

    fn column(&mut self, field: Field<'_>, rows: i64, before: &mut Vec<Message>) {
        let Some(dictionary) = field.dictionary() else { return self.array(field, rows, before) };
        // A dictionary inside of the values comes first.
        let mut values = Self::default();
        values.array(field, 1, before);
        before.push(values.message(1, Some(dictionary.id())));
        self.node(field, rows, true);
        self.zeros(rows, Self::WIDTH);
    }

    /// The first row is null if the field allows it.
    fn node(&mut self, field: Field<'_>, rows: i64, has_validity: bool) {
        let nulls = i64::from(has_validity && rows > 0 && field.nullable());
        self.nodes.push(FieldNode::new(rows, nulls));
        if has_validity {
            let rows = usize::try_from(rows).unwrap_or(0).min(Self::MOST);
            self.buffer(&[&[0b1111_1110], &*vec![0xFF; rows / 8]].concat());
        }
    }

    fn array(&mut self, field: Field<'_>, rows: i64, before: &mut Vec<Message>) {
        let kind = field.type_type();
        self.node(field, rows, !matches!(kind, Type::Null | Type::Union | Type::RunEndEncoded));
        let union = field.type_as_union();
        let is_dense = union.is_some_and(|union| union.mode() == UnionMode::Dense);
        let buffers = match kind {
            Type::Null | Type::Struct_ | Type::FixedSizeList | Type::RunEndEncoded | Type::Union => 0,
            Type::Utf8 | Type::Binary | Type::LargeUtf8 | Type::LargeBinary | Type::ListView | Type::LargeListView => 2,
            _ => 1,
        };
        let fixed = field.type_as_fixed_size_binary();
        let width = fixed.map_or(Self::WIDTH, |fixed| usize::try_from(fixed.byteWidth()).unwrap_or(0));
        (0..buffers).for_each(|_| self.zeros(rows, width));
        if let Some(union) = union {
            let id = union.typeIds().filter(|ids| !ids.is_empty()).map_or(0, |ids| ids.get(0) as u8);
            self.buffer(&vec![id; usize::try_from(rows).unwrap_or(0).min(Self::MOST)]);
            if is_dense {
                self.zeros(rows, Self::WIDTH);
            }
        }
        if matches!(kind, Type::Utf8View | Type::BinaryView) {
            self.variadic.push(0);
        }
        for (index, child) in allowed::children(field).into_iter().enumerate() {
            if kind == Type::RunEndEncoded && index == 0 {
                // One run, which ends with the last row.
                self.nodes.push(FieldNode::new(rows.min(1), 0));
                self.buffer(&[0xFF]);
                self.buffer(&rows.to_le_bytes());
                continue;
            }
            let inside = match kind {
                Type::Struct_ | Type::Union => rows,
                Type::FixedSizeList => {
                    let size = field.type_as_fixed_size_list().map_or(0, |list| list.listSize());
                    rows.wrapping_mul(i64::from(size))
                }
                Type::RunEndEncoded => rows.min(1),
                // Lists are empty.
                _ => 0,
            };
            self.column(child, inside, before);
        }
    }

    fn message(self, rows: i64, dictionary: Option<i64>) -> Message {
        let mut builder = FlatBufferBuilder::new();
        let nodes = builder.create_vector(&self.nodes);
        let buffers = builder.create_vector(&self.buffers);
        let variadic = builder.create_vector(&self.variadic);
        let args = RecordBatchArgs {
            length: rows,
            nodes: Some(nodes),
            buffers: Some(buffers),
            compression: None,
            variadicBufferCounts: Some(variadic),
        };
        let batch = ipc::RecordBatch::create(&mut builder, &args);
        let (header_type, header): (_, WIPOffset<UnionWIPOffset>) = match dictionary {
            None => (MessageHeader::RecordBatch, batch.as_union_value()),
            Some(id) => {
                let args = DictionaryBatchArgs { id, data: Some(batch), isDelta: false };
                let dictionary = ipc::DictionaryBatch::create(&mut builder, &args);
                (MessageHeader::DictionaryBatch, dictionary.as_union_value())
            }
        };
        let args = MessageArgs {
            version: MetadataVersion::V5,
            header_type,
            header: Some(header),
            bodyLength: self.body.len() as i64,
            custom_metadata: None,
        };
        let message = ipc::Message::create(&mut builder, &args);
        builder.finish(message, None);
        Message { header: builder.finished_data().to_vec(), body: self.body }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{datatypes::Schema, ipc::root_as_message};
    use coframe::IpcReader;

    use super::rows_of;
    use crate::{
        handmade, samples,
        segment::{self, Message},
    };

    #[test]
    fn schemas_that_the_format_does_not_allow_are_refused_and_others_are_not() {
        for (name, schema) in handmade::not_allowed() {
            super::schema(&schema);
            let stream = segment::stream(&[Message { header: schema, body: Vec::new() }]);
            assert!(IpcReader::stream(&*stream, name).is_err(), "{name}");
        }
        for (name, schema) in handmade::allowed() {
            super::schema(&schema);
            let stream = segment::stream(&[Message { header: schema, body: Vec::new() }]);
            assert!(IpcReader::stream(&*stream, name).is_ok(), "{name}");
        }
    }

    /// Otherwise the target would reach nothing behind the checks of a batch's sizes.
    #[test]
    fn rows_made_for_a_schema_are_accepted_with_it() {
        let tables = samples::tables().into_iter().map(|(name, table)| (name, table.schema().as_ref().clone()));
        for (name, schema) in tables.chain(samples::schemas()) {
            for (column, field) in schema.fields().iter().enumerate() {
                let header = samples::schema(&Schema::new(vec![field.clone()]));
                let message = root_as_message(&header).unwrap();
                let fields: Vec<_> = message.header_as_schema().unwrap().fields().unwrap().iter().collect();
                let first = [Message { header: header.clone(), body: Vec::new() }];
                for rows in [0, 2] {
                    let stream = segment::stream(&[&first, &*rows_of(&fields, rows)].concat());
                    let read: Vec<_> = IpcReader::stream(&*stream, name).unwrap().collect::<Result<_, _>>().unwrap();
                    assert_eq!(read.len(), 1, "{name}, column {column}");
                    assert_eq!(read[0].num_rows() as i64, rows, "{name}, column {column}");
                }
            }
        }
    }
}
