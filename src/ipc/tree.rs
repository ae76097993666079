//! Walking nested types: which children an array has, and rebuilding an array with other children.
#![expect(unsafe_code, reason = "arrays are rebuilt on buffers that were checked already")]

use std::fmt::{Display, Formatter};

use arrow::{
    array::{ArrayData, ArrayDataBuilder},
    buffer::{Buffer, NullBuffer},
    datatypes::{DataType, FieldRef},
};

/// The path of an array in a frame, formatted only for errors.
pub(crate) struct FieldPath<'a> {
    parent: Option<&'a FieldPath<'a>>,
    name: &'a str,
}

impl<'a> FieldPath<'a> {
    pub(crate) fn column(name: &'a str) -> Self {
        Self { parent: None, name }
    }

    pub(crate) fn child(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), name }
    }
}

impl Display for FieldPath<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)
    }
}

/// The part that a child adds to the path of its parent, for messages such as `price.[].currency`.
pub(crate) fn step<'a>(data_type: &DataType, child: &'a str) -> &'a str {
    match data_type {
        DataType::Struct(_) | DataType::Union(..) => child,
        _ => "[]",
    }
}

/// The child fields of a type, in the order of an array's children. A dictionary's values are not a child.
pub(crate) fn children(data_type: &DataType) -> impl Iterator<Item = &FieldRef> {
    (0..).map_while(|index| child(data_type, index))
}

fn child(data_type: &DataType, index: usize) -> Option<&FieldRef> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => (index == 0).then_some(field),
        DataType::Struct(fields) => fields.get(index),
        DataType::Union(fields, _) => fields.iter().nth(index).map(|(_, field)| field),
        DataType::RunEndEncoded(ends, values) => [ends, values].get(index).copied(),
        _ => None,
    }
}

/// The same type with other children; the inverse of [`children`].
pub(super) fn with_children(data_type: &DataType, new: Vec<FieldRef>) -> DataType {
    let mut new_fields = new.into_iter();
    let mut next = |old: &FieldRef| new_fields.next().unwrap_or_else(|| old.clone());
    match data_type {
        DataType::List(old) => DataType::List(next(old)),
        DataType::LargeList(old) => DataType::LargeList(next(old)),
        DataType::ListView(old) => DataType::ListView(next(old)),
        DataType::LargeListView(old) => DataType::LargeListView(next(old)),
        DataType::FixedSizeList(old, size) => DataType::FixedSizeList(next(old), *size),
        DataType::Map(old, sorted) => DataType::Map(next(old), *sorted),
        DataType::Struct(old) => DataType::Struct(old.iter().map(next).collect()),
        DataType::Union(old, mode) => DataType::Union(old.iter().map(|(id, field)| (id, next(field))).collect(), *mode),
        DataType::RunEndEncoded(ends, values) => {
            let ends = next(ends);
            DataType::RunEndEncoded(ends, next(values))
        }
        other => other.clone(),
    }
}

/// Whether fields inside two types of equal structure have the same names, and unions the same ids, in the same order.
///
/// [`DataType::equals_datatype`] ignores the names of struct fields and the order of union fields. The names that
/// writers give the items of a list, the entries of a map and the children of runs are without meaning and may differ.
pub(crate) fn has_same_names(found: &DataType, expected: &DataType) -> bool {
    let inner = |found: &FieldRef, expected: &FieldRef| has_same_names(found.data_type(), expected.data_type());
    match (found, expected) {
        (DataType::Struct(found), DataType::Struct(expected)) => {
            let mut fields = found.iter().zip(expected);
            found.len() == expected.len() && fields.all(|(a, b)| a.name() == b.name() && inner(a, b))
        }
        (DataType::Union(found, _), DataType::Union(expected, _)) => {
            let mut fields = found.iter().zip(expected.iter());
            let same = |a: &FieldRef, b: &FieldRef| a.name() == b.name() && inner(a, b);
            found.len() == expected.len() && fields.all(|((id, a), (other, b))| id == other && same(a, b))
        }
        (DataType::Map(found, _), DataType::Map(expected, _)) => {
            children(found.data_type()).zip(children(expected.data_type())).all(|(a, b)| inner(a, b))
        }
        (DataType::Dictionary(_, found), DataType::Dictionary(_, expected)) => has_same_names(found, expected),
        (found, expected) => children(found).zip(children(expected)).all(|(a, b)| inner(a, b)),
    }
}

/// Applies `change` to a type and to everything inside it, from the leaves up.
pub(super) fn map_type(data_type: &DataType, change: &impl Fn(DataType) -> DataType) -> DataType {
    let fields = children(data_type)
        .map(|field| {
            let inner = map_type(field.data_type(), change);
            if inner == *field.data_type() {
                return field.clone();
            }
            std::sync::Arc::new(field.as_ref().clone().with_data_type(inner))
        })
        .collect();
    change(with_children(data_type, fields))
}

/// Whether the type or anything inside it (dictionary values aside) fulfils the test.
pub(super) fn any_type(data_type: &DataType, test: &impl Fn(&DataType) -> bool) -> bool {
    test(data_type) || children(data_type).any(|field| any_type(field.data_type(), test))
}

/// The same array under another type and with other children.
///
/// The caller makes only changes that keep the layout of the buffers: a dictionary becomes its keys or gets at least as
/// many other values, a nested type gets children of the same lengths with other names, and a union keeps its type ids
/// and their order (the caller compares them).
pub(super) fn rebuild(data: ArrayData, data_type: DataType, child_data: Vec<ArrayData>) -> ArrayData {
    let builder = ArrayDataBuilder::from(data).data_type(data_type).child_data(child_data);
    // SAFETY: the buffers come from an array that was valid, and stay what they were. `data_type` names the same
    // buffer layout (arrow defines the layout of a dictionary as that of its key type). Each child has the length of
    // the child that it replaces and is in the same place: callers walk a type and its array together, and types from
    // outside are compared field by field, in order and with the ids of unions, before (`layout::conform`). So every
    // offset, key and type id stays in range. Nothing is unwrapped: with validation skipped `build_unchecked` cannot
    // fail.
    unsafe { builder.build_unchecked() }
}

/// A view array of views that were valid and were moved with the bytes that they refer to.
///
/// Every view that is not inline refers to one of `buffers`, where it finds the bytes that it had, and `nulls` are of
/// the same rows.
pub(super) fn view_array(
    data_type: DataType,
    views: Vec<u128>,
    buffers: Vec<Buffer>,
    nulls: Option<NullBuffer>,
) -> ArrayData {
    let len = views.len();
    let buffers = std::iter::once(Buffer::from_vec(views)).chain(buffers).collect();
    let builder = ArrayData::builder(data_type).len(len).buffers(buffers).nulls(nulls);
    // SAFETY: the only caller (`views::join`) takes length and prefix of each view from a valid array of the same type
    // and finds its bytes by checked ranges: in a part of the old buffer that reaches from the first to the last byte
    // that any view refers to, or in a copy. So each view has the bytes it had: UTF-8 where it was UTF-8, with the same
    // prefix. Null rows have the view of an empty value.
    unsafe { builder.build_unchecked() }
}

/// Whether an array of this type has dictionaries somewhere inside.
pub(super) fn has_dictionary(data_type: &DataType) -> bool {
    any_type(data_type, &|inner| matches!(inner, DataType::Dictionary(..)))
}
