//! The arrays of one message as places in its file. Every size is checked, but no value is read and no array built.
//!
//! Arrow arrays (`assemble`) and Polars arrays (through `array_parts`) are built from an outline on demand.

use std::{fmt::Display, iter::Flatten, ops::Range, option};

use arrow::datatypes::{DataType, UnionMode};
use arrow_ipc::{self as ipc, FieldNode};
use flatbuffers::{Follow, Vector};

use crate::error::{Error, Result};
use crate::ipc::{
    file::{ALIGNMENT, MAX_LEN},
    tree::{FieldPath, children, step},
};

/// A dictionary message.
pub(in crate::ipc) struct Dictionary {
    pub(in crate::ipc) id: i64,
    /// Whether it continues an earlier dictionary.
    pub(in crate::ipc) delta: bool,
    /// Position of the first column that uses it.
    pub(in crate::ipc) column: usize,
    pub(in crate::ipc) values: DataType,
    pub(in crate::ipc) outline: Outline,
}

/// The wanted arrays of one message.
pub(in crate::ipc) struct Outline {
    pub(in crate::ipc) rows: usize,
    /// Bytes of the message's body.
    pub(in crate::ipc) bytes: usize,
    /// Items that are expanded one by one when the message is validated or converted: those of fixed-size lists with
    /// nulls, and of list views.
    pub(in crate::ipc) unfolded: usize,
    /// Depth first: an array before its children.
    nodes: Vec<Node>,
    /// Places in the file of the buffers of all nodes, in order; validity only of those with nulls.
    buffers: Vec<Range<usize>>,
    /// The ids of the dictionaries that nodes refer to, in the order of nodes.
    dictionaries: Vec<(usize, i64)>,
    /// By position in the file's schema: the node of each column, `None` where it is not wanted.
    pub(in crate::ipc) columns: Vec<Option<usize>>,
    /// Whether each buffer is aligned by rule S3 of FORMAT.md.
    pub(in crate::ipc) aligned: bool,
}

/// One array. Kept small, so that the outline of an ordinary frame fits into a size class that allocators serve
/// quickly.
struct Node {
    len: usize,
    /// Also 0 for types without a validity bitmap.
    nulls: usize,
    /// The index of its first buffer; its buffers end at the first one of the next node.
    first: usize,
    /// The node after this one and everything inside it.
    next: usize,
}

impl Outline {
    pub(in crate::ipc) fn len(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(0, |node| node.len)
    }

    pub(in crate::ipc) fn nulls(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(0, |node| node.nulls)
    }

    /// The position of the validity bitmap; `None` without nulls.
    pub(in crate::ipc) fn validity(&self, node: usize) -> Option<&Range<usize>> {
        let node = self.nodes.get(node).filter(|node| node.nulls > 0)?;
        self.buffers.get(node.first)
    }

    /// The positions of a node's other buffers. Except for the data of views, each is cut to the length that its values
    /// need.
    pub(in crate::ipc) fn buffers(&self, node: usize) -> &[Range<usize>] {
        let Some(Node { nulls, first, .. }) = self.nodes.get(node) else { return &[] };
        let end = self.nodes.get(node + 1).map_or(self.buffers.len(), |next| next.first);
        self.buffers.get(first + usize::from(*nulls > 0)..end).unwrap_or_default()
    }

    /// The id of the dictionary that a node refers to.
    pub(in crate::ipc) fn dictionary(&self, node: usize) -> Option<i64> {
        let found = self.dictionaries.binary_search_by_key(&node, |(of, _)| *of).ok()?;
        self.dictionaries.get(found).map(|(_, id)| *id)
    }

    pub(in crate::ipc) fn refers_to_dictionaries(&self) -> bool {
        !self.dictionaries.is_empty()
    }

    /// The nodes of the children of a node, in order.
    pub(in crate::ipc) fn children(&self, node: usize) -> impl Iterator<Item = usize> {
        let end = self.nodes.get(node).map_or(0, |node| node.next);
        let mut child = node + 1;
        std::iter::from_fn(move || {
            let this = child;
            child = self.nodes.get(this).filter(|_| this < end)?.next;
            Some(this)
        })
    }
}

