//! The bytes of a frame's segment, for programs that send them elsewhere.

use std::ops::Range;

use bytes::Bytes;

use super::Frame;
use crate::{
    error::Result,
    ipc::{FileMap, MessageKind, MessagePlace, SharedBytes, stream_order},
};

/// One Arrow IPC message of a segment, as it is in the file; returned by [`Frame::messages`].
///
/// Both parts refer to the mapped file and keep it mapped. A message is valid for any transport that sends header and
/// body separately, such as Arrow Flight. In a stream, a header follows the marker `FF FF FF FF` and its length (4
/// bytes, little-endian).
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// use coframe::MessageKind;
/// let batches = frame.messages()?.filter(|message| message.kind() == MessageKind::RecordBatch);
/// assert_eq!(batches.count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Message {
    kind: MessageKind,
    header: Bytes,
    body: Bytes,
}

impl Message {
    /// What the message holds.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The flatbuffer `Message` of Arrow's format, with its padding.
    #[must_use]
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// The buffers. Empty for a schema.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl Frame {
    /// The random 128-bit id of the segment, which no other segment has; `None` for a file that coframe did not write.
    ///
    /// Handles contain it as 32 hexadecimal digits. A copy of the segment on another machine has the same id.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1])?)?;
    /// let id = format!("{:032x}", frame.segment_id().unwrap());
    /// assert!(frame.handle().to_string().contains(&id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn segment_id(&self) -> Option<u128> {
        self.footer().metadata.as_ref().map(|metadata| metadata.segment)
    }

    /// All bytes of the segment, which are an Arrow IPC file. They are the same for every part of the frame. Does not
    /// copy.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1])?)?;
    /// let bytes = frame.segment_bytes();
    /// assert_eq!(bytes.len(), frame.size_bytes());
    /// assert!(bytes.starts_with(b"ARROW1") && bytes.ends_with(b"ARROW1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn segment_bytes(&self) -> Bytes {
        Bytes::from_owner(SegmentBytes(self.map()))
    }

    /// The messages of the segment in the order of an Arrow IPC stream: the schema, the dictionaries, the record
    /// batches. They are the same for every part of the frame.
    ///
    /// Copies and encodes nothing, so the cost is in the order of the messages.
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](crate::Error::is_corrupt) if a file of another program does not start with its schema.
    ///
    /// ```
    /// use coframe::{IpcReader, MessageKind};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2])?)?;
    /// let mut stream = Vec::new();
    /// for message in frame.messages()? {
    ///     stream.extend([0xFF; 4]);
    ///     stream.extend(u32::try_from(message.header().len())?.to_le_bytes());
    ///     stream.extend(message.header());
    ///     stream.extend(message.body());
    /// }
    /// let batch = IpcReader::stream(&*stream, "the stream")?.next().unwrap()?;
    /// assert_eq!(batch, frame.batches()[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn messages(&self) -> Result<impl ExactSizeIterator<Item = Message> + use<>> {
        let map = self.map();
        let places = stream_order(self.mapping().bytes(), self.footer(), &format!("the frame {}", self.label()))?;
        let part = move |range: Range<usize>| {
            if range.is_empty() { Bytes::new() } else { Bytes::from_owner(SharedBytes::Mapped(map.clone(), range)) }
        };
        Ok(places.into_iter().map(move |MessagePlace { kind, header, body }| Message {
            kind,
            header: part(header),
            body: part(body),
        }))
    }
}

/// The whole map as an owner of bytes.
struct SegmentBytes(FileMap);

impl AsRef<[u8]> for SegmentBytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}
