//! Arrow IPC from a reader: a stream, or a file read front to back and by its footer. For files of other writers.
//!
//! All bytes are read into private memory before they are checked, so no other process can change them in between.

use std::{
    borrow::Cow,
    cell::RefCell,
    io::{ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    buffer::{Buffer, MutableBuffer},
    datatypes::SchemaRef,
};
use arrow_ipc::{self as ipc, MessageHeader};

use super::decode::{Decoder, parse};
#[cfg(feature = "compression")]
use super::decompress::unpacked;
use crate::error::{Error, Result};
use crate::ipc::{
    file::{FileBytes, MAGIC, MessageRange},
    footer::Footer,
    schema::{self, ReadSchema},
};

/// The first bytes of a file of Feather version 1, which is not Arrow IPC.
const FEATHER_1: [u8; 4] = *b"FEA1";
/// Maximum size of the metadata of a message; a million columns need about 200 MB.
const MAX_HEADER: usize = 1 << 30;

/// Opens an Arrow IPC file or stream. `what` names it in errors. Yields validated batches, one at a time.
pub(crate) fn read_messages<R: Read + Seek>(mut reader: R, what: &str) -> Result<(SchemaRef, Messages<R>)> {
    let mut magic = [0; 6];
    let begins = reader.read_exact(&mut magic).is_ok();
    reader.seek(SeekFrom::Start(0)).map_err(|e| Error::os("read", what, e))?;
    if begins && magic == MAGIC { by_footer(reader, what) } else { by_stream(reader, what) }
}

/// Reads the record batches of an Arrow IPC file or stream of any writer, for example for
/// [`Store::writer`](crate::Store::writer).
///
/// Needs memory for one batch, and for its compressed bytes if it is compressed. Compressed files need the feature
/// `compression` and are refused without it. Every value is validated before a batch is returned. The reader ends at
/// the first error.
///
/// ```
/// use std::{io::Cursor, sync::Arc};
/// use coframe::{IpcReader, arrow::{array::{Int64Array, RecordBatch}, ipc::writer::StreamWriter}};
///
/// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema())?;
/// stream.write(&batch)?;
/// stream.finish()?;
///
/// let mut reader = IpcReader::stream(Cursor::new(stream.into_inner()?), "the stream")?;
/// assert_eq!(reader.next().transpose()?, Some(batch));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IpcReader<'a> {
    schema: SchemaRef,
    messages: Messages<Box<dyn ReadSeek + 'a>>,
}

trait ReadSeek: Read + Seek + Send {}

impl<R: Read + Seek + Send> ReadSeek for R {}

impl<'a> IpcReader<'a> {
    /// Opens a file or stream. `what` names it in errors.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::IpcReader;
    /// let file = std::fs::File::open(frame.path())?;
    /// let rows: usize = IpcReader::file(file, "a copy")?.map(|batch| batch.map_or(0, |b| b.num_rows())).sum();
    /// assert_eq!(rows, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](Error::is_corrupt) when it is not Arrow IPC. Without the feature `compression`, compressed
    /// buffers are [`is_unsupported`](Error::is_unsupported). They may be found only when a batch is read.
    pub fn file(reader: impl Read + Seek + Send + 'a, what: &str) -> Result<Self> {
        let reader: Box<dyn ReadSeek + 'a> = Box::new(reader);
        let (schema, messages) = read_messages(reader, what)?;
        Ok(Self { schema, messages })
    }

    /// Opens a stream that can be read only once, such as a pipe. It is read to its end: bytes after the end-of-stream
    /// marker are an error.
    pub fn stream(reader: impl Read + Send + 'a, what: &str) -> Result<Self> {
        let reader: Box<dyn ReadSeek + 'a> = Box::new(Once(reader));
        let (schema, messages) = by_stream(reader, what)?;
        Ok(Self { schema, messages })
    }

    /// The Arrow schema of the batches.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::IpcReader;
    /// let file = std::fs::File::open(frame.path())?;
    /// assert_eq!(IpcReader::file(file, "a copy")?.schema().fields().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for IpcReader<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.messages.next()
    }
}

impl std::fmt::Debug for IpcReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IpcReader").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// A reader without `seek`, which a stream does not need.
struct Once<R>(R);

