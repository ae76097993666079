//! Arrow IPC messages to arrays on the caller's bytes.
//!
//! Written here rather than taken from arrow-ipc for three reasons: every buffer becomes an allocation of its own (so
//! that engines weigh a batch, not the file), a malformed message is an error and never a panic, and each copy that
//! alignment forces is counted. docs/DESIGN.md has the measurements.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayData, RecordBatch, make_array},
    compute::concat,
    datatypes::{DataType, SchemaRef},
    ipc::{self, MessageHeader, root_as_message},
};

use super::{
    assemble::{Assembly, Bytes, Dictionaries},
    contents::{Columns, Contents, mapped},
    digest::{Intact, flatbuffer},
    footer::{Footer, MessageRange},
    keys,
    outline::{Outline, Reader},
    part::Map,
    tree::{Place, children},
};
use crate::error::{Error, Result};

/// A copy that could not be avoided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Position of the column in the schema that was read.
    pub(crate) column: usize,
    pub(crate) bytes: usize,
    pub(crate) reason: String,
}

/// Reads a mapped file. `columns` are the positions of those that are wanted, `None` for all.
///
/// Costs in the order of columns, batches and buffers when the file is `intact`, and makes no arrays then. Otherwise
/// every array is made and every value validated.
pub(crate) fn decode(
    map: &Map,
    footer: &Footer,
    what: &str,
    columns: Option<&[usize]>,
    intact: Option<&Intact<'_>>,
) -> Result<Contents> {
    let mut decoder = Decoder::new(footer, what, columns);
    let message = |range: &MessageRange| match intact.and_then(|intact| intact.message(&range.header)) {
        Some(message) => Ok(message),
        None => parse((**map).as_ref().get(range.header.clone()).unwrap_or_default(), what),
    };
    let mut dictionaries = Vec::with_capacity(footer.dictionaries.len());
    for range in &footer.dictionaries {
        dictionaries.extend(decoder.dictionary_outline(message(range)?, range.body.clone())?);
    }
    let mut batches = Vec::with_capacity(footer.batches.len());
    for range in &footer.batches {
        batches.push(decoder.batch_outline(message(range)?, range.body.clone())?);
    }
    // Coframe writes aligned buffers and whole dictionaries (FORMAT.md, rules S3 and D1).
    let aligned = batches.iter().chain(dictionaries.iter().map(|d| &d.outline)).all(|outline| outline.aligned);
    if intact.is_some() && aligned && !dictionaries.iter().any(|dictionary| dictionary.delta) {
        return Ok(Contents::of_outlines(decoder.schema, dictionaries, batches));
    }
    let bytes = &mapped(map);
    for dictionary in dictionaries {
        decoder.dictionary(dictionary, bytes)?;
    }
    let arrays = batches.iter().map(|outline| decoder.columns(outline, bytes)).collect::<Result<_>>()?;
    Ok(Contents::of_arrays(decoder.schema, batches, arrays, decoder.copied))
}