type Items<'a, T> = Flatten<option::IntoIter<Vector<'a, T>>>;

fn items<'a, T: Follow<'a> + 'a>(vector: Option<Vector<'a, T>>) -> Items<'a, T> {
    vector.into_iter().flatten()
}

/// One record batch message while its outline is built, field by field.
pub(in crate::ipc) struct Reader<'a> {
    what: &'a str,
    nodes: Items<'a, FieldNode>,
    buffers: Items<'a, ipc::Buffer>,
    variadic: Items<'a, i64>,
    /// The ids of the dictionaries that are still to come, in depth-first order.
    ids: &'a [i64],
    /// The position of the body.
    body: Range<usize>,
    outline: Outline,
}

impl<'a> Reader<'a> {
    pub(in crate::ipc) fn new(
        batch: ipc::RecordBatch<'a>,
        what: &'a str,
        body: Range<usize>,
        ids: &'a [i64],
    ) -> Result<Self> {
        if batch.compression().is_some() {
            return Err(Error::unsupported(
                format_args!("{what}, which is compressed and so cannot be shared,"),
                "write it uncompressed (pyarrow: compression=None or \"uncompressed\")",
            ));
        }
        let rows = usize::try_from(batch.length())
            .map_err(|_| Error::corrupt(what, "S5-buffers", "a batch has a negative number of rows"))?;
        if rows > MAX_LEN {
            let detail = format_args!("a batch has {rows} rows, expected at most {MAX_LEN}");
            return Err(Error::corrupt(what, "S5-buffers", detail));
        }
        let (nodes, buffers) = (batch.nodes(), batch.buffers());
        // The validity is not kept if nothing is null.
        let bare = items(nodes).filter(|node| node.null_count() == 0).count();
        let outline = Outline {
            rows,
            bytes: body.len(),
            unfolded: 0,
            nodes: Vec::with_capacity(nodes.map_or(0, |nodes| nodes.len())),
            buffers: Vec::with_capacity(buffers.map_or(0, |buffers| buffers.len()).saturating_sub(bare)),
            dictionaries: Vec::new(),
            columns: Vec::new(),
            aligned: true,
        };
        let variadic = items(batch.variadicBufferCounts());
        Ok(Self { what, nodes: items(nodes), buffers: items(buffers), variadic, ids, body, outline })
    }

    pub(in crate::ipc) fn finish(self) -> Outline {
        self.outline
    }

    fn error(&self, path: &FieldPath<'_>, detail: impl Display) -> Error {
        Error::corrupt(self.what, "S5-buffers", format_args!("column `{path}`: {detail}"))
    }

    /// Reads the next column, or skips it if it is not wanted.
    pub(in crate::ipc) fn column(&mut self, field: &arrow::datatypes::Field, wanted: bool) -> Result<()> {
        let path = &FieldPath::column(field.name());
        let node = self.array(path, field.data_type(), wanted)?;
        if let Some(node) = node {
            let (rows, len, nulls) = (self.outline.rows, self.outline.len(node), self.outline.nulls(node));
            if len != rows {
                return Err(self.error(path, format_args!("it has {len} rows, its batch {rows}")));
            }
            if nulls > 0 && !field.is_nullable() {
                let detail = format_args!("column `{path}`: {nulls} rows are null, its field allows none");
                return Err(Error::corrupt(self.what, "V1-values", detail));
            }
        }
        self.outline.columns.push(node);
        Ok(())
    }

