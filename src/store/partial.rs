//! Mirrors that are still being fetched, for programs that pass on what has arrived.

use super::{
    Store,
    parts::{head, record_after, record_of},
    writer::partial,
};
use crate::{error::Result, segment::Growing};

impl Store {
    /// The bytes of a mirror that a process of this machine is fetching, or was fetching when it died; `None` if no process is
    /// fetching the segment with this id.
    ///
    /// For programs that pass on what has arrived. Nothing has checked these bytes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # use std::time::Duration;
    /// assert!(store.partial_mirror(0xfeed)?.is_none());
    /// let mut mirror = store.mirror_turn(0xfeed, Duration::ZERO)?.resume("flights", &coframe::MirrorOptions::new())?;
    /// mirror.write(b"ARROW1")?;
    /// let partial = store.partial_mirror(0xfeed)?.ok_or("no transfer")?;
    /// let mut bytes = [0; 100];
    /// assert_eq!((partial.len()?, partial.read_at(&mut bytes, 2)?), (6, 4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn partial_mirror(&self, segment_id: u128) -> Result<Option<PartialMirror>> {
        Ok(Growing::open(self.frames(), &partial(segment_id))?.map(PartialMirror))
    }
}

/// The bytes of a mirror that is being fetched; returned by [`Store::partial_mirror`].
#[derive(Debug)]
pub struct PartialMirror(Growing);

#[expect(clippy::len_without_is_empty, reason = "the length is a moment of a file that grows, and can fail")]
impl PartialMirror {
    /// Bytes that have arrived, from the start without a gap. Once the mirror is published, all bytes of its segment.
    pub fn len(&self) -> Result<u64> {
        loop {
            let length = self.0.state()?.0;
            let Some(offset) = record_of(length) else { return Ok(length) };
            let mut record = [0; 32];
            let read = self.0.read_at(&mut record, offset)?;
            match head(record.get(..read).unwrap_or_default()) {
                // The record follows the segment.
                Some((segment, prefix)) if record_after(segment) == Some(offset) => return Ok(prefix),
                // Not a record: bytes of the segment. Or the writer has cut the record meanwhile.
                _ if self.0.state()?.0 >= length => return Ok(length),
                _ => {}
            }
        }
    }

    /// Whether the transfer was given up, so that no more bytes come. Also true of a mirror that was removed since.
    pub fn is_over(&self) -> Result<bool> {
        Ok(!self.0.state()?.1)
    }

    /// Reads bytes that have arrived, from this offset; returns how many.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.0.read_at(buffer, offset)
    }
}