/// Reads every value of a batch and checks it against its type; of the columns in `keys`, keys below nulls too.
pub(crate) fn validate(batch: &RecordBatch, keys: &[usize], what: &str) -> Result<()> {
    let columns = batch.columns().iter().zip(batch.schema_ref().fields());
    for (position, (column, field)) in columns.enumerate() {
        validate_data(&column.to_data(), field.name(), what)?;
        if keys.contains(&position) && !keys::lie_in_dictionaries(column) {
            let detail = format_args!("column `{}`: a key below a null lies outside of its dictionary", field.name());
            return Err(Error::corrupt(what, "D3-keys", detail));
        }
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
    pub(super) schema: SchemaRef,
    ids: Vec<i64>,
    /// By position in the schema: whether the column is to be decoded.
    wanted: Vec<bool>,
    fields: Vec<DictionaryField>,
    dictionaries: Dictionaries,
    copied: Vec<Copied>,
}

impl Decoder {
    pub(super) fn new(footer: &Footer, what: &str, columns: Option<&[usize]>) -> Self {
        let schema = footer.schema.clone();
        let wanted = |column| columns.is_none_or(|columns| columns.contains(&column));
        let mut fields = Vec::new();
        let mut ids = footer.dictionary_ids.iter().copied().enumerate();
        for (column, field) in schema.fields().iter().enumerate() {
            collect_dictionaries(field.data_type(), column, wanted(column), &mut ids, &mut fields);
        }
        Self {
            what: what.to_owned(),
            wanted: (0..schema.fields().len()).map(wanted).collect(),
            schema,
            ids: footer.dictionary_ids.clone(),
            fields,
            dictionaries: Vec::new(),
            copied: Vec::new(),
        }
    }

    /// Reads a dictionary message whose body lies at `body`; `None` where no wanted column uses it.
    pub(super) fn dictionary_outline(
        &self,
        message: ipc::Message<'_>,
        body: Range<usize>,
    ) -> Result<Option<Dictionary>> {
        let dictionary = message.header_as_dictionary_batch();
        let (dictionary, batch) = dictionary
            .and_then(|dictionary| Some((dictionary, dictionary.data()?)))
            .ok_or_else(|| Error::corrupt(&self.what, "S4-blocks", "a dictionary block holds something else"))?;
        let (id, delta) = (dictionary.id(), dictionary.isDelta());
        let Some(field) = self.fields.iter().find(|field| field.id == id && field.wanted) else { return Ok(None) };
        let ids = self.ids.get(field.place + 1..).unwrap_or_default();
        let mut reader = Reader::new(batch, &self.what, body, ids)?;
        reader.array(&Place::column("dictionary"), &field.values, true)?;
        let (column, values) = (field.column, field.values.clone());
        Ok(Some(Dictionary { id, delta, column, values, outline: reader.finish() }))
    }

    /// Reads a record batch message whose body lies at `body`.
    pub(super) fn batch_outline(&self, message: ipc::Message<'_>, body: Range<usize>) -> Result<Outline> {
        let batch = message
            .header_as_record_batch()
            .ok_or_else(|| Error::corrupt(&self.what, "S4-blocks", "a batch block holds something else"))?;
        let mut reader = Reader::new(batch, &self.what, body, &self.ids)?;
        for (field, wanted) in self.schema.fields().iter().zip(&self.wanted) {
            reader.column(field, *wanted)?;
        }
        Ok(reader.finish())
    }

    /// Makes and validates a dictionary, and keeps it for the batches that follow.
    pub(super) fn dictionary(&mut self, dictionary: Dictionary, bytes: &Bytes<'_>) -> Result<()> {
        let Dictionary { id, delta, column, values, outline } = dictionary;
        let mut assembly = Assembly { outline: &outline, bytes, dictionaries: &self.dictionaries, copied: 0 };
        let mut data = assembly.array(0, &values);
        let copied = assembly.copied;
        validate_data(&data, "dictionary", &self.what)?;
        let known = self.dictionaries.iter().position(|(known, _)| *known == id);
        let old = known.map(|known| self.dictionaries.swap_remove(known).1);
        if let (true, Some(old)) = (delta, old) {
            let parts = [make_array(old), make_array(data)];
            let whole = concat(&[&parts[0], &parts[1]]).map_err(|e| Error::arrow("join a delta dictionary", e))?;
            let bytes = whole.get_buffer_memory_size();
            self.copied.push(Copied { column, bytes, reason: "its dictionary came in parts".into() });
            data = whole.to_data();
        }
        note(&mut self.copied, column, copied);
        self.dictionaries.push((id, data));
        Ok(())
    }

    /// Makes and validates the wanted columns of a batch.
    pub(super) fn columns(&mut self, outline: &Outline, bytes: &Bytes<'_>) -> Result<Columns> {
        let mut assembly = Assembly { outline, bytes, dictionaries: &self.dictionaries, copied: 0 };
        let mut columns = Vec::with_capacity(outline.columns.len());
        for (column, (node, field)) in outline.columns.iter().zip(self.schema.fields()).enumerate() {
            let Some(node) = node else {
                columns.push(None);
                continue;
            };
            let data = assembly.array(*node, field.data_type());
            validate_data(&data, field.name(), &self.what)?;
            note(&mut self.copied, column, std::mem::take(&mut assembly.copied));
            columns.push(Some(make_array(data)));
        }
        Ok(columns)
    }
}

/// A dictionary message.
pub(super) struct Dictionary {
    pub(super) id: i64,
    /// Whether it continues what came before.
    pub(super) delta: bool,
    column: usize,
    pub(super) values: DataType,
    pub(super) outline: Outline,
}

/// A dictionary of the schema.
struct DictionaryField {
    id: i64,
    /// Position of the first wanted column that uses it, of any column where none is wanted.
    column: usize,
    wanted: bool,
    values: DataType,
    /// Its place among the ids in depth-first order.
    place: usize,
}

/// Walks a type in depth-first order and notes its dictionaries by id.
fn collect_dictionaries(
    data_type: &DataType,
    column: usize,
    wanted: bool,
    ids: &mut impl Iterator<Item = (usize, i64)>,
    found: &mut Vec<DictionaryField>,
) {
    let mut values = data_type;
    if let DataType::Dictionary(_, inner) = data_type {
        values = inner;
        if let Some((place, id)) = ids.next() {
            // Several fields may share a dictionary; one that is wanted makes it wanted.
            match found.iter_mut().find(|field| field.id == id) {
                Some(field) if wanted && !field.wanted => (field.column, field.wanted) = (column, true),
                Some(_) => {}
                None => found.push(DictionaryField { id, column, wanted, values: values.clone(), place }),
            }
        }
    }
    for child in children(values) {
        collect_dictionaries(child.data_type(), column, wanted, ids, found);
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
    let message = root_as_message(flatbuffer(header)).map_err(|e| Error::corrupt(what, "S4-blocks", e))?;
    if message.header_type() == MessageHeader::NONE {
        return Err(Error::corrupt(what, "S4-blocks", "a message has no content"));
    }
    Ok(message)
}
