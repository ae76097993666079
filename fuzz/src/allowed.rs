//! What Arrow's `Schema.fbs` allows, read from the flatbuffer and without the reader under test.

use std::collections::HashMap;

use arrow::ipc::{Endianness, Field, Int, Precision, Schema, TimeUnit, Type, UnionMode};

/// Deeper types are an error of the reader.
const MOST_DEPTH: usize = 64;

/// Returns why the format, or the reader's own limit, does not allow a schema; `None` if it is allowed.
#[must_use]
pub fn reason_against(schema: Schema<'_>) -> Option<String> {
    if schema.endianness() != Endianness::Little {
        return Some("it is big-endian".to_owned());
    }
    schema.fields().into_iter().flatten().find_map(|field| against_field(field, 0))
}

/// The children of a field, which only nested types have. A reader ignores those of other types, as Arrow does.
#[must_use]
pub fn children(field: Field<'_>) -> Vec<Field<'_>> {
    let is_nested = matches!(
        field.type_type(),
        Type::List
            | Type::LargeList
            | Type::ListView
            | Type::LargeListView
            | Type::FixedSizeList
            | Type::Struct_
            | Type::Map
            | Type::RunEndEncoded
            | Type::Union
    );
    field.children().filter(|_| is_nested).into_iter().flatten().collect()
}

fn against_field(field: Field<'_>, depth: usize) -> Option<String> {
    let children = children(field);
    let problem = if depth > MOST_DEPTH {
        Some("it is too deep")
    } else if field.dictionary().is_some_and(|dictionary| dictionary.indexType().is_some_and(|key| !is_integer(key))) {
        Some("the keys of its dictionary are not integers")
    } else {
        against_type(field, &children)
    };
    let problem = problem.map(|problem| format!("`{}`: {problem}", field.name().unwrap_or_default()));
    problem.or_else(|| children.into_iter().find_map(|child| against_field(child, depth + 1)))
}

fn is_integer(int: Int<'_>) -> bool {
    matches!(int.bitWidth(), 8 | 16 | 32 | 64)
}

fn against_type(field: Field<'_>, children: &[Field<'_>]) -> Option<&'static str> {
    let kind = field.type_type();
    let is_sound = match kind {
        Type::Int => field.type_as_int().is_some_and(|int| {
            // Polars' integers of 128 bits.
            is_integer(int) || (int.bitWidth() == 128 && field.dictionary().is_none())
        }),
        Type::FloatingPoint => field
            .type_as_floating_point()
            .is_some_and(|float| [Precision::HALF, Precision::SINGLE, Precision::DOUBLE].contains(&float.precision())),
        Type::Decimal => field.type_as_decimal().is_some_and(|decimal| {
            let most =
                [(32, 9), (64, 18), (128, 38), (256, 76)].into_iter().find(|(width, _)| *width == decimal.bitWidth());
            most.is_some_and(|(_, most)| {
                (1..=most).contains(&decimal.precision()) && decimal.scale() <= decimal.precision()
            })
        }),
        Type::Time => field.type_as_time().is_some_and(|time| match time.bitWidth() {
            32 => [TimeUnit::SECOND, TimeUnit::MILLISECOND].contains(&time.unit()),
            64 => [TimeUnit::MICROSECOND, TimeUnit::NANOSECOND].contains(&time.unit()),
            _ => false,
        }),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary().is_some_and(|fixed| fixed.byteWidth() >= 0),
        _ => return against_children(field, children),
    };
    (!is_sound).then_some("its type has a parameter that the format does not allow")
}

fn against_children(field: Field<'_>, children: &[Field<'_>]) -> Option<&'static str> {
    let problem = |is_there: bool, problem| is_there.then_some(problem);
    match field.type_type() {
        Type::List | Type::LargeList | Type::ListView | Type::LargeListView => {
            problem(children.len() != 1, "a list has one child")
        }
        Type::FixedSizeList => {
            let size = field.type_as_fixed_size_list().map_or(-1, |list| list.listSize());
            problem(children.len() != 1 || size < 0, "a list of fixed size has one child, and its size is not negative")
        }
        Type::Map => {
            let [entries] = children else { return Some("a map has one child") };
            let count = entries.children().map_or(0, |fields| fields.len());
            let is_pairs = entries.type_type() == Type::Struct_ && entries.dictionary().is_none() && count == 2;
            problem(!is_pairs, "the entries of a map are structs of two fields")
        }
        Type::RunEndEncoded => {
            let [ends, _] = children else { return Some("runs have two children") };
            let int = ends.type_as_int().filter(|_| ends.dictionary().is_none());
            let is_known = int.is_some_and(|int| int.is_signed() && matches!(int.bitWidth(), 16 | 32 | 64));
            problem(!is_known, "the ends of runs are signed integers of at least 16 bits")
        }
        Type::Union => {
            let Some(union) = field.type_as_union() else { return Some("a union without its parameters") };
            let ids: Vec<i32> = match union.typeIds() {
                Some(ids) => ids.iter().collect(),
                None => (0..children.len() as i32).collect(),
            };
            let is_known = [UnionMode::Dense, UnionMode::Sparse].contains(&union.mode());
            let is_sound =
                ids.iter().enumerate().all(|(place, id)| (0..128).contains(id) && !ids[..place].contains(id));
            let fit = is_sound && !ids.is_empty() && ids.len() == children.len();
            problem(!is_known || !fit, "the ids of a union do not fit its children")
        }
        _ => None,
    }
}

/// Whether the batches that `schema` makes for an allowed schema are valid. Its buffers have at most `most` bytes.
#[must_use]
pub fn fits(fields: &[Field<'_>], rows: i64, most: usize) -> bool {
    let mut dictionaries = HashMap::new();
    fields.iter().all(|field| field_fits(*field, rows, most, &mut dictionaries))
}

fn field_fits(field: Field<'_>, rows: i64, most: usize, dictionaries: &mut HashMap<i64, Type>) -> bool {
    if let Some(dictionary) = field.dictionary() {
        // Fields that share a dictionary have one type of values.
        let is_text = matches!(field.type_type(), Type::Utf8 | Type::LargeUtf8 | Type::Binary | Type::LargeBinary);
        let other = dictionaries.insert(dictionary.id(), field.type_type());
        if other.is_some_and(|other| other != field.type_type() || !is_text) {
            return false;
        }
    }
    // A reader refuses values of these, which the schema allows: entries of a map and ends of runs are never null.
    let has_no_nulls = matches!(field.type_type(), Type::Map | Type::RunEndEncoded);
    if has_no_nulls && children(field).first().is_some_and(Field::nullable) {
        return false;
    }
    let bytes = |width: i32| rows.checked_add(1).and_then(|rows| rows.checked_mul(width.into()));
    let width = field.type_as_fixed_size_binary().map_or(32, |fixed| fixed.byteWidth());
    let inside = field.type_as_fixed_size_list().map_or(Some(rows), |list| rows.checked_mul(list.listSize().into()));
    let has_room = bytes(width).is_some_and(|bytes| bytes <= most as i64);
    has_room
        && inside
            .is_some_and(|rows| children(field).into_iter().all(|child| field_fits(child, rows, most, dictionaries)))
}
