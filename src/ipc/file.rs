//! The layout of an Arrow file: its magic, its trailer, and the positions of its messages.

use std::{borrow::Cow, ops::Range};

use arrow::ipc::Block;

use crate::error::{Error, Result};

pub(super) const MAGIC: [u8; 6] = *b"ARROW1";
/// Every buffer starts at a multiple of this (FORMAT.md, rule S3).
pub(super) const ALIGNMENT: usize = 64;
/// Maximum number of rows of a batch, and of values of an array inside it (FORMAT.md, rule S5).
///
/// Arrays without bytes (nulls, runs, structs without fields) could have any length that a file claims.
pub(super) const MAX_LEN: usize = 1 << 40;
/// The footer's length and the closing magic.
const TRAILER: usize = 10;

/// The position of a message in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageRange {
    pub(super) header: Range<usize>,
    pub(super) body: Range<usize>,
}

/// The bytes of a file, which is mapped or read on demand.
pub(crate) trait FileBytes {
    fn len(&self) -> usize;
    /// A range inside the file.
    fn range(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>>;
}

impl FileBytes for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn range(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self.get(range).unwrap_or_default()))
    }
}

/// The position of the footer.
pub(super) fn footer_range(file: &dyn FileBytes, what: &str) -> Result<Range<usize>> {
    let end = file.len().saturating_sub(TRAILER);
    let head = file.range(0..MAGIC.len().min(file.len()))?;
    let tail = file.range(end..file.len())?;
    let &[a, b, c, d, ref magic @ ..] = &*tail else {
        return Err(Error::corrupt(what, "S1-magic", "it is shorter than an Arrow file can be"));
    };
    if *head != MAGIC {
        return Err(Error::corrupt(what, "S1-magic", "it does not start with ARROW1, so it is not an Arrow IPC file"));
    }
    if *magic != MAGIC {
        let detail = "it does not end with ARROW1: it was cut short, or is an Arrow stream, which `import` reads";
        return Err(Error::corrupt(what, "S1-magic", detail));
    }
    let len = i32::from_le_bytes([a, b, c, d]);
    let start = usize::try_from(len).ok().filter(|len| *len > 0).and_then(|len| end.checked_sub(len));
    let start = start.filter(|start| *start >= MAGIC.len()).ok_or_else(|| {
        Error::corrupt(what, "S2-footer", format_args!("its length is {len}, the file has {} bytes", file.len()))
    })?;
    Ok(start..end)
}

impl MessageRange {
    /// `None` if the message is not between the magic and the footer.
    pub(super) fn from_block(block: &Block, footer_start: usize) -> Option<Self> {
        let start = usize::try_from(block.offset()).ok()?;
        let middle = start.checked_add(usize::try_from(block.metaDataLength()).ok().filter(|len| *len >= 8)?)?;
        let end = middle.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
        (start >= MAGIC.len() && end <= footer_start).then_some(Self { header: start..middle, body: middle..end })
    }
}
