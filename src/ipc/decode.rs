//! Arrow IPC messages to arrays on the caller's bytes.
//!
//! Written here rather than taken from arrow-ipc for three reasons: every buffer becomes an allocation of its own (so
//! that engines weigh a batch, not the file), a malformed message is an error and never a panic, and each copy that
//! alignment forces is counted. docs/DESIGN.md has the measurements.
#![expect(unsafe_code, reason = "a trusted segment's arrays are built without reading their values")]

use std::{collections::HashMap, fmt::Display, ops::Range};

use arrow::{
    array::{Array, ArrayData, ArrayRef, BufferSpec, RecordBatch, RecordBatchOptions, layout, make_array},
    buffer::Buffer,
    compute::concat,
    datatypes::{DataType, SchemaRef},
    ipc::{self, FieldNode, MessageHeader, root_as_message},
};

use super::{
    footer::{Footer, MessageRange},
    tree::{Step, children},
};
use crate::error::{Error, Result};

/// A copy that opening could not avoid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Position among the columns that were opened.
    pub(crate) column: usize,
    pub(crate) bytes: usize,
    pub(crate) reason: String,
}

/// The decoded part of a file.
pub(crate) struct Contents {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) copied: Vec<Copied>,
}

/// The bytes of a message body on demand: offset and length, relative to the body.
pub(super) type Body<'a> = dyn Fn(usize, usize) -> Result<Buffer> + 'a;

/// Rebuilds the batches of a mapped file. `columns` are the positions to decode, `None` for all.
///
/// Costs in the order of columns, batches and buffers when `trusted`, else every value is validated.
pub(crate) fn decode(
    bytes: &[u8],
    footer: &Footer,
    what: &str,
    columns: Option<&[usize]>,
    trusted: bool,
    buffer: &dyn Fn(usize, usize) -> Option<Buffer>,
) -> Result<Contents> {
    let mut decoder = Decoder::new(footer, what, columns, trusted)?;
    for message in &footer.dictionaries {
        let header = bytes.get(message.header.clone()).unwrap_or_default();
        decoder.dictionary(header, message.body.len(), &body_of(message, what, buffer))?;
    }
    let mut batches = Vec::with_capacity(footer.batches.len());
    for message in &footer.batches {
        let header = bytes.get(message.header.clone()).unwrap_or_default();
        batches.push(decoder.batch(header, message.body.len(), &body_of(message, what, buffer))?);
    }
    Ok(Contents { schema: decoder.schema, batches, copied: decoder.copied })
}

fn body_of<'a>(
    message: &MessageRange,
    what: &'a str,
    buffer: &'a dyn Fn(usize, usize) -> Option<Buffer>,
) -> impl Fn(usize, usize) -> Result<Buffer> + 'a {
    let start = message.body.start;
    // Message and buffer ranges were checked against the file, so the sum stays inside it.
    move |offset, len| {
        buffer(start.saturating_add(offset), len)
            .ok_or_else(|| Error::corrupt(what, "S5-buffers", "a buffer leaves the file"))
    }
}

/// Reads every value of the batches and checks it against its type.
pub(crate) fn validate(batch: &RecordBatch, what: &str) -> Result<()> {
    let columns = batch.columns().iter().zip(batch.schema_ref().fields());
    for (column, field) in columns {
        validate_data(&column.to_data(), field.name(), what)?;
    }
    Ok(())
}

fn validate_data(data: &ArrayData, column: &str, what: &str) -> Result<()> {
    data.validate_full().map_err(|e| Error::corrupt(what, "V1-values", format_args!("column `{column}`: {e}")))
}

/// What is known while the messages of one file or stream are decoded.
pub(super) struct Decoder {
    what: String,
    /// The whole file's schema and its dictionary ids in depth-first order.
    full: SchemaRef,
    ids: Vec<i64>,
    columns: Vec<usize>,
    pub(super) schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayData>,
    trusted: bool,
    pub(super) copied: Vec<Copied>,
}

impl Decoder {
    pub(super) fn new(footer: &Footer, what: &str, columns: Option<&[usize]>, trusted: bool) -> Result<Self> {
        let full = footer.schema.clone();
        let schema = match columns {
            None => full.clone(),
            Some(columns) => full.project(columns).map_err(|e| Error::arrow("select columns", e))?.into(),
        };
        let columns: Vec<usize> = columns.map_or_else(|| (0..full.fields().len()).collect(), <[usize]>::to_vec);
        Ok(Self {
            what: what.to_owned(),
            full,
            ids: footer.dictionary_ids.clone(),
            columns,
            schema,
            dictionaries: HashMap::new(),
            trusted,
            copied: Vec::new(),
        })
    }

