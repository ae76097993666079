//! Compares the records of a footer about the values with the values (FORMAT.md, rules M1 and D3).

use std::{cmp::Ordering, collections::HashMap};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator},
    compute::SortOptions,
    datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type},
};

use super::{
    footer::Metadata,
    keys,
    statistics::check_statistics,
    tree::{children, has_dictionary},
};
use crate::error::{Error, Result};

/// Checks the records in `metadata` about the values. `batches` are all batches of the file, and are valid.
pub(crate) fn check_claims(batches: &[RecordBatch], metadata: &Metadata, what: &str) -> Result<()> {
    let bad = |rule, detail: &dyn std::fmt::Display| Err(Error::corrupt(what, rule, detail));
    let rows: u64 = batches.iter().filter_map(|batch| u64::try_from(batch.num_rows()).ok()).sum();
    if rows != metadata.rows {
        let detail = format_args!("`coframe.rows` is {}, the batches have {rows} rows", metadata.rows);
        return bad("M1-entries", &detail);
    }
    let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(()) };
    let columns = schema.fields().len();
    let listed = metadata.keys.iter().chain(metadata.hints.sorted.iter().map(|(column, _)| column));
    if let Some(column) = listed.copied().find(|column| *column >= columns) {
        let detail = format_args!("it lists column {column} as sorted or as one with keys, and has {columns}");
        return bad("M1-entries", &detail);
    }
    if let Some(stats) = &metadata.stats {
        check_statistics(stats, batches, &schema, what)?;
    }
    if metadata.hints.polars
        && let Some(column) = batches.first().and_then(categories_that_differ)
    {
        let detail = format_args!("column `{column}`: columns of the same categories have different dictionaries");
        return bad("P1-categories", &detail);
    }
    for (position, field) in schema.fields().iter().enumerate() {
        let arrays: Vec<&ArrayRef> = batches.iter().filter_map(|batch| batch.columns().get(position)).collect();
        let name = field.name();
        let keys = metadata.hints.polars || metadata.keys.contains(&position);
        let in_range = |array: &&ArrayRef| keys::lie_in_dictionaries(array, metadata.hints.polars);
        if keys && has_dictionary(field.data_type()) && !arrays.iter().all(in_range) {
            let detail = format_args!("column `{name}`: a key in a null slot is outside its dictionary");
            return bad("D3-keys", &detail);
        }
        if metadata.hints.polars
            && let Some(found) = arrays.iter().find_map(|array| not_of_polars(array, Spread::Checked))
        {
            return bad("M1-entries", &format_args!("column `{name}`: {found}, and `coframe.polars` is 1"));
        }
        let sorted = metadata.hints.sorted.iter().find(|(column, _)| *column == position);
        if let Some((_, descending)) = sorted
            && !is_sorted(&arrays, *descending)
        {
            return bad("M1-entries", &format_args!("column `{name}` is not sorted, and `coframe.sorted` lists it"));
        }
    }
    Ok(())
}

/// The first column with other categories than an earlier one whose field has the same mark of Polars.
fn categories_that_differ(batch: &RecordBatch) -> Option<String> {
    let mut known = HashMap::new();
    let columns = batch.columns().iter().zip(batch.schema_ref().fields());
    let different = columns.into_iter().find(|(array, field)| !have_same_categories(array, field, &mut known));
    different.map(|(_, field)| field.name().clone())
}

/// Compares the dictionaries of a column with those known by the mark of their fields, and adds the new ones.
fn have_same_categories(array: &ArrayRef, field: &FieldRef, known: &mut HashMap<String, ArrayRef>) -> bool {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let mark = ["_PL_CATEGORICAL2", "_PL_ENUM_VALUES2"].iter().find_map(|key| field.metadata().get(*key));
        let Some(mark) = mark else { return true };
        let values = known.entry(mark.clone()).or_insert_with(|| dictionary.values().clone());
        return values == dictionary.values();
    }
    match field.data_type() {
        DataType::Struct(fields) => {
            let mut columns = array.as_struct().columns().iter().zip(fields);
            columns.all(|(child, field)| have_same_categories(child, field, known))
        }
        DataType::LargeList(item) => have_same_categories(array.as_list::<i64>().values(), item, known),
        DataType::FixedSizeList(item, _) => have_same_categories(array.as_fixed_size_list().values(), item, known),
        _ => true,
    }
}

