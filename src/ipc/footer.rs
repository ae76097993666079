//! The end of a segment: the positions of its messages, and coframe's entries (FORMAT.md, section 4).

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    str::FromStr,
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_ipc::{
    Block, FooterBuilder, MetadataVersion,
    convert::{IpcSchemaEncoder, metadata_to_fb},
    root_as_footer_with_opts,
    writer::DictionaryTracker,
};
use crc32fast::Hasher;
use flatbuffers::{FlatBufferBuilder, VerifierOptions};

use super::{
    digest::{self, Intact},
    file::{FileBytes, MAGIC, MessageRange, footer_range},
    schema::{self, ReadSchema},
    tree::children,
};
use crate::error::{Error, Result};

/// The version of docs/FORMAT.md that this build writes and reads; not the version of the crate.
const FORMAT: u32 = 1;
/// coframe's entries in a footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) segment: u128,
    pub(crate) writer: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) created: u64,
    pub(crate) keep: u32,
    pub(crate) rows: u64,
    /// Top-level columns whose dictionary keys are all within their dictionaries, including keys in null slots. The
    /// encoder checks that.
    pub(crate) keys: Vec<usize>,
    pub(crate) hints: PolarsHints,
    /// The entry `coframe.stats`, if the publisher asked for statistics.
    pub(crate) stats: Option<String>,
    pub(crate) user: BTreeMap<String, String>,
}

/// Properties of columns that Polars records and Arrow does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolarsHints {
    /// The arrays came from Polars, so its invariants hold: struct nulls are propagated, null keys are in range.
    pub(crate) polars: bool,
    /// Top-level columns that are sorted: position, and whether descending.
    pub(crate) sorted: Vec<(usize, bool)>,
}

impl PolarsHints {
    /// Adds sorted columns.
    pub(crate) fn with_sorted(mut self, columns: impl Iterator<Item = (usize, bool)>) -> Self {
        for column in columns {
            self.sorted.retain(|(known, _)| *known != column.0);
            self.sorted.push(column);
        }
        self.sorted.sort_unstable();
        self
    }
}

/// The checked end of a file: every block is inside the file and overlaps no other.
#[derive(Clone, Debug)]
pub(crate) struct Footer {
    pub(crate) schema: SchemaRef,
    /// Of each dictionary field, in depth-first order.
    pub(super) dictionary_ids: Vec<i64>,
    pub(super) dictionaries: Vec<MessageRange>,
    pub(super) batches: Vec<MessageRange>,
    /// `None` for a file that coframe did not write.
    pub(crate) metadata: Option<Metadata>,
}

impl Metadata {
    fn to_pairs(&self) -> HashMap<String, String> {
        let sorted = |(column, descending): &(usize, bool)| format!("{column}{}", if *descending { '-' } else { '+' });
        let sorted: Vec<_> = self.hints.sorted.iter().map(sorted).collect();
        let fixed = [
            ("format", FORMAT.to_string()),
            ("segment", format!("{:032x}", self.segment)),
            ("writer", self.writer.clone()),
            ("created", self.created.to_string()),
            ("keep", self.keep.to_string()),
            ("rows", self.rows.to_string()),
            ("keys", self.keys.iter().map(usize::to_string).collect::<Vec<_>>().join(",")),
            ("polars", u8::from(self.hints.polars).to_string()),
            ("sorted", sorted.join(",")),
            ("digest", digest::PLACEHOLDER.to_owned()),
        ];
        let fixed = fixed.into_iter().map(|(key, value)| (format!("coframe.{key}"), value));
        let user = self.user.iter().map(|(key, value)| (format!("coframe.user.{key}"), value.clone()));
        let stats = self.stats.iter().map(|stats| ("coframe.stats".to_owned(), stats.clone()));
        fixed.chain(stats).chain(user).collect()
    }