impl<R: Read> Read for Once<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R> Seek for Once<R> {
    fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// Batches of a file or stream.
pub(crate) struct Messages<R> {
    reader: R,
    what: String,
    decoder: Decoder,
    next: Next,
    /// Whether bytes after the end of a stream are an error.
    alone: bool,
}

enum Next {
    /// The batches of a file that are still to come, in reverse.
    Blocks(Vec<MessageRange>),
    Stream,
    Done,
}

fn by_footer<R: Read + Seek>(mut reader: R, what: &str) -> Result<(SchemaRef, Messages<R>)> {
    let len = reader.seek(SeekFrom::End(0)).map_err(|e| Error::os("read", what, e))?;
    let file = ReadFile { len: usize::try_from(len).unwrap_or(usize::MAX), what, reader: RefCell::new(&mut reader) };
    let footer = Footer::read(&file, what, None)?;
    let mut decoder = Decoder::new(&footer, what, None);
    for message in &footer.dictionaries {
        let (header, body) = file.message(message)?;
        take_dictionary(&mut decoder, parse(&header, what)?, &body)?;
    }
    let schema = decoder.schema.clone();
    let blocks = footer.batches.into_iter().rev().collect();
    Ok((schema, Messages { reader, what: what.to_owned(), decoder, next: Next::Blocks(blocks), alone: true }))
}

fn by_stream<R: Read + Seek>(mut reader: R, what: &str) -> Result<(SchemaRef, Messages<R>)> {
    let header = first_header(&mut reader, what)?;
    let header = header.ok_or_else(|| Error::corrupt(what, "I1-stream", "it is empty"))?;
    let message = parse(&header, what)?;
    let schema = message.header_as_schema().ok_or_else(|| {
        Error::corrupt(what, "I1-stream", "it starts with a message other than a schema, so it is not Arrow IPC")
    })?;
    let ReadSchema { schema, dictionary_ids } = schema::read(schema, what)?;
    let footer = Footer::from_stream(schema.clone(), dictionary_ids);
    let decoder = Decoder::new(&footer, what, None);
    Ok((schema, Messages { reader, what: what.to_owned(), decoder, next: Next::Stream, alone: true }))
}

impl<R: Read + Seek> Iterator for Messages<R> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match &mut self.next {
            Next::Blocks(blocks) => blocks.pop().map(|block| self.block(&block)),
            Next::Stream => self.message().transpose(),
            Next::Done => None,
        };
        if !matches!(batch, Some(Ok(_))) {
            self.next = Next::Done;
        }
        batch
    }
}

impl<R: Read + Seek> Messages<R> {
    /// Accepts any bytes after a stream, because the object that contains it is longer.
    #[cfg(feature = "shm")]
    pub(crate) fn with_tail(mut self) -> Self {
        self.alone = false;
        self
    }

    fn block(&mut self, block: &MessageRange) -> Result<RecordBatch> {
        let file = ReadFile { len: block.body.end, what: &self.what, reader: RefCell::new(&mut self.reader) };
        let (header, body) = file.message(block)?;
        take_batch(&mut self.decoder, parse(&header, &self.what)?, &body)
    }

    /// The next batch of a stream. Reads the dictionaries before it.
    fn message(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(header) = next_header(&mut self.reader, &self.what)? {
            let message = parse(&header, &self.what)?;
            let len = usize::try_from(message.bodyLength())
                .map_err(|_| Error::corrupt(&self.what, "I1-stream", "a message has a body of negative length"))?;
            let body = read_buffer(&mut self.reader, len, &self.what)?;
            let (header, body) = unpacked(Cow::Borrowed(&header), body, &self.what)?;
            let message = parse(&header, &self.what)?;
            match message.header_type() {
                MessageHeader::DictionaryBatch => take_dictionary(&mut self.decoder, message, &body)?,
                MessageHeader::RecordBatch => return take_batch(&mut self.decoder, message, &body).map(Some),
                other => {
                    let detail = format_args!("a message of kind {other:?} follows the schema");
                    return Err(Error::corrupt(&self.what, "I1-stream", detail));
                }
            }
        }
        if self.alone {
            refuse_more(&mut self.reader, &self.what)?;
        }
        Ok(None)
    }
}

/// The metadata of the first message of a stream. A known other format is refused with an error that names it.
fn first_header(reader: &mut impl Read, what: &str) -> Result<Option<Vec<u8>>> {
    match word(reader, what)? {
        Some(FEATHER_1) => Err(Error::unsupported(
            format_args!("{what}, which is Feather version 1,"),
            "write it again as Feather version 2 (Arrow IPC) or Parquet",
        )),
        word => word.map_or(Ok(None), |word| header(reader, word, what)),
    }
}

/// The metadata of the next message, prefix included; `None` at the end of the stream.
fn next_header(reader: &mut impl Read, what: &str) -> Result<Option<Vec<u8>>> {
    word(reader, what)?.map_or(Ok(None), |word| header(reader, word, what))
}

/// Four bytes; `None` at the end, because some writers end a stream without the marker.
fn word(reader: &mut impl Read, what: &str) -> Result<Option<[u8; 4]>> {
    let mut word = [0; 4];
    let mut filled = 0;
    while let Some(rest) = word.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(cut_short(ErrorKind::UnexpectedEof.into(), what)),
            Ok(read) => filled += read,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::os("read", what, e)),
        }
    }
    Ok(Some(word))
}