    /// Takes a dictionary message. Unwanted dictionaries are passed over.
    pub(super) fn dictionary(&mut self, header: &[u8], body_len: usize, body: &Body<'_>) -> Result<()> {
        let message = parse(header, &self.what)?;
        let dictionary = message.header_as_dictionary_batch();
        let (dictionary, batch) = dictionary
            .and_then(|dictionary| Some((dictionary, dictionary.data()?)))
            .ok_or_else(|| Error::corrupt(&self.what, "S4-blocks", "a dictionary block holds something else"))?;
        let Some((column, data_type, inner_ids)) = self.dictionary_field(dictionary.id()) else { return Ok(()) };
        let (data, copied) = {
            let mut reader = Reader::new(batch, &self.what, body_len, body, &self.dictionaries)?;
            reader.ids = inner_ids.into();
            (reader.array("dictionary", &data_type, true)?, reader.copied)
        };
        let Some(mut data) = data else { return Ok(()) };
        if !self.trusted {
            validate_data(&data, "dictionary", &self.what)?;
        }
        if let (true, Some(old)) = (dictionary.isDelta(), self.dictionaries.get(&dictionary.id())) {
            let parts = [make_array(old.clone()), make_array(data)];
            let whole = concat(&[&parts[0], &parts[1]]).map_err(|e| Error::arrow("join a delta dictionary", e))?;
            self.copied.push(Copied {
                column,
                bytes: whole.get_buffer_memory_size(),
                reason: "its dictionary came in parts".into(),
            });
            data = whole.to_data();
        }
        note(&mut self.copied, column, copied);
        self.dictionaries.insert(dictionary.id(), data);
        Ok(())
    }

    /// Takes a record batch message.
    pub(super) fn batch(&mut self, header: &[u8], body_len: usize, body: &Body<'_>) -> Result<RecordBatch> {
        let message = parse(header, &self.what)?;
        let batch = message
            .header_as_record_batch()
            .ok_or_else(|| Error::corrupt(&self.what, "S4-blocks", "a batch block holds something else"))?;
        let rows = usize::try_from(batch.length())
            .map_err(|_| Error::corrupt(&self.what, "S5-buffers", "a batch has a negative number of rows"))?;
        let mut reader = Reader::new(batch, &self.what, body_len, body, &self.dictionaries)?;
        reader.ids = self.ids.clone().into();
        let full = self.full.clone();
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; self.columns.len()];
        for (position, field) in full.fields().iter().enumerate() {
            let wanted = self.columns.iter().position(|column| *column == position);
            let data = reader.array(field.name(), field.data_type(), wanted.is_some())?;
            let (Some(data), Some(wanted)) = (data, wanted) else { continue };
            if data.len() != rows {
                return Err(reader.error(field.name(), format_args!("it has {} rows, its batch {rows}", data.len())));
            }
            if !self.trusted {
                validate_data(&data, field.name(), &self.what)?;
            }
            note(&mut self.copied, wanted, std::mem::take(&mut reader.copied));
            let array = make_array(data);
            // A column may be asked for more than once.
            for (column, place) in self.columns.iter().zip(&mut arrays) {
                if *column == position {
                    *place = Some(array.clone());
                }
            }
        }
        let columns = arrays.into_iter().flatten().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Error::corrupt(&self.what, "V1-values", e))
    }

    /// The opened column that uses a dictionary, the type of its values, and the ids of dictionaries inside them.
    fn dictionary_field(&self, id: i64) -> Option<(usize, DataType, Vec<i64>)> {
        let mut ids = self.ids.iter().copied().enumerate();
        for (position, field) in self.full.fields().iter().enumerate() {
            let found = find_values(field.data_type(), id, &mut ids);
            let wanted = self.columns.iter().position(|column| *column == position);
            if let (Some((values, place)), Some(wanted)) = (found, wanted) {
                return Some((wanted, values, self.ids.get(place + 1..).unwrap_or_default().to_vec()));
            }
        }
        None
    }
}

/// Walks a type in depth-first order; the value type of the dictionary with this id, and its place among all ids.
fn find_values(
    data_type: &DataType,
    id: i64,
    ids: &mut impl Iterator<Item = (usize, i64)>,
) -> Option<(DataType, usize)> {
    let mut found = None;
    let mut values = data_type;
    if let DataType::Dictionary(_, inner) = data_type {
        values = inner;
        found = ids.next().filter(|(_, this)| *this == id).map(|(place, _)| (values.clone(), place));
    }
    // Every field is visited, so that the ids stay in step.
    for child in children(values) {
        let inside = find_values(child.data_type(), id, ids);
        found = found.or(inside);
    }
    found
}

