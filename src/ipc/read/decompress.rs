//! Decompresses the messages of other writers: every buffer, and metadata with the new positions.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
};

use arrow::buffer::{Buffer, MutableBuffer};
use arrow_ipc::{self as ipc, CompressionType, MessageHeader};
use flatbuffers::FlatBufferBuilder;

use super::decode::parse;
use crate::error::{Error, Result};
use crate::ipc::file::ALIGNMENT;

/// The length that marks a buffer as uncompressed, because compression would have made it larger.
const AS_IT_IS: i64 = -1;

/// The metadata and the body of a message, decompressed if necessary.
///
/// A compressed buffer is its uncompressed length, as eight bytes, followed by an LZ4 or Zstandard frame.
pub(in crate::ipc) fn unpacked<'a>(header: Cow<'a, [u8]>, body: Buffer, what: &str) -> Result<(Cow<'a, [u8]>, Buffer)> {
    let message = parse(&header, what)?;
    let dictionary = message.header_as_dictionary_batch();
    let batch = message.header_as_record_batch().or(dictionary.and_then(|dictionary| dictionary.data()));
    let Some((batch, compression)) = batch.and_then(|batch| Some((batch, batch.compression()?))) else {
        return Ok((header, body));
    };
    let mut plain = MutableBuffer::new(body.len());
    let mut places = Vec::new();
    for buffer in batch.buffers().into_iter().flatten() {
        let start = plain.len();
        let packed = within(&body, buffer)
            .ok_or_else(|| Error::corrupt(what, "S5-buffers", "a buffer is outside its message"))?;
        unpack(packed, compression.codec(), &mut plain)
            .map_err(|error| Error::corrupt(what, "I1-stream", format_args!("a compressed buffer: {error}")))?;
        places.push(ipc::Buffer::new(signed(start), signed(plain.len() - start)));
        plain.resize(plain.len().next_multiple_of(ALIGNMENT), 0);
    }
    let header = plain_header(message, batch, &places, plain.len());
    Ok((Cow::Owned(header), plain.into()))
}

fn within<'a>(body: &'a Buffer, buffer: &ipc::Buffer) -> Option<&'a [u8]> {
    let start = usize::try_from(buffer.offset()).ok()?;
    let end = start.checked_add(usize::try_from(buffer.length()).ok()?)?;
    body.get(start..end)
}

fn unpack(packed: &[u8], codec: CompressionType, plain: &mut MutableBuffer) -> io::Result<()> {
    // An empty buffer lacks the length in front.
    let Some((length, frame)) = packed.split_first_chunk() else {
        return if packed.is_empty() { Ok(()) } else { Err(io::Error::other("it has no length")) };
    };
    let length = i64::from_le_bytes(*length);
    if length == AS_IT_IS {
        plain.extend_from_slice(frame);
        return Ok(());
    }
    let expected = u64::try_from(length).map_err(|_| io::Error::other("it has a negative length"))?;
    // Reads one byte more than expected, to detect a frame that is too long. Memory grows with the actual content.
    let found = match codec {
        CompressionType::LZ4_FRAME => copy(lz4_flex::frame::FrameDecoder::new(frame), expected, plain)?,
        CompressionType::ZSTD => copy(zstd::Decoder::with_buffer(frame)?, expected, plain)?,
        other => return Err(io::Error::other(format!("the codec {other:?} is unknown"))),
    };
    if found != expected {
        return Err(io::Error::other(format!("it declares {expected} bytes, and has {found} or more")));
    }
    Ok(())
}

fn copy(frame: impl Read, expected: u64, plain: &mut MutableBuffer) -> io::Result<u64> {
    io::copy(&mut frame.take(expected.saturating_add(1)), &mut Extend(plain))
}

struct Extend<'a>(&'a mut MutableBuffer);

impl Write for Extend<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The metadata of a message, including its prefix, with new places for its buffers and without compression.
fn plain_header(
    message: ipc::Message<'_>,
    batch: ipc::RecordBatch<'_>,
    places: &[ipc::Buffer],
    body: usize,
) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let nodes: Vec<ipc::FieldNode> = batch.nodes().into_iter().flatten().copied().collect();
    let variadic: Vec<i64> = batch.variadicBufferCounts().into_iter().flatten().collect();
    let (nodes, buffers) = (builder.create_vector(&nodes), builder.create_vector(places));
    let variadic = builder.create_vector(&variadic);
    let args = ipc::RecordBatchArgs {
        length: batch.length(),
        nodes: Some(nodes),
        buffers: Some(buffers),
        compression: None,
        variadicBufferCounts: Some(variadic),
    };
    let data = ipc::RecordBatch::create(&mut builder, &args);
    let (header_type, header) = match message.header_as_dictionary_batch() {
        Some(dictionary) => {
            let args =
                ipc::DictionaryBatchArgs { id: dictionary.id(), data: Some(data), isDelta: dictionary.isDelta() };
            let dictionary = ipc::DictionaryBatch::create(&mut builder, &args);
            (MessageHeader::DictionaryBatch, dictionary.as_union_value())
        }
        None => (MessageHeader::RecordBatch, data.as_union_value()),
    };
    let args = ipc::MessageArgs {
        version: message.version(),
        header_type,
        header: Some(header),
        bodyLength: signed(body),
        custom_metadata: None,
    };
    let message = ipc::Message::create(&mut builder, &args);
    builder.finish(message, None);
    let metadata = builder.finished_data();
    let len = u32::try_from(metadata.len()).unwrap_or(u32::MAX);
    [&[0xFF; 4], &len.to_le_bytes(), metadata].concat()
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