    fn from_pairs(pairs: &[(&str, &str)], what: &str) -> Result<Self> {
        let get = |key: &'static str| Pair { pairs, what, key };
        let format: u32 = get("coframe.format").parse()?;
        if format != FORMAT {
            return Err(Error::unsupported(
                format_args!("{what}, which has format version {format} where this build reads {FORMAT},"),
                "upgrade the reader, or publish again with the version of coframe that reads it",
            ));
        }
        let segment = get("coframe.segment");
        let sorted = get("coframe.sorted");
        let mark = |mark: &str| {
            let (column, direction) = mark.split_at_checked(mark.len().checked_sub(1)?)?;
            Some((column.parse().ok()?, direction == "-"))
        };
        let sorted_marks = sorted.text()?.split(',').filter(|mark| !mark.is_empty()).map(mark);
        let keys = get("coframe.keys");
        // Frames that are older than this entry do not have it.
        let listed = keys.find().unwrap_or_default().split(',').filter(|column| !column.is_empty());
        let user = pairs
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("coframe.user.")?.to_owned(), (*value).to_owned())));
        Ok(Self {
            segment: u128::from_str_radix(segment.text()?, 16).map_err(|e| segment.error(e))?,
            writer: get("coframe.writer").text()?.to_owned(),
            created: get("coframe.created").parse()?,
            keep: get("coframe.keep").parse()?,
            rows: get("coframe.rows").parse()?,
            keys: listed.map(str::parse).collect::<std::result::Result<_, _>>().map_err(|e| keys.error(e))?,
            hints: PolarsHints {
                polars: get("coframe.polars").text()? == "1",
                sorted: sorted_marks
                    .collect::<Option<_>>()
                    .ok_or_else(|| sorted.error("it is not a list of columns"))?,
            },
            stats: get("coframe.stats").find().map(str::to_owned),
            user: user.collect(),
        })
    }
}

/// One entry of the footer's metadata while it is read.
struct Pair<'a> {
    pairs: &'a [(&'a str, &'a str)],
    what: &'a str,
    key: &'static str,
}

impl Pair<'_> {
    fn error(&self, detail: impl Display) -> Error {
        Error::corrupt(self.what, "M1-entries", format_args!("`{}` cannot be read: {detail}", self.key))
    }

    fn find(&self) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| *key == self.key).map(|(_, value)| *value)
    }

    fn text(&self) -> Result<&str> {
        self.find().ok_or_else(|| self.error("it is missing"))
    }

    fn parse<T: FromStr<Err: Display>>(&self) -> Result<T> {
        self.text()?.parse().map_err(|e| self.error(e))
    }
}

/// The footer, its length and the closing magic. `digest` has seen every byte before them that is outside a body.
pub(super) fn build(
    schema: &SchemaRef,
    metadata: &Metadata,
    dictionaries: &[Block],
    batches: &[Block],
    mut digest: Hasher,
) -> Result<Vec<u8>> {
    check_size(schema, &metadata.user, dictionaries.len() + batches.len())?;
    check_stats(metadata)?;
    let mut builder = FlatBufferBuilder::new();
    let dictionaries = builder.create_vector(dictionaries);
    let batches = builder.create_vector(batches);
    let mut tracker = DictionaryTracker::new(false);
    let schema =
        IpcSchemaEncoder::new().with_dictionary_tracker(&mut tracker).schema_to_fb_offset(&mut builder, schema);
    let pairs = metadata_to_fb(&mut builder, &metadata.to_pairs());
    let mut footer = FooterBuilder::new(&mut builder);
    footer.add_version(MetadataVersion::V5);
    footer.add_schema(schema);
    footer.add_dictionaries(dictionaries);
    footer.add_recordBatches(batches);
    footer.add_custom_metadata(pairs);
    let root = footer.finish();
    builder.finish(root, None);

    let mut bytes = builder.finished_data().to_vec();
    let len = i32::try_from(bytes.len())
        .map_err(|_| Error::unsupported("a schema and metadata of 2 GiB", "publish fewer columns or less metadata"))?;
    let place = digest::digest_range(&bytes)
        .ok_or_else(|| Error::invalid("the footer that was built", "it has no place for the digest"))?;
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&MAGIC);
    digest.update(&bytes);
    if let Some(digits) = bytes.get_mut(place) {
        digits.copy_from_slice(&digest::digits(digest));
    }
    Ok(bytes)
}