    /// Reads the next array and returns its node, or skips it if it is not wanted.
    pub(in crate::ipc) fn array(
        &mut self,
        path: &FieldPath<'_>,
        data_type: &DataType,
        wanted: bool,
    ) -> Result<Option<usize>> {
        let node = self.nodes.next().ok_or_else(|| self.error(path, "it has no field node"))?;
        let size = |n: i64| usize::try_from(n).ok();
        let (Some(len), Some(nulls)) = (size(node.length()), size(node.null_count())) else {
            return Err(self.error(path, "its length or null count is negative"));
        };
        if nulls > len {
            return Err(self.error(path, format_args!("{nulls} of its {len} rows are null")));
        }
        if len > MAX_LEN {
            return Err(self.error(path, format_args!("it has {len} values, expected at most {MAX_LEN}")));
        }
        let first = self.outline.buffers.len();
        let shape = Shape::new(data_type);
        let nulls = if shape.validity { nulls } else { 0 };
        if shape.validity {
            let range = self.next_range(path)?;
            if wanted && nulls > 0 {
                let range = self.cut(path, range, &Size::Bits, len)?;
                self.outline.buffers.push(range);
            }
        }
        for size in shape.buffers.iter().flatten() {
            let range = self.next_range(path)?;
            if wanted {
                let range = self.cut(path, range, size, len)?;
                self.outline.buffers.push(range);
            }
        }
        if shape.variadic {
            let count = self.variadic.next().ok_or_else(|| self.error(path, "its count of data buffers is missing"))?;
            for _ in 0..count.max(0) {
                let range = self.next_range(path)?;
                if wanted {
                    let range = self.cut(path, range, &Size::Any, len)?;
                    self.outline.buffers.push(range);
                }
            }
        }
        let place = self.outline.nodes.len();
        if wanted {
            self.outline.nodes.push(Node { len, nulls, first, next: place + 1 });
        }
        let dictionary = self.inner(path, data_type, (len, nulls), wanted)?;
        if !wanted {
            return Ok(None);
        }
        self.outline.dictionaries.extend(dictionary.map(|id| (place, id)));
        let next = self.outline.nodes.len();
        if let Some(node) = self.outline.nodes.get_mut(place) {
            node.next = next;
        }
        Ok(Some(place))
    }

    /// Reads the children of an array; returns the id of its dictionary, if it has one.
    fn inner(
        &mut self,
        path: &FieldPath<'_>,
        data_type: &DataType,
        (len, nulls): (usize, usize),
        wanted: bool,
    ) -> Result<Option<i64>> {
        if let DataType::Dictionary(_, values) = data_type {
            let (id, rest) = self.ids.split_first().ok_or_else(|| self.error(path, "its dictionary has no id"))?;
            self.ids = rest.get(count_dictionaries(values)..).unwrap_or_default();
            return Ok(Some(*id));
        }
        let mut ends = None;
        for (index, field) in children(data_type).enumerate() {
            let path = &path.child(step(data_type, field.name()));
            let child = self.array(path, field.data_type(), wanted)?;
            let Some(child) = child.and_then(|child| self.outline.nodes.get(child)) else { continue };
            let expected = match data_type {
                DataType::Struct(_) | DataType::Union(_, UnionMode::Sparse) => Some(len),
                // A product that overflows is longer than any array may be, and so never the child's length.
                DataType::FixedSizeList(_, size) => {
                    Some(usize::try_from(*size).map_or(usize::MAX, |size| size.saturating_mul(len)))
                }
                DataType::RunEndEncoded(..) => Some(*ends.get_or_insert(child.len)),
                _ => None,
            };
            if expected.is_some_and(|expected| expected != child.len) {
                return Err(self.error(path, format_args!("it has {} rows in a parent of {len}", child.len)));
            }
            let unfolds = match data_type {
                DataType::FixedSizeList(..) => nulls > 0 && !field.is_nullable(),
                DataType::ListView(_) | DataType::LargeListView(_) => true,
                _ => false,
            };
            if unfolds {
                self.outline.unfolded = self.outline.unfolded.saturating_add(child.len);
            }
            let never_null = match data_type {
                DataType::Map(..) => true,
                DataType::RunEndEncoded(..) => index == 0,
                _ => false,
            };
            if never_null && child.nulls > 0 {
                return Err(self.error(path, "the entries of a map, or the ends of runs, are null"));
            }
        }
        Ok(None)
    }

