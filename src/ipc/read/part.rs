//! Parts of a file's bytes, in a form that Arrow and Polars accept.

use std::{ops::Range, sync::Arc};

use arrow::buffer::Buffer;
use bytes::Bytes;

/// The bytes of a whole file, for as long as anything refers to them.
pub(crate) type FileMap = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A part of a file. It keeps the whole file alive, and engines account only the size of the part.
///
/// Engines add up the capacity of each allocation that they see. Each slice of one buffer over the whole file would
/// count as the whole file.
pub(crate) enum SharedBytes {
    /// A place in an outline, which is inside the file.
    Mapped(FileMap, Range<usize>),
    Buffer(Buffer),
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, place) => (**map).as_ref().get(place.clone()).unwrap_or_default(),
            Self::Buffer(buffer) => buffer,
        }
    }
}

impl Default for SharedBytes {
    fn default() -> Self {
        Self::Buffer(Buffer::default())
    }
}

impl From<SharedBytes> for Buffer {
    fn from(part: SharedBytes) -> Self {
        match part {
            SharedBytes::Mapped(..) => Self::from(Bytes::from_owner(part)),
            SharedBytes::Buffer(buffer) => buffer,
        }
    }
}

/// Returns the bytes at places of the outlines of a mapped file.
pub(in crate::ipc) fn mapped(map: &FileMap) -> impl Fn(Range<usize>) -> Buffer + '_ {
    |place| SharedBytes::Mapped(map.clone(), place).into()
}