/// Refuses a schema and metadata beyond 1 GiB (FORMAT.md, rule S2): a flatbuffer panics at 2 GiB.
pub(super) fn check_size(schema: &Schema, user: &BTreeMap<String, String>, blocks: usize) -> Result<()> {
    const MAX_FOOTER: usize = 1 << 30;
    // Approximate size in a flatbuffer, without the strings: of a field, of a pair, of a block.
    const FIELD: usize = 200;
    const PAIR: usize = 40;
    const BLOCK: usize = 24;
    fn pairs<'a>(all: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
        all.map(|(key, value)| key.len() + value.len() + PAIR).sum()
    }
    fn size(field: &Field) -> usize {
        let inner: usize = children(field.data_type()).map(|child| size(child)).sum();
        FIELD + field.name().len() + pairs(field.metadata().iter()) + inner
    }
    let fields: usize = schema.fields().iter().map(|field| size(field)).sum();
    let bytes = fields + pairs(schema.metadata().iter()) + pairs(user.iter()) + blocks * BLOCK;
    if bytes <= MAX_FOOTER {
        return Ok(());
    }
    Err(Error::unsupported(
        format_args!("a schema and metadata of about {bytes} bytes, where at most {MAX_FOOTER} fit into a segment,"),
        "publish fewer columns or less metadata",
    ))
}

/// Refuses statistics that would not fit next to a schema and metadata of the largest size.
fn check_stats(metadata: &Metadata) -> Result<()> {
    const MAX_STATS: usize = 1 << 29;
    let bytes = metadata.stats.as_ref().map_or(0, String::len);
    if bytes <= MAX_STATS {
        return Ok(());
    }
    let what = format_args!("statistics of {bytes} bytes, where at most {MAX_STATS} fit into a segment,");
    Err(Error::unsupported(what, "publish in larger batches, or without statistics"))
}

impl Footer {
    /// Reads and checks the end of a file. `what` names the file in errors; `intact` is passed if the digest of its
    /// bytes was checked.
    ///
    /// Costs in the order of columns and batches. For a file that coframe wrote, every byte outside the message
    /// bodies is checked against the digest, so damaged metadata is an error here.
    pub(crate) fn read(file: &dyn FileBytes, what: &str, intact: Option<&Intact<'_>>) -> Result<Self> {
        let range = footer_range(file, what)?;
        let footer_bytes = &*file.range(range.clone())?;
        let bad = |rule, detail: &dyn Display| Error::corrupt(what, rule, detail);
        let footer = match intact {
            Some(intact) => intact.footer(),
            None => {
                root_as_footer_with_opts(&verifier(footer_bytes), footer_bytes).map_err(|e| bad("S2-footer", &e))?
            }
        };
        if footer.version() != MetadataVersion::V5 {
            return Err(Error::unsupported(
                format_args!("{what}, which has Arrow metadata version {:?} where V5 is read,", footer.version()),
                "write it again with a current Arrow library, or import it",
            ));
        }
        let entries = footer.custom_metadata();
        let mut pairs = Vec::with_capacity(entries.map_or(0, |entries| entries.len()));
        pairs.extend(entries.into_iter().flatten().filter_map(|kv| Some((kv.key()?, kv.value()?))));
        let ours = pairs.iter().any(|(key, _)| *key == "coframe.format");
        let metadata = ours.then(|| Metadata::from_pairs(&pairs, what)).transpose()?;
        if ours && intact.is_none() && digest::check(file, &range)?.is_none() {
            return Err(bad("M2-digest", &"the metadata does not have the digest that it records"));
        }
        let schema = footer.schema().ok_or_else(|| bad("S2-footer", &"it has no schema"))?;
        let ReadSchema { schema, dictionary_ids } = schema::read(schema, what)?;
        // Damage can hide the mark, and batches with it. Such a file must not count as a foreign one.
        if !ours && has_lost_entries(footer_bytes, &schema, &pairs) {
            return Err(bad("M1-entries", &"`coframe.format` cannot be read: it is missing"));
        }
        let message = |block: &Block| message_range(block, range.start, what);
        let dictionaries: Vec<_> = footer.dictionaries().iter().flatten().map(message).collect::<Result<_>>()?;
        let batches: Vec<_> = footer.recordBatches().iter().flatten().map(message).collect::<Result<_>>()?;
        if intact.is_none() {
            refuse_overlaps(dictionaries.iter().chain(&batches), what)?;
        }
        Ok(Self { schema, dictionary_ids, dictionaries, batches, metadata })
    }

