//! The arrays of one record batch message, field by field, with every size checked before it is used.
#![expect(unsafe_code, reason = "a trusted segment's arrays are built without reading their values")]

use std::{collections::HashMap, fmt::Display, ops::Range};

use arrow::{
    array::{ArrayData, BufferSpec, layout},
    buffer::Buffer,
    datatypes::DataType,
    ipc::{self, FieldNode},
};

use super::tree::{children, step};
use crate::error::{Error, Result};

/// The bytes of a message body on demand: offset and length, relative to the body.
pub(super) type Body<'a> = dyn Fn(usize, usize) -> Result<Buffer> + 'a;

/// Where in a batch an array stands; written out only when something is wrong with it.
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn column(name: &'a str) -> Self {
        Self { parent: None, name }
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)
    }
}

/// One record batch while its arrays are built, field by field.
pub(super) struct Reader<'a> {
    what: &'a str,
    nodes: Box<dyn Iterator<Item = &'a FieldNode> + 'a>,
    buffers: Box<dyn Iterator<Item = &'a ipc::Buffer> + 'a>,
    variadic: Box<dyn Iterator<Item = i64> + 'a>,
    /// The ids of the dictionaries that are still to come, in depth-first order.
    pub(super) ids: &'a [i64],
    body_len: usize,
    body: &'a Body<'a>,
    dictionaries: &'a HashMap<i64, ArrayData>,
    /// Bytes copied so far.
    pub(super) copied: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        batch: ipc::RecordBatch<'a>,
        what: &'a str,
        body_len: usize,
        body: &'a Body<'a>,
        dictionaries: &'a HashMap<i64, ArrayData>,
    ) -> Result<Self> {
        if batch.compression().is_some() {
            return Err(Error::unsupported(
                format_args!("{what}, which is compressed and so cannot be shared,"),
                "write it uncompressed (pyarrow: compression=None or \"uncompressed\")",
            ));
        }
        Ok(Self {
            what,
            nodes: Box::new(batch.nodes().into_iter().flatten()),
            buffers: Box::new(batch.buffers().into_iter().flatten()),
            variadic: Box::new(batch.variadicBufferCounts().into_iter().flatten()),
            ids: &[],
            body_len,
            body,
            dictionaries,
            copied: 0,
        })
    }

    pub(super) fn error(&self, path: &Place<'_>, detail: impl Display) -> Error {
        Error::corrupt(self.what, "S5-buffers", format_args!("column `{path}`: {detail}"))
    }

    /// Reads the next array, or passes over it when it is not wanted.
    pub(super) fn array(&mut self, path: &Place<'_>, data_type: &DataType, wanted: bool) -> Result<Option<ArrayData>> {
        let node = self.nodes.next().ok_or_else(|| self.error(path, "it has no field node"))?;
        let size = |n: i64| usize::try_from(n).ok();
        let (Some(len), Some(nulls)) = (size(node.length()), size(node.null_count())) else {
            return Err(self.error(path, "its length or null count is negative"));
        };
        if nulls > len {
            return Err(self.error(path, format_args!("{nulls} of its {len} rows are null")));
        }
        let spec = layout(data_type);
        let mut null_bits = None;
        if spec.can_contain_null_mask {
            let range = self.next_range(path)?;
            if wanted && nulls > 0 {
                null_bits = Some(self.buffer(path, range, &Need::Exactly(len.div_ceil(8)), 1)?);
            }
        }
        let mut buffers = Vec::with_capacity(spec.buffers.len());
        for (index, buffer) in spec.buffers.iter().enumerate() {
            let range = self.next_range(path)?;
            if wanted {
                let (need, alignment) = needs(data_type, index, buffer, len);
                buffers.push(self.buffer(path, range, &need, alignment)?);
            }
        }
        if spec.variadic {
            let count = self.variadic.next().ok_or_else(|| self.error(path, "its count of data buffers is missing"))?;
            for _ in 0..count.max(0) {
                let range = self.next_range(path)?;
                if wanted {
                    buffers.push(self.buffer(path, range, &Need::Any, 1)?);
                }
            }
        }
        let inner = self.inner(path, data_type, len, wanted)?;
        if !wanted {
            return Ok(None);
        }
        let mut builder = ArrayData::builder(data_type.clone()).len(len).buffers(buffers).child_data(inner);
        if let Some(bits) = null_bits {
            builder = builder.null_bit_buffer(Some(bits)).null_count(nulls);
        }
        // SAFETY: buffers, their sizes and alignments, and the lengths of children were checked above and in `inner`.
        // What is not checked here is what the values say (offsets, views, keys, UTF-8). In a trusted segment the
        // arrays that were written were valid, the digest shows that the metadata is theirs, and nobody could write
        // since (SAFETY.md, T1). Otherwise `validate_full` follows before anything else looks at the values.
        // Nothing is unwrapped: with validation skipped `build_unchecked` has no failing path.
        Ok(Some(unsafe { builder.build_unchecked() }))
    }

    /// The children of an array, or the values of its dictionary.
    fn inner(&mut self, path: &Place<'_>, data_type: &DataType, len: usize, wanted: bool) -> Result<Vec<ArrayData>> {
        if let DataType::Dictionary(_, values) = data_type {
            let (id, rest) = self.ids.split_first().ok_or_else(|| self.error(path, "its dictionary has no id"))?;
            self.ids = rest.get(count_dictionaries(values)..).unwrap_or_default();
            // The format lets a dictionary be left out when every value is null.
            let values = self.dictionaries.get(id).cloned().unwrap_or_else(|| ArrayData::new_empty(values));
            return Ok(if wanted { vec![values] } else { Vec::new() });
        }
        let mut inner = Vec::new();
        for field in children(data_type) {
            let path = &Place { parent: Some(path), name: step(data_type, field.name()) };
            let Some(child) = self.array(path, field.data_type(), wanted)? else { continue };
            let expected = match data_type {
                DataType::Struct(_) | DataType::Union(_, arrow::datatypes::UnionMode::Sparse) => Some(len),
                DataType::FixedSizeList(_, size) => usize::try_from(*size).ok().and_then(|size| size.checked_mul(len)),
                _ => None,
            };
            if expected.is_some_and(|expected| expected != child.len()) {
                return Err(self.error(path, format_args!("it has {} rows in a parent of {len}", child.len())));
            }
            if matches!(data_type, DataType::Map(..)) && child.null_count() > 0 {
                return Err(self.error(path, "the entries of a map are null"));
            }
            inner.push(child);
        }
        match (inner.as_slice(), data_type) {
            ([ends, values], DataType::RunEndEncoded(..)) if ends.len() != values.len() || ends.null_count() > 0 => {
                Err(self.error(path, format_args!("it has {} run ends for {} values", ends.len(), values.len())))
            }
            _ => Ok(inner),
        }
    }

    fn next_range(&mut self, path: &Place<'_>) -> Result<Range<usize>> {
        let buffer = self.buffers.next().ok_or_else(|| self.error(path, "a buffer is missing"))?;
        let range = || {
            let start = usize::try_from(buffer.offset()).ok()?;
            let end = start.checked_add(usize::try_from(buffer.length()).ok()?)?;
            (end <= self.body_len).then_some(start..end)
        };
        range().ok_or_else(|| {
            let (offset, len, body) = (buffer.offset(), buffer.length(), self.body_len);
            self.error(path, format_args!("a buffer of {len} bytes at {offset} leaves its message of {body} bytes"))
        })
    }

    fn buffer(&mut self, path: &Place<'_>, range: Range<usize>, need: &Need, alignment: usize) -> Result<Buffer> {
        let len = match *need {
            Need::Exactly(len) if range.len() < len => {
                return Err(self.error(path, format_args!("a buffer has {} bytes and needs {len}", range.len())));
            }
            Need::Exactly(len) => len,
            Need::Any => range.len(),
        };
        if len == 0 {
            return Ok(Buffer::default());
        }
        let buffer = (self.body)(range.start, len)?;
        if buffer.as_ptr().addr().is_multiple_of(alignment) {
            return Ok(buffer);
        }
        self.copied += buffer.len();
        Ok(Buffer::from(buffer.as_slice()))
    }
}

/// How many bytes of a buffer belong to an array.
enum Need {
    /// No more are taken: arrow asserts that offsets and values fill their buffers.
    Exactly(usize),
    Any,
}

/// The size and the alignment that a buffer needs for `len` values.
fn needs(data_type: &DataType, index: usize, spec: &BufferSpec, len: usize) -> (Need, usize) {
    let offsets = index == 0
        && matches!(
            data_type,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::List(_)
                | DataType::LargeList(_)
                | DataType::Map(..)
        );
    match spec {
        // No values need no offsets at all; otherwise there is one more offset than values.
        BufferSpec::FixedWidth { byte_width, alignment } => {
            let count = if offsets && len > 0 { len.saturating_add(1) } else { len };
            (Need::Exactly(count.saturating_mul(*byte_width)), *alignment)
        }
        BufferSpec::BitMap => (Need::Exactly(len.div_ceil(8)), 1),
        BufferSpec::VariableWidth | BufferSpec::AlwaysNull => (Need::Any, 1),
    }
}

fn count_dictionaries(data_type: &DataType) -> usize {
    let here = usize::from(matches!(data_type, DataType::Dictionary(..)));
    let values = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    here + children(values).iter().map(|field| count_dictionaries(field.data_type())).sum::<usize>()
}
