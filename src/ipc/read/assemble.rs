//! Arrow's arrays from outlines and bytes.
#![expect(unsafe_code, reason = "a trusted segment's arrays are built without reading their values")]

use std::ops::Range;

use arrow::{
    array::{ArrayData, BufferSpec, layout},
    buffer::Buffer,
    datatypes::DataType,
    error::ArrowError,
};

use super::outline::Outline;
use crate::ipc::tree::children;

/// Returns the bytes at a place of an outline as a buffer.
pub(in crate::ipc) type Bytes<'a> = dyn Fn(Range<usize>) -> Buffer + 'a;

/// The values of the dictionary with an id; `None` if the file lacks it.
pub(in crate::ipc) type Dictionaries<'a> = dyn Fn(i64) -> Option<ArrayData> + 'a;

/// The parts from which arrays are built.
pub(in crate::ipc) struct Assembly<'a> {
    pub(in crate::ipc) outline: &'a Outline,
    pub(in crate::ipc) bytes: &'a Bytes<'a>,
    pub(in crate::ipc) dictionaries: &'a Dictionaries<'a>,
    /// Bytes copied so far because they were misaligned.
    pub(in crate::ipc) copied: usize,
}

impl Assembly<'_> {
    /// The array of a node; `data_type` is the type that the node was read with.
    ///
    /// # Errors
    ///
    /// Only if arrow was built with its feature `force_validate` (see [`arrow_validates`]) and the values are invalid.
    pub(in crate::ipc) fn array(&mut self, node: usize, data_type: &DataType) -> Result<ArrayData, ArrowError> {
        let spec = layout(data_type);
        let alignment = |index: usize| match spec.buffers.get(index) {
            Some(BufferSpec::FixedWidth { alignment, .. }) => *alignment,
            _ => 1,
        };
        let places = self.outline.buffers(node).iter().enumerate();
        let buffers = places.map(|(index, place)| self.buffer(place, alignment(index))).collect();
        let children = self.inner(node, data_type)?;
        let len = self.outline.len(node);
        let mut builder = ArrayData::builder(data_type.clone()).len(len).buffers(buffers).child_data(children);
        if let Some(place) = self.outline.validity(node) {
            let bits = self.buffer(place, 1);
            builder = builder.null_bit_buffer(Some(bits)).null_count(self.outline.nulls(node));
        }
        // SAFETY: sizes of buffers and lengths of children were checked when the outline was made, alignments in
        // `buffer`. The values (offsets, views, keys, UTF-8) are not checked here. In an intact segment
        // the arrays that were written were valid, the digest shows that the metadata is theirs, and no process could
        // write since (SAFETY.md, T1). Otherwise every value is validated before anything else reads it.
        unsafe { builder.skip_validation(true) }.build()
    }

    /// The children of an array, or the values of its dictionary.
    fn inner(&mut self, node: usize, data_type: &DataType) -> Result<Vec<ArrayData>, ArrowError> {
        if let DataType::Dictionary(_, values) = data_type {
            let found = self.outline.dictionary(node).and_then(self.dictionaries);
            // The format lets a dictionary be left out when every value is null.
            return Ok(vec![found.unwrap_or_else(|| ArrayData::new_empty(values))]);
        }
        let fields = children(data_type);
        self.outline.children(node).zip(fields).map(|(child, field)| self.array(child, field.data_type())).collect()
    }

    fn buffer(&mut self, place: &Range<usize>, alignment: usize) -> Buffer {
        if place.is_empty() {
            return Buffer::default();
        }
        let buffer = (self.bytes)(place.clone());
        if buffer.as_ptr().addr().is_multiple_of(alignment) {
            return buffer;
        }
        self.copied += buffer.len();
        Buffer::from(buffer.as_slice())
    }
}

/// Whether arrow was built with its feature `force_validate`, which any crate of the program can enable. Arrow then
/// checks every array when it is built, even if its builder skips the validation.
pub(in crate::ipc) fn arrow_validates() -> bool {
    let short = ArrayData::builder(DataType::Int8).len(1);
    // SAFETY: the array, one value without a buffer, is never read. Whether it is built is the answer.
    unsafe { short.skip_validation(true) }.build().is_err()
}