    fn next_range(&mut self, path: &FieldPath<'_>) -> Result<Range<usize>> {
        let buffer = self.buffers.next().ok_or_else(|| self.error(path, "a buffer is missing"))?;
        let range = || {
            let start = self.body.start.checked_add(usize::try_from(buffer.offset()).ok()?)?;
            let end = start.checked_add(usize::try_from(buffer.length()).ok()?)?;
            (end <= self.body.end).then_some(start..end)
        };
        range().ok_or_else(|| {
            let (offset, len, body) = (buffer.offset(), buffer.length(), self.body.len());
            self.error(path, format_args!("a buffer of {len} bytes at {offset} leaves its message of {body} bytes"))
        })
    }

    /// The part of a buffer that belongs to an array of `len` values.
    fn cut(&mut self, path: &FieldPath<'_>, range: Range<usize>, size: &Size, len: usize) -> Result<Range<usize>> {
        let need = size.bytes(len).unwrap_or_else(|| range.len());
        if range.len() < need {
            return Err(self.error(path, format_args!("a buffer has {} bytes and needs {need}", range.len())));
        }
        self.outline.aligned &= need == 0 || range.start.is_multiple_of(ALIGNMENT);
        Ok(range.start..range.start + need)
    }
}

/// What a buffer holds.
enum Size {
    /// Values of this many bytes.
    Values(usize),
    /// Offsets of this many bytes.
    Offsets(usize),
    Bits,
    Any,
}

impl Size {
    /// Number of bytes of the buffer that belong to an array; `None` for all of them. The buffer is cut, because arrow
    /// asserts that offsets and values fill their buffers.
    fn bytes(&self, len: usize) -> Option<usize> {
        match self {
            Self::Values(width) => Some(len.saturating_mul(*width)),
            // An empty array needs no offsets; any other has one more offset than values.
            Self::Offsets(_) if len == 0 => Some(0),
            Self::Offsets(width) => Some(len.saturating_add(1).saturating_mul(*width)),
            Self::Bits => Some(len.div_ceil(8)),
            Self::Any => None,
        }
    }
}

/// The buffers of an array; the same as arrow's `layout`, which allocates.
struct Shape {
    validity: bool,
    buffers: [Option<Size>; 2],
    /// Whether more follow, by the count in the message.
    variadic: bool,
}

impl Shape {
    fn new(data_type: &DataType) -> Self {
        let buffers = match data_type {
            DataType::Dictionary(key, _) => return Self::new(key),
            DataType::Null | DataType::Struct(_) | DataType::FixedSizeList(..) | DataType::RunEndEncoded(..) => {
                [None, None]
            }
            DataType::Boolean => [Some(Size::Bits), None],
            DataType::FixedSizeBinary(width) => [Some(Size::Values(usize::try_from(*width).unwrap_or(0))), None],
            DataType::Utf8 | DataType::Binary => [Some(Size::Offsets(4)), Some(Size::Any)],
            DataType::LargeUtf8 | DataType::LargeBinary => [Some(Size::Offsets(8)), Some(Size::Any)],
            DataType::Utf8View | DataType::BinaryView => [Some(Size::Values(16)), None],
            DataType::List(_) | DataType::Map(..) => [Some(Size::Offsets(4)), None],
            DataType::LargeList(_) => [Some(Size::Offsets(8)), None],
            DataType::ListView(_) => [Some(Size::Values(4)), Some(Size::Values(4))],
            DataType::LargeListView(_) => [Some(Size::Values(8)), Some(Size::Values(8))],
            DataType::Union(_, UnionMode::Sparse) => [Some(Size::Values(1)), None],
            DataType::Union(_, UnionMode::Dense) => [Some(Size::Values(1)), Some(Size::Values(4))],
            // Numbers, dates, times, decimals, intervals.
            other => [other.primitive_width().map(Size::Values), None],
        };
        let validity = !matches!(data_type, DataType::Null | DataType::Union(..) | DataType::RunEndEncoded(..));
        let variadic = matches!(data_type, DataType::Utf8View | DataType::BinaryView);
        Self { validity, buffers, variadic }
    }
}

fn count_dictionaries(data_type: &DataType) -> usize {
    let here = usize::from(matches!(data_type, DataType::Dictionary(..)));
    let values = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    here + children(values).map(|field| count_dictionaries(field.data_type())).sum::<usize>()
}
