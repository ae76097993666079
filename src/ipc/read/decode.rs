//! Arrow IPC messages to arrays on the caller's bytes.
//!
//! Written here rather than taken from arrow-ipc for three reasons: every buffer becomes a separate allocation (so that
//! engines account the size of a batch, not of the file), a malformed message is an error and never a panic, and each
//! copy of a misaligned buffer is counted. docs/DESIGN.md has the measurements.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    ops::Range,
};

use arrow::{
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use arrow_ipc::{self as ipc, MessageHeader, root_as_message_with_opts};

use super::{
    assemble::{Assembly, Bytes, arrow_validates},
    decoded_file::{Columns, Copied, DecodedFile},
    deltas::Parts,
    outline::{Dictionary, Outline, Reader},
    part::{FileMap, mapped},
    validate::validated,
};
use crate::error::{Error, Result};
use crate::ipc::{
    digest::{Intact, flatbuffer},
    file::MessageRange,
    footer::{Footer, verifier},
    tree::{FieldPath, children},
};

/// Items to which one file may unfold, in addition to eight for each byte of its bodies (FORMAT.md, rule S5).
const SPARE_ITEMS: usize = 1 << 24;

/// Reads a mapped file. `columns` are the positions of the columns to read, `None` for all.
///
/// If the file is `intact`, creates no arrays and costs in the order of columns, batches and buffers. Otherwise every
/// array is created and every value validated.
pub(crate) fn decode(
    map: &FileMap,
    footer: &Footer,
    what: &str,
    columns: Option<&[usize]>,
    intact: Option<&Intact<'_>>,
) -> Result<DecodedFile> {
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
    let whole = !dictionaries.iter().any(|dictionary| dictionary.delta);
    if intact.is_some() && aligned && whole && !arrow_validates() {
        return Ok(DecodedFile::from_outlines(decoder.schema, dictionaries, batches));
    }
    let bytes = &mapped(map);
    for dictionary in dictionaries {
        decoder.dictionary(dictionary, bytes)?;
    }
    let arrays = batches.iter().map(|outline| decoder.columns(outline, bytes)).collect::<Result<_>>()?;
    let copied = decoder.copied.into_values().collect();
    Ok(DecodedFile::from_arrays(decoder.schema, batches, arrays, copied))
}

/// The state while the messages of one file or stream are decoded.
pub(in crate::ipc) struct Decoder {
    what: String,
    /// The whole file's schema and its dictionary ids in depth-first order.
    pub(in crate::ipc) schema: SchemaRef,
    ids: Vec<i64>,
    /// By position in the schema: whether the column is to be decoded.
    wanted: Vec<bool>,
    fields: Fields,
    dictionaries: HashMap<i64, Parts>,
    /// By position of the column.
    copied: BTreeMap<usize, Copied>,
    /// Of all messages so far.
    bytes: usize,
    unfolded: usize,
}

impl Decoder {
    pub(in crate::ipc) fn new(footer: &Footer, what: &str, columns: Option<&[usize]>) -> Self {
        let schema = footer.schema.clone();
        let mut wanted = vec![columns.is_none(); schema.fields().len()];
        for column in columns.into_iter().flatten() {
            wanted.get_mut(*column).into_iter().for_each(|wanted| *wanted = true);
        }
        let mut fields = Fields::new();
        let mut ids = footer.dictionary_ids.iter().copied().enumerate();
        for (column, (field, wanted)) in schema.fields().iter().zip(&wanted).enumerate() {
            collect_dictionaries(field.data_type(), (column, *wanted), &mut ids, &mut fields);
        }
        Self {
            what: what.to_owned(),
            wanted,
            schema,
            ids: footer.dictionary_ids.clone(),
            fields,
            dictionaries: HashMap::new(),
            copied: BTreeMap::new(),
            bytes: 0,
            unfolded: 0,
        }
    }

    /// Reads a dictionary message with its body at `body`; `None` if no wanted column uses it.
    pub(in crate::ipc) fn dictionary_outline(
        &self,
        message: ipc::Message<'_>,
        body: Range<usize>,
    ) -> Result<Option<Dictionary>> {
        let dictionary = message.header_as_dictionary_batch();
        let (dictionary, batch) = dictionary
            .and_then(|dictionary| Some((dictionary, dictionary.data()?)))
            .ok_or_else(|| Error::corrupt(&self.what, "S4-blocks", "a dictionary block holds something else"))?;
        let (id, delta) = (dictionary.id(), dictionary.isDelta());
        let Some(field) = self.fields.get(&id).filter(|field| field.wanted) else { return Ok(None) };
        let ids = self.ids.get(field.place + 1..).unwrap_or_default();
        let mut reader = Reader::new(batch, &self.what, body, ids)?;
        reader.array(&FieldPath::column("dictionary"), &field.values, true)?;
        let (column, values) = (field.column, field.values.clone());
        Ok(Some(Dictionary { id, delta, column, values, outline: reader.finish() }))
    }

    /// Reads a record batch message with its body at `body`.
    pub(in crate::ipc) fn batch_outline(&self, message: ipc::Message<'_>, body: Range<usize>) -> Result<Outline> {
        let batch = message
            .header_as_record_batch()
            .ok_or_else(|| Error::corrupt(&self.what, "S4-blocks", "a batch block holds something else"))?;
        let mut reader = Reader::new(batch, &self.what, body, &self.ids)?;
        for (field, wanted) in self.schema.fields().iter().zip(&self.wanted) {
            reader.column(field, *wanted)?;
        }
        Ok(reader.finish())
    }

    /// Builds and validates a dictionary, or the values that a delta adds to one, and keeps it for the following
    /// batches.
    pub(in crate::ipc) fn dictionary(&mut self, dictionary: Dictionary, bytes: &Bytes<'_>) -> Result<()> {
        let Dictionary { id, delta, column, values, outline } = dictionary;
        self.count(&outline)?;
        if outline.refers_to_dictionaries() {
            self.join()?;
        }
        let known = |id| self.dictionaries.get(&id).map(Parts::whole);
        let mut assembly = Assembly { outline: &outline, bytes, dictionaries: &known, copied: 0 };
        let data = assembly.array(0, &values).and_then(validated).map(|array| array.to_data());
        let copied = assembly.copied;
        let name = self.schema.fields().get(column).map_or("", |field| field.name());
        let data = data.map_err(|e| bad_values(&self.what, name, &e))?;
        note(&mut self.copied, column, copied, "its buffers are not aligned in the file");
        match self.dictionaries.entry(id) {
            Entry::Occupied(mut known) if delta => known.get_mut().push(data),
            Entry::Occupied(mut known) => *known.get_mut() = Parts::new(data),
            Entry::Vacant(new) => drop(new.insert(Parts::new(data))),
        }
        Ok(())
    }

    /// Joins dictionaries that came in parts, once for all parts since the last batch that needed them.
    fn join(&mut self) -> Result<()> {
        for (id, parts) in &mut self.dictionaries {
            let bytes = parts.join().map_err(|e| Error::arrow("join a dictionary that came in parts", e))?;
            let column = self.fields.get(id).map_or(0, |field| field.column);
            note(&mut self.copied, column, bytes, "its dictionary came in parts");
        }
        Ok(())
    }

    /// Builds and validates the wanted columns of a batch.
    pub(in crate::ipc) fn columns(&mut self, outline: &Outline, bytes: &Bytes<'_>) -> Result<Columns> {
        self.count(outline)?;
        self.join()?;
        let known = |id| self.dictionaries.get(&id).map(Parts::whole);
        let mut assembly = Assembly { outline, bytes, dictionaries: &known, copied: 0 };
        let mut columns = Vec::with_capacity(outline.columns.len());
        for (column, (node, field)) in outline.columns.iter().zip(self.schema.fields()).enumerate() {
            let Some(node) = node else {
                columns.push(None);
                continue;
            };
            let data = assembly.array(*node, field.data_type());
            // The dictionaries were validated when they came.
            let array = data.and_then(validated).map_err(|e| bad_values(&self.what, field.name(), &e))?;
            let copied = std::mem::take(&mut assembly.copied);
            note(&mut self.copied, column, copied, "its buffers are not aligned in the file");
            columns.push(Some(array));
        }
        Ok(columns)
    }

    /// Refuses a short file that would take long to validate.
    fn count(&mut self, outline: &Outline) -> Result<()> {
        self.bytes = self.bytes.saturating_add(outline.bytes);
        self.unfolded = self.unfolded.saturating_add(outline.unfolded);
        let most = self.bytes.saturating_mul(8).saturating_add(SPARE_ITEMS);
        if self.unfolded <= most {
            return Ok(());
        }
        let detail = format_args!(
            "fixed-size lists with nulls, and list views, have {} items, expected at most {most} in a file so short",
            self.unfolded
        );
        Err(Error::corrupt(&self.what, "S5-buffers", detail))
    }
}

fn bad_values(what: &str, column: &str, error: &ArrowError) -> Error {
    Error::corrupt(what, "V1-values", format_args!("column `{column}`: {error}"))
}

/// The dictionaries of a schema, by id.
type Fields = HashMap<i64, DictionaryField>;

/// A dictionary of the schema.
struct DictionaryField {
    /// Position of the first wanted column that uses it, or of any column if none of them is wanted.
    column: usize,
    wanted: bool,
    values: DataType,
    /// Its place among the ids in depth-first order.
    place: usize,
}

/// Walks the type of a column, wanted or not, in depth-first order and records its dictionaries.
fn collect_dictionaries(
    data_type: &DataType,
    (column, wanted): (usize, bool),
    ids: &mut impl Iterator<Item = (usize, i64)>,
    found: &mut Fields,
) {
    let mut values = data_type;
    if let DataType::Dictionary(_, inner) = data_type {
        values = inner;
        if let Some((place, id)) = ids.next() {
            // Several fields may share a dictionary. It is wanted if one of them is.
            let new = || DictionaryField { column, wanted, values: values.clone(), place };
            let field = found.entry(id).or_insert_with(new);
            if wanted && !field.wanted {
                (field.column, field.wanted) = (column, true);
            }
        }
    }
    for child in children(values) {
        collect_dictionaries(child.data_type(), (column, wanted), ids, found);
    }
}

/// Adds up the bytes copied for one column, and keeps the first reason.
fn note(all: &mut BTreeMap<usize, Copied>, column: usize, bytes: usize, reason: &str) {
    if bytes > 0 {
        let new = || Copied { column, bytes: 0, reason: reason.to_owned() };
        all.entry(column).or_insert_with(new).bytes += bytes;
    }
}

/// The flatbuffer of an encapsulated message.
pub(in crate::ipc) fn parse<'a>(header: &'a [u8], what: &str) -> Result<ipc::Message<'a>> {
    let bytes = flatbuffer(header);
    let message =
        root_as_message_with_opts(&verifier(bytes), bytes).map_err(|e| Error::corrupt(what, "S4-blocks", e))?;
    if message.header_type() == MessageHeader::NONE {
        return Err(Error::corrupt(what, "S4-blocks", "a message has no content"));
    }
    Ok(message)
}