    /// The replacement of a footer for a stream.
    pub(super) fn from_stream(schema: SchemaRef, dictionary_ids: Vec<i64>) -> Self {
        Self { schema, dictionary_ids, dictionaries: Vec::new(), batches: Vec::new(), metadata: None }
    }
}

/// Refuses a file whose messages share bytes, because one of them would be invalid.
fn refuse_overlaps<'a>(messages: impl Iterator<Item = &'a MessageRange>, what: &str) -> Result<()> {
    let mut places: Vec<_> = messages.map(|message| message.header.start..message.body.end).collect();
    places.sort_unstable_by_key(|place| place.start);
    let overlap = places.array_windows().find(|[first, second]| second.start < first.end);
    overlap.map_or(Ok(()), |[first, second]| {
        let detail = format_args!("the messages at {first:?} and {second:?} overlap");
        Err(Error::corrupt(what, "S4-blocks", detail))
    })
}

/// Whether a footer contains a key of coframe's entries as a string to which nothing refers any more.
///
/// Another writer may use such a string as a column, a key or a value; then the schema or the entries refer to it.
fn has_lost_entries(footer: &[u8], schema: &Schema, entries: &[(&str, &str)]) -> bool {
    let lost = |key: &&str| {
        let length = u32::try_from(key.len()).unwrap_or_default().to_le_bytes();
        let string = [&length, key.as_bytes(), &[0]].concat();
        footer.windows(string.len()).any(|window| window == string)
            && !entries.iter().any(|(known, value)| known == key || value == key)
            && !holds(schema.metadata(), key)
            && !schema.fields().iter().any(|field| mentions(field, key))
    };
    ["coframe.format", "coframe.segment", "coframe.digest"].iter().any(lost)
}

fn holds(metadata: &HashMap<String, String>, text: &str) -> bool {
    metadata.iter().any(|(key, value)| key == text || value == text)
}

/// Whether a field, or one inside it, has this text as its name, its time zone, or in its metadata.
fn mentions(field: &Field, text: &str) -> bool {
    let data_type = match field.data_type() {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    field.name() == text
        || holds(field.metadata(), text)
        || matches!(data_type, DataType::Timestamp(_, Some(zone)) if **zone == *text)
        || children(data_type).any(|field| mentions(field, text))
}

/// Limits for the verifier of a flatbuffer, in proportion to its size. The default limits refuse 400 000 columns and types
/// that nest 61 deep, and accept a small buffer that refers to one part a million times.
pub(super) fn verifier(flatbuffer: &[u8]) -> VerifierOptions {
    VerifierOptions {
        // Each level of a type is a table in that of its parent. `schema::read` reports those that are too deep.
        max_depth: 2 * schema::MAX_DEPTH,
        // No table is shorter.
        max_tables: flatbuffer.len() / 4,
        max_apparent_size: flatbuffer.len().saturating_mul(8),
        ..VerifierOptions::default()
    }
}

fn message_range(block: &Block, footer_start: usize, what: &str) -> Result<MessageRange> {
    MessageRange::from_block(block, footer_start).ok_or_else(|| {
        let (header, body, start) = (block.metaDataLength(), block.bodyLength(), block.offset());
        let detail = format_args!(
            "a message of {header} + {body} bytes at {start} leaves the {footer_start} bytes before the footer"
        );
        Error::corrupt(what, "S4-blocks", detail)
    })
}
