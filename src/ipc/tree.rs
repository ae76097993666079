//! Walking nested types: which children an array has, and rebuilding an array with other children.
#![expect(unsafe_code, reason = "arrays are rebuilt on buffers that were checked already")]

use std::fmt::{Display, Formatter};

use arrow::{
    array::{ArrayData, ArrayDataBuilder},
    datatypes::{DataType, FieldRef},
};

/// Where in a frame an array stands; written out only when something is wrong with it.
pub(crate) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
}

impl<'a> Place<'a> {
    pub(crate) fn column(name: &'a str) -> Self {
        Self { parent: None, name }
    }

    pub(crate) fn child(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), name }
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)
    }
}

/// What the path of a child adds to that of its parent, for messages such as `price.[].currency`.
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
/// The caller changes only what leaves the buffers' layout as it is: a dictionary becomes its keys or gets other values
/// of the same number, and a nested type gets children of the same lengths.
pub(super) fn rebuild(data: ArrayData, data_type: DataType, child_data: Vec<ArrayData>) -> ArrayData {
    let builder = ArrayDataBuilder::from(data).data_type(data_type).child_data(child_data);
    // SAFETY: the buffers come from an array that was valid, and stay what they were. `data_type` names the same
    // buffer layout (arrow defines the layout of a dictionary as that of its key type), and each child has the length
    // of the child that it replaces, so every offset stays in range. Nothing is unwrapped: with validation skipped
    // `build_unchecked` has no failing path.
    unsafe { builder.build_unchecked() }
}