/// Adds up the bytes copied for one column.
fn note(all: &mut Vec<Copied>, column: usize, copied: usize) {
    if copied == 0 {
        return;
    }
    match all.iter_mut().find(|entry| entry.column == column) {
        Some(entry) => entry.bytes += copied,
        None => all.push(Copied { column, bytes: copied, reason: "its buffers are not aligned in the file".into() }),
    }
}

/// The flatbuffer of an encapsulated message.
pub(super) fn parse<'a>(header: &'a [u8], what: &str) -> Result<ipc::Message<'a>> {
    let flatbuffer = header.strip_prefix(&[0xFF; 4]).unwrap_or(header).get(4..).unwrap_or_default();
    let message = root_as_message(flatbuffer).map_err(|e| Error::corrupt(what, "S4-blocks", e))?;
    if message.header_type() == MessageHeader::NONE {
        return Err(Error::corrupt(what, "S4-blocks", "a message has no content"));
    }
    Ok(message)
}

/// One record batch while its arrays are built, field by field.
struct Reader<'a> {
    what: &'a str,
    nodes: Box<dyn Iterator<Item = &'a FieldNode> + 'a>,
    buffers: Box<dyn Iterator<Item = &'a ipc::Buffer> + 'a>,
    variadic: Box<dyn Iterator<Item = i64> + 'a>,
    ids: std::collections::VecDeque<i64>,
    body_len: usize,
    body: &'a Body<'a>,
    dictionaries: &'a HashMap<i64, ArrayData>,
    copied: usize,
}

impl<'a> Reader<'a> {
    fn new(
        batch: ipc::RecordBatch<'a>,
        what: &'a str,
        body_len: usize,
        body: &'a Body<'a>,
        dictionaries: &'a HashMap<i64, ArrayData>,
    ) -> Result<Self> {
        if batch.compression().is_some() {
            return Err(Error::unsupported(
                format_args!("{what}, which is compressed and so cannot be shared,"),
                "write it uncompressed (pyarrow: compression=None or \"uncompressed\")",
            ));
        }
        Ok(Self {
            what,
            nodes: Box::new(batch.nodes().into_iter().flatten()),
            buffers: Box::new(batch.buffers().into_iter().flatten()),
            variadic: Box::new(batch.variadicBufferCounts().into_iter().flatten()),
            ids: std::collections::VecDeque::new(),
            body_len,
            body,
            dictionaries,
            copied: 0,
        })
    }

    fn error(&self, path: &str, detail: impl Display) -> Error {
        Error::corrupt(self.what, "S5-buffers", format_args!("column `{path}`: {detail}"))
    }

    /// Reads the next array, or passes over it when it is not wanted.
    fn array(&mut self, path: &str, data_type: &DataType, wanted: bool) -> Result<Option<ArrayData>> {
        let node = self.nodes.next().ok_or_else(|| self.error(path, "it has no field node"))?;
        let size = |n: i64| usize::try_from(n).ok();
        let (Some(len), Some(nulls)) = (size(node.length()), size(node.null_count())) else {
            return Err(self.error(path, "its length or null count is negative"));
        };
        if nulls > len {
            return Err(self.error(path, format_args!("{nulls} of its {len} rows are null")));
        }
        let spec = layout(data_type);
        let mut null_bits = None;
        if spec.can_contain_null_mask {
            let range = self.next_range(path)?;
            if wanted && nulls > 0 {
                null_bits = Some(self.buffer(path, range, &Need::Exactly(len.div_ceil(8)), 1)?);
            }
        }
        let mut buffers = Vec::with_capacity(spec.buffers.len());
        for (index, buffer) in spec.buffers.iter().enumerate() {
            let range = self.next_range(path)?;
            if wanted {
                let (need, alignment) = needs(data_type, index, buffer, len);
                buffers.push(self.buffer(path, range, &need, alignment)?);
            }
        }
        if spec.variadic {
            let count = self.variadic.next().ok_or_else(|| self.error(path, "its count of data buffers is missing"))?;
            for _ in 0..count.max(0) {
                let range = self.next_range(path)?;
                if wanted {
                    buffers.push(self.buffer(path, range, &Need::Any, 1)?);
                }
            }
        }
        let inner = self.inner(path, data_type, len, wanted)?;
        if !wanted {
            return Ok(None);
        }
        let mut builder = ArrayData::builder(data_type.clone()).len(len).buffers(buffers).child_data(inner);
        if let Some(bits) = null_bits {
            builder = builder.null_bit_buffer(Some(bits)).null_count(nulls);
        }
        // SAFETY: buffers, their sizes and alignments, and the lengths of children were checked above and in `inner`.
        // What is not checked here is what the values say (offsets, views, keys, UTF-8). In a trusted segment the
        // arrays that were written were valid, the digest shows that the metadata is theirs, and nobody could write
        // since (SAFETY.md, T1). Otherwise `validate_full` follows before anything else looks at the values.
        // Nothing is unwrapped: with validation skipped `build_unchecked` has no failing path.
        Ok(Some(unsafe { builder.build_unchecked() }))
    }

