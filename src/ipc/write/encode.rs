//! Record batches to the bytes of a segment, without copying a contiguous column.
//!
//! ```text
//! write(batch)  conform types -> strip dictionaries (their values are merged, keys renumbered) -> gather rows
//!                 -> written form -> message of keys  (many batches, one after the other)
//! finish()      last batch -> messages of dictionaries -> end of stream -> footer, which has the digest
//! ```
//!
//! Keys come first and dictionaries last, because a dictionary is complete only after the last batch. A reader of the
//! file finds both by the footer. The digest covers all bytes outside of the bodies of messages.

use std::collections::BTreeMap;

use arrow::{
    array::{AnyDictionaryArray, ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    buffer::Buffer,
    datatypes::{FieldRef, Schema, SchemaRef},
};
use arrow_ipc::{
    Block, MetadataVersion,
    writer::{
        DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamEncoder,
        write_message,
    },
};
use crc32fast::Hasher;

use super::{
    batches::BatchCoalescer,
    canonical::written,
    dictionary::{Dictionaries, keys_type},
    layout::{StringLayout, conform},
    readable::{check_writable, encode_schema},
};
use crate::error::{Error, Result};
use crate::ipc::{
    file::{ALIGNMENT, MAX_LEN},
    footer::{self, Metadata},
    statistics::{Collector, to_text},
    tree::has_dictionary,
};

/// The magic, padded to one block so that the next bytes are aligned.
const MAGIC_BLOCK: [u8; ALIGNMENT] = *b"ARROW1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const END_OF_STREAM: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

/// The destination of the bytes, called with slices to append, in order.
type Sink<'a> = dyn FnMut(&[&[u8]]) -> Result<()> + 'a;

#[derive(Clone, Debug, Default)]
pub(crate) struct EncoderOptions {
    pub(crate) layout: StringLayout,
    pub(crate) batch_rows: Option<usize>,
    pub(crate) batch_bytes: Option<usize>,
    pub(crate) statistics: bool,
}

/// A segment that is being written, from front to back.
pub(crate) struct Encoder {
    /// The schema that readers see.
    schema: SchemaRef,
    /// The same schema with keys in place of dictionaries, for the record batches.
    keys_schema: SchemaRef,
    dictionaries: Vec<Option<Dictionaries>>,
    /// Whether to check that all keys are within their dictionaries.
    looks_at_keys: bool,
    statistics: Option<Collector>,
    coalescer: BatchCoalescer,
    stream: StreamEncoder,
    options: IpcWriteOptions,
    tracker: DictionaryTracker,
    position: usize,
    digest: Hasher,
    blocks: Vec<Block>,
    rows: u64,
}

impl Encoder {
    /// Starts a segment: writes the magic and the schema.
    pub(crate) fn begin(schema: &SchemaRef, options: &EncoderOptions, sink: &mut Sink<'_>) -> Result<Self> {
        let schema = options.layout.schema(schema);
        footer::check_size(&schema, &BTreeMap::new(), 0)?;
        let fields = schema.fields().iter();
        let keys: Vec<_> = fields.map(|f| f.as_ref().clone().with_data_type(keys_type(f.data_type()))).collect();
        let keys_schema = SchemaRef::new(Schema::new(keys));
        let dictionaries =
            schema.fields().iter().map(|f| has_dictionary(f.data_type()).then(|| Dictionaries::new(f))).collect();
        let write = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)
            .map_err(|e| Error::arrow("set up the encoder", e))?;
        // The schema with its dictionaries: the keys schema hides some of what cannot be encoded.
        check_writable(&schema, &write)?;
        let mut tracker = DictionaryTracker::new(false);
        let message = encode_schema(&schema, &write, &mut tracker)?;
        let stream = StreamEncoder::try_new_with_options(&keys_schema, write.clone())
            .map_err(|e| Error::arrow("encode the schema", e))?;
        let mut encoder = Self {
            statistics: options.statistics.then(|| Collector::new(&schema)),
            coalescer: BatchCoalescer::new(keys_schema.clone(), options.batch_rows, options.batch_bytes),
            schema,
            keys_schema,
            dictionaries,
            looks_at_keys: true,
            stream,
            options: write,
            tracker,
            position: 0,
            digest: Hasher::new(),
            blocks: Vec::new(),
            rows: 0,
        };
        encoder.write_schema(message, sink)?;
        Ok(encoder)
    }

    /// Does not check keys, because Polars has done so.
    pub(crate) fn trust_keys(&mut self) {
        self.looks_at_keys = false;
    }

    /// Adds a batch: writes it, or keeps it until it has enough rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch, sink: &mut Sink<'_>) -> Result<()> {
        if batch.num_rows() > MAX_LEN {
            let rows = batch.num_rows();
            let what = format_args!("a batch of {rows} rows, where at most {MAX_LEN} fit into one,");
            return Err(Error::unsupported(what, "write it in parts"));
        }
        let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        let batch = conform(batch, &self.schema)?;
        let columns: Result<Vec<ArrayRef>> = batch
            .columns()
            .iter()
            .zip(&mut self.dictionaries)
            .map(|(column, dictionaries)| dictionaries.as_mut().map_or_else(|| Ok(column.clone()), |d| d.strip(column)))
            .collect();
        let keys = keys_batch(&self.keys_schema, columns?, batch.num_rows())?;
        for ready in self.coalescer.push(keys)? {
            self.write_batch(ready, sink)?;
        }
        self.rows += rows;
        Ok(())
    }

    /// Ends the segment: pending rows, dictionaries, footer.
    pub(crate) fn finish(mut self, mut metadata: Metadata, sink: &mut Sink<'_>) -> Result<()> {
        if let Some(ready) = self.coalescer.flush()? {
            self.write_batch(ready, sink)?;
        }
        let batches = std::mem::take(&mut self.blocks);
        self.write_dictionaries(sink)?;
        let dictionaries = std::mem::take(&mut self.blocks);
        // Written together with the footer, in one system call.
        self.digest.update(&END_OF_STREAM);
        metadata.rows = self.rows;
        metadata.stats = self.statistics()?;
        let whole =
            |dictionaries: &Option<Dictionaries>| dictionaries.as_ref().is_some_and(Dictionaries::hold_all_keys);
        // If several tables of Polars had different dictionaries, a key in a null slot may be outside of the joined
        // one.
        if self.looks_at_keys
            && !self.dictionaries.iter().all(|dictionaries| dictionaries.is_none() || whole(dictionaries))
        {
            metadata.hints.polars = false;
        }
        let columns = self.dictionaries.iter().enumerate().filter(|(_, dictionaries)| whole(dictionaries));
        let is_listed = self.looks_at_keys && !metadata.hints.polars;
        metadata.keys = if is_listed { columns.map(|(column, _)| column).collect() } else { Vec::new() };
        let tail = footer::build(&self.schema, &metadata, &dictionaries, &batches, self.digest)?;
        sink(&[&END_OF_STREAM, &tail])
    }

    /// The text of the statistics, if they were requested.
    fn statistics(&mut self) -> Result<Option<String>> {
        let Some(statistics) = self.statistics.take() else { return Ok(None) };
        let dictionary = |column: usize| {
            let dictionaries = self.dictionaries.get(column).and_then(Option::as_ref);
            let values = dictionaries.map(Dictionaries::finish).transpose()?;
            let values =
                values.as_ref().and_then(|array| array.as_any_dictionary_opt()).map(AnyDictionaryArray::values);
            values.cloned().ok_or_else(|| Error::invalid("the statistics of a column", "it has no dictionary"))
        };
        to_text(&statistics.finish(&dictionary)?).map(Some)
    }

    fn write_schema(&mut self, message: EncodedData, sink: &mut Sink<'_>) -> Result<()> {
        let mut bytes = MAGIC_BLOCK.to_vec();
        write_message(&mut bytes, message, &self.options).map_err(|e| Error::arrow("encode the schema", e))?;
        self.write_outside(&bytes, sink)
    }

    /// Writes bytes that are outside every message body, and adds them to the digest.
    fn write_outside(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        self.digest.update(bytes);
        self.position += bytes.len();
        sink(&[bytes])
    }

    fn write_batch(&mut self, batch: RecordBatch, sink: &mut Sink<'_>) -> Result<()> {
        let (_, columns, rows) = batch.into_parts();
        // By value, so that each joined column is freed once its compacted form exists, and only one batch is in
        // memory.
        let form = |(column, field): (ArrayRef, &FieldRef)| written(field.name(), &column);
        let columns: Result<Vec<ArrayRef>> = columns.into_iter().zip(self.keys_schema.fields()).map(form).collect();
        let batch = keys_batch(&self.keys_schema, columns?, rows)?;
        if let Some(statistics) = &mut self.statistics {
            statistics.add(&batch)?;
        }
        if self.looks_at_keys {
            for (column, dictionaries) in batch.columns().iter().zip(&mut self.dictionaries) {
                if let Some(dictionaries) = dictionaries {
                    dictionaries.look(column);
                }
            }
        }
        let pieces = self.stream.encode(&batch).map_err(|e| Error::arrow("encode a batch", e))?;
        // The first call returns the schema message first. Ours, with the dictionaries, was already written.
        let skip = if self.blocks.is_empty() { pieces_of_header(&pieces) } else { 0 };
        let pieces = pieces.get(skip..).unwrap_or_default();
        let header_pieces = pieces_of_header(pieces);
        let slices: Vec<&[u8]> = pieces.iter().map(Buffer::as_slice).collect();
        self.write_message(&slices, header_pieces, sink)
    }

    fn write_dictionaries(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        if self.dictionaries.iter().all(Option::is_none) {
            return Ok(());
        }
        let columns: Result<Vec<ArrayRef>> = self
            .schema
            .fields()
            .iter()
            .zip(&self.dictionaries)
            .map(|(field, dictionaries)| match dictionaries {
                Some(dictionaries) => dictionaries.finish(),
                None => Ok(arrow::array::new_empty_array(field.data_type())),
            })
            .collect();
        let carrier = keys_batch(&self.schema, columns?, 0)?;
        let error = |e| Error::arrow("encode the dictionaries", e);
        let (messages, _) = IpcDataGenerator::default()
            .encode(&carrier, &mut self.tracker, &self.options, &mut IpcWriteContext::default())
            .map_err(error)?;
        for message in messages {
            let mut bytes = Vec::new();
            let (header, _) = write_message(&mut bytes, message, &self.options).map_err(error)?;
            let (header, body) = bytes.split_at(header.min(bytes.len()));
            self.write_message(&[header, body], 1, sink)?;
        }
        Ok(())
    }

    /// Writes one message and records its block; the first `header_pieces` slices are its metadata.
    fn write_message(&mut self, slices: &[&[u8]], header_pieces: usize, sink: &mut Sink<'_>) -> Result<()> {
        let (header, body) = slices.split_at(header_pieces.min(slices.len()));
        let header_len: usize = header.iter().map(|slice| slice.len()).sum();
        let body_len: usize = body.iter().map(|slice| slice.len()).sum();
        for slice in header {
            self.digest.update(slice);
        }
        let too_long = || Error::unsupported("a record batch of more than 2^63 bytes", "set a smaller batch_rows");
        self.blocks.push(Block::new(
            i64::try_from(self.position).map_err(|_| too_long())?,
            i32::try_from(header_len).map_err(|_| too_long())?,
            i64::try_from(body_len).map_err(|_| too_long())?,
        ));
        self.position += header_len + body_len;
        sink(slices)
    }
}

fn keys_batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|e| Error::arrow("put a batch together", e))
}

/// Number of leading buffers that are the metadata of the first message.
///
/// A message starts with an 8-byte buffer: the continuation marker and the length of the metadata after it.
fn pieces_of_header(pieces: &[Buffer]) -> usize {
    let prefix = pieces.first().map(Buffer::as_slice).unwrap_or_default();
    let &[_, _, _, _, a, b, c, d] = prefix else { return 0 };
    let header = 8 + usize::try_from(i32::from_le_bytes([a, b, c, d])).unwrap_or(0);
    let mut seen = 0;
    pieces
        .iter()
        .take_while(|piece| {
            let inside = seen < header;
            seen += piece.len();
            inside
        })
        .count()
}
