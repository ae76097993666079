//! Arrow IPC messages to arrays on the caller's bytes.
//!
//! Written here rather than taken from arrow-ipc for three reasons: every buffer becomes an allocation of its own (so
//! that engines weigh a batch, not the file), a malformed message is an error and never a panic, and each copy that
//! alignment forces is counted. docs/DESIGN.md has the measurements.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayData, ArrayRef, RecordBatch, RecordBatchOptions, make_array},
    buffer::Buffer,
    compute::concat,
    datatypes::{DataType, SchemaRef},
    ipc::{self, MessageHeader, root_as_message},
};

use super::{
    arrays::{Body, Place, Reader},
    footer::{Footer, MessageRange},
    tree::children,
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
    /// Positions in the full schema of the opened columns, in their order.
    columns: Vec<usize>,
    /// By position in the full schema: the first opened column that it is.
    opened: Vec<Option<usize>>,
    pub(super) schema: SchemaRef,
    fields: HashMap<i64, DictionaryField>,
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
        let mut opened = vec![None; full.fields().len()];
        for (column, position) in columns.iter().enumerate().rev() {
            if let Some(place) = opened.get_mut(*position) {
                *place = Some(column);
            }
        }
        let mut fields = HashMap::new();
        let mut ids = footer.dictionary_ids.iter().copied().enumerate();
        for (field, column) in full.fields().iter().zip(&opened) {
            collect_dictionaries(field.data_type(), *column, &mut ids, &mut fields);
        }
        Ok(Self {
            opened,
            what: what.to_owned(),
            fields,
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
        let wanted = self.fields.get(&dictionary.id()).and_then(|field| Some((field.column?, field)));
        let Some((column, field)) = wanted else { return Ok(()) };
        let (data, copied) = {
            let mut reader = Reader::new(batch, &self.what, body_len, body, &self.dictionaries)?;
            reader.ids = self.ids.get(field.place + 1..).unwrap_or_default();
            (reader.array(&Place::column("dictionary"), &field.values, true)?, reader.copied)
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
        reader.ids = &self.ids;
        let full = self.full.clone();
        let mut arrays: Vec<Option<ArrayRef>> = Vec::with_capacity(full.fields().len());
        for (field, wanted) in full.fields().iter().zip(&self.opened) {
            let data = reader.array(&Place::column(field.name()), field.data_type(), wanted.is_some())?;
            let (Some(data), Some(column)) = (data, wanted) else {
                arrays.push(None);
                continue;
            };
            if data.len() != rows {
                return Err(reader.error(
                    &Place::column(field.name()),
                    format_args!("it has {} rows, its batch {rows}", data.len()),
                ));
            }
            if !self.trusted {
                validate_data(&data, field.name(), &self.what)?;
            }
            note(&mut self.copied, *column, std::mem::take(&mut reader.copied));
            arrays.push(Some(make_array(data)));
        }
        let columns = self.columns.iter().filter_map(|column| arrays.get(*column).cloned().flatten()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Error::corrupt(&self.what, "V1-values", e))
    }
}

/// A dictionary of the schema.
struct DictionaryField {
    /// Position among the opened columns; `None` when no opened column uses it.
    column: Option<usize>,
    values: DataType,
    /// Its place among the ids in depth-first order.
    place: usize,
}

/// Walks a type in depth-first order and notes its dictionaries by id.
fn collect_dictionaries(
    data_type: &DataType,
    column: Option<usize>,
    ids: &mut impl Iterator<Item = (usize, i64)>,
    found: &mut HashMap<i64, DictionaryField>,
) {
    let mut values = data_type;
    if let DataType::Dictionary(_, inner) = data_type {
        values = inner;
        if let Some((place, id)) = ids.next() {
            let entry = found.entry(id).or_insert_with(|| DictionaryField { column, values: values.clone(), place });
            // Several fields may share a dictionary; one that is opened makes it wanted.
            entry.column = entry.column.or(column);
        }
    }
    for child in children(values) {
        collect_dictionaries(child.data_type(), column, ids, found);
    }
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