/// Whether nulls of structs must be nulls of their fields. Polars ensures that in columns of structs, but not in lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    Checked,
    Any,
}

/// The property of an array that shows that Polars did not make it.
fn not_of_polars(array: &ArrayRef, spread: Spread) -> Option<&'static str> {
    match array.data_type() {
        DataType::Struct(_) => {
            let fields = array.as_struct().columns();
            if spread == Spread::Any || fields.iter().all(|field| covers(field, array)) {
                fields.iter().find_map(|field| not_of_polars(field, spread))
            } else {
                Some("a null of a struct is not a null of its fields")
            }
        }
        DataType::LargeList(_) => not_of_polars(array.as_list::<i64>().values(), Spread::Any),
        DataType::FixedSizeList(..) => not_of_polars(array.as_fixed_size_list().values(), Spread::Any),
        other => children(other).next().map(|_| "it has a type that Polars does not have"),
    }
}

/// Whether each null of a struct is a null of this field.
fn covers(field: &ArrayRef, parent: &ArrayRef) -> bool {
    let Some(nulls) = parent.nulls().filter(|_| *field.data_type() != DataType::Null) else { return true };
    field.nulls().is_some_and(|inner| inner.contains(nulls)) || nulls.null_count() == 0
}

/// Whether [`check_claims`] checks that a column of this type is sorted. Polars orders the categories of some columns by
/// text, of others by number, and keeps 128-bit integers in fixed-size binaries.
pub(crate) fn has_checked_order(data_type: &DataType) -> bool {
    let skipped = matches!(
        data_type,
        DataType::Dictionary(..) | DataType::FixedSizeBinary(_) | DataType::Float16 | DataType::Null
    );
    !skipped && !data_type.is_nested()
}

/// Whether a column is sorted with its nulls at one end.
fn is_sorted(arrays: &[&ArrayRef], descending: bool) -> bool {
    let arrays: Vec<&ArrayRef> = arrays.iter().copied().filter(|array| !array.is_empty()).collect();
    let Some(data_type) = arrays.first().map(Array::data_type) else { return true };
    if !has_checked_order(data_type) {
        return true;
    }
    let nulls = arrays.iter().flat_map(|array| (0..array.len()).map(|row| array.is_null(row)));
    let mut last = None;
    let changes = nulls.filter(|null| last.replace(*null).is_some_and(|last| last != *null)).count();
    let within = |array: &&ArrayRef| in_order(array, array, (0..array.len()).zip(1..array.len()), descending);
    let between = |pair: &[&ArrayRef; 2]| {
        let rows = std::iter::once((pair[0].len().saturating_sub(1), 0));
        in_order(pair[0], pair[1], rows, descending)
    };
    changes <= 1 && arrays.iter().all(within) && arrays.array_windows().all(between)
}

/// Whether, for each of these pairs, the row of the first array is at or before the row of the second in the order.
pub(super) fn in_order(
    a: &ArrayRef,
    b: &ArrayRef,
    rows: impl Iterator<Item = (usize, usize)>,
    descending: bool,
) -> bool {
    let compare: Box<dyn Fn(usize, usize) -> Ordering + '_> = match a.data_type() {
        DataType::Float32 => floats::<Float32Type>(a, b),
        DataType::Float64 => floats::<Float64Type>(a, b),
        _ => match make_comparator(a, b, SortOptions::default()) {
            Ok(compare) => compare,
            Err(_) => return true,
        },
    };
    let wrong = if descending { Ordering::Less } else { Ordering::Greater };
    let mut rows = rows.filter(|(first, second)| a.is_valid(*first) && b.is_valid(*second));
    rows.all(|(first, second)| compare(first, second) != wrong)
}

/// Compares floats like Polars: both zeros are equal, and NaN is the largest.
fn floats<'a, T: ArrowPrimitiveType<Native: PartialOrd>>(
    a: &'a ArrayRef,
    b: &'a ArrayRef,
) -> Box<dyn Fn(usize, usize) -> Ordering + 'a> {
    let (a, b) = (a.as_primitive::<T>(), b.as_primitive::<T>());
    Box::new(move |first, second| {
        let (first, second) = (a.value(first), b.value(second));
        let is_nan = |value: T::Native| value.partial_cmp(&value).is_none();
        first.partial_cmp(&second).unwrap_or_else(|| is_nan(first).cmp(&is_nan(second)))
    })
}