/// The metadata of a message that starts with this word.
fn header(reader: &mut impl Read, mut word: [u8; 4], what: &str) -> Result<Option<Vec<u8>>> {
    if word == [0xFF; 4] {
        reader.read_exact(&mut word).map_err(|e| cut_short(e, what))?;
    }
    let len = usize::try_from(i32::from_le_bytes(word)).ok().filter(|len| *len <= MAX_HEADER);
    let len = len
        .ok_or_else(|| Error::corrupt(what, "I1-stream", "it is not Arrow IPC: the length of a message is invalid"))?;
    if len == 0 {
        return Ok(None);
    }
    let mut header = [[0xFF; 4], word].concat();
    // `take` rather than a buffer of that length, because the length may be wrong.
    let read = reader.by_ref().take(wide(len)).read_to_end(&mut header).map_err(|e| Error::os("read", what, e))?;
    if read < len {
        return Err(cut_short(ErrorKind::UnexpectedEof.into(), what));
    }
    Ok(Some(header))
}

/// Refuses bytes after the end of a stream: they may be rows, which would be lost silently.
fn refuse_more(reader: &mut impl Read, what: &str) -> Result<()> {
    let mut byte = [0];
    loop {
        return match reader.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => {
                let detail =
                    "bytes follow its end-of-stream marker, expected none; import each of several streams alone";
                Err(Error::corrupt(what, "I1-stream", detail))
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => Err(Error::os("read", what, e)),
        };
    }
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn cut_short(error: std::io::Error, what: &str) -> Error {
    if error.kind() == ErrorKind::UnexpectedEof {
        return Error::corrupt(what, "I1-stream", "it ends inside a message: it was cut short");
    }
    Error::os("read", what, error)
}

/// Reads into an aligned buffer, in steps, so that a wrong length allocates no memory.
fn read_buffer(reader: &mut impl Read, len: usize, what: &str) -> Result<Buffer> {
    const STEP: usize = 1 << 20;
    let mut buffer = MutableBuffer::new(len.min(STEP));
    while buffer.len() < len {
        let start = buffer.len();
        buffer.resize(start + start.max(STEP).min(len - start), 0);
        let new = buffer.as_slice_mut().get_mut(start..).unwrap_or_default();
        reader.read_exact(new).map_err(|e| cut_short(e, what))?;
    }
    Ok(buffer.into())
}

/// Without the feature `compression` a compressed message is not changed, and is refused later.
#[cfg(not(feature = "compression"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it fails")]
fn unpacked<'a>(header: Cow<'a, [u8]>, body: Buffer, _what: &str) -> Result<(Cow<'a, [u8]>, Buffer)> {
    Ok((header, body))
}

fn take_dictionary(decoder: &mut Decoder, message: ipc::Message<'_>, body: &Buffer) -> Result<()> {
    match decoder.dictionary_outline(message, 0..body.len())? {
        Some(dictionary) => decoder.dictionary(dictionary, &part_of(body)),
        None => Ok(()),
    }
}

fn take_batch(decoder: &mut Decoder, message: ipc::Message<'_>, body: &Buffer) -> Result<RecordBatch> {
    let outline = decoder.batch_outline(message, 0..body.len())?;
    let columns = decoder.columns(&outline, &part_of(body))?.into_iter().flatten().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(outline.rows));
    RecordBatch::try_new_with_options(decoder.schema.clone(), columns, &options)
        .map_err(|e| Error::arrow("put a batch together", e))
}

fn part_of(body: &Buffer) -> impl Fn(Range<usize>) -> Buffer + '_ {
    // Outlines contain only places inside the body.
    |place| body.slice_with_length(place.start, place.len())
}

/// A file of which ranges are read on demand.
struct ReadFile<'a, R> {
    len: usize,
    what: &'a str,
    reader: RefCell<&'a mut R>,
}

impl<R: Read + Seek> ReadFile<'_, R> {
    /// The metadata and the body of a message, decompressed.
    fn message(&self, place: &MessageRange) -> Result<(Cow<'_, [u8]>, Buffer)> {
        unpacked(self.range(place.header.clone())?, self.buffer(place.body.clone())?, self.what)
    }

    fn buffer(&self, range: Range<usize>) -> Result<Buffer> {
        let mut reader = self.reader.borrow_mut();
        reader.seek(SeekFrom::Start(wide(range.start))).map_err(|e| Error::os("read", self.what, e))?;
        read_buffer(&mut **reader, range.len(), self.what)
    }
}

impl<R: Read + Seek> FileBytes for ReadFile<'_, R> {
    fn len(&self) -> usize {
        self.len
    }

    fn range(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Owned(self.buffer(range)?.to_vec()))
    }
}