    /// The children of an array, or the values of its dictionary.
    fn inner(&mut self, path: &str, data_type: &DataType, len: usize, wanted: bool) -> Result<Vec<ArrayData>> {
        if let DataType::Dictionary(_, values) = data_type {
            let id = self.ids.pop_front().ok_or_else(|| self.error(path, "its dictionary has no id"))?;
            for _ in 0..count_dictionaries(values) {
                self.ids.pop_front();
            }
            // The format lets a dictionary be left out when every value is null.
            let values = self.dictionaries.get(&id).cloned().unwrap_or_else(|| ArrayData::new_empty(values));
            return Ok(if wanted { vec![values] } else { Vec::new() });
        }
        let mut inner = Vec::new();
        for field in children(data_type) {
            let path = Step::into(path, data_type, field.name());
            let Some(child) = self.array(&path, field.data_type(), wanted)? else { continue };
            let expected = match data_type {
                DataType::Struct(_) | DataType::Union(_, arrow::datatypes::UnionMode::Sparse) => Some(len),
                DataType::FixedSizeList(_, size) => usize::try_from(*size).ok().and_then(|size| size.checked_mul(len)),
                _ => None,
            };
            if expected.is_some_and(|expected| expected != child.len()) {
                return Err(self.error(&path, format_args!("it has {} rows in a parent of {len}", child.len())));
            }
            if matches!(data_type, DataType::Map(..)) && child.null_count() > 0 {
                return Err(self.error(&path, "the entries of a map are null"));
            }
            inner.push(child);
        }
        match (inner.as_slice(), data_type) {
            ([ends, values], DataType::RunEndEncoded(..)) if ends.len() != values.len() || ends.null_count() > 0 => {
                Err(self.error(path, format_args!("it has {} run ends for {} values", ends.len(), values.len())))
            }
            _ => Ok(inner),
        }
    }

    fn next_range(&mut self, path: &str) -> Result<Range<usize>> {
        let buffer = self.buffers.next().ok_or_else(|| self.error(path, "a buffer is missing"))?;
        let range = || {
            let start = usize::try_from(buffer.offset()).ok()?;
            let end = start.checked_add(usize::try_from(buffer.length()).ok()?)?;
            (end <= self.body_len).then_some(start..end)
        };
        range().ok_or_else(|| {
            let (offset, len, body) = (buffer.offset(), buffer.length(), self.body_len);
            self.error(path, format_args!("a buffer of {len} bytes at {offset} leaves its message of {body} bytes"))
        })
    }

    fn buffer(&mut self, path: &str, range: Range<usize>, need: &Need, alignment: usize) -> Result<Buffer> {
        let len = match *need {
            Need::Exactly(len) if range.len() < len => {
                return Err(self.error(path, format_args!("a buffer has {} bytes and needs {len}", range.len())));
            }
            Need::Exactly(len) => len,
            Need::Any => range.len(),
        };
        if len == 0 {
            return Ok(Buffer::default());
        }
        let buffer = (self.body)(range.start, len)?;
        if buffer.as_ptr().addr().is_multiple_of(alignment) {
            return Ok(buffer);
        }
        self.copied += buffer.len();
        Ok(Buffer::from(buffer.as_slice()))
    }
}

/// How many bytes of a buffer belong to an array.
enum Need {
    /// No more are taken: arrow asserts that offsets and values fill their buffers.
    Exactly(usize),
    Any,
}

/// The size and the alignment that a buffer needs for `len` values.
fn needs(data_type: &DataType, index: usize, spec: &BufferSpec, len: usize) -> (Need, usize) {
    let offsets = index == 0
        && matches!(
            data_type,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::List(_)
                | DataType::LargeList(_)
                | DataType::Map(..)
        );
    match spec {
        // No values need no offsets at all; otherwise there is one more offset than values.
        BufferSpec::FixedWidth { byte_width, alignment } => {
            let count = if offsets && len > 0 { len.saturating_add(1) } else { len };
            (Need::Exactly(count.saturating_mul(*byte_width)), *alignment)
        }
        BufferSpec::BitMap => (Need::Exactly(len.div_ceil(8)), 1),
        BufferSpec::VariableWidth | BufferSpec::AlwaysNull => (Need::Any, 1),
    }
}

fn count_dictionaries(data_type: &DataType) -> usize {
    let here = usize::from(matches!(data_type, DataType::Dictionary(..)));
    let values = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    here + children(values).iter().map(|field| count_dictionaries(field.data_type())).sum::<usize>()
}
