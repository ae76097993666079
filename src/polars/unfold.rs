//! How many values a column has once runs, list views and dictionaries are unfolded.
//!
//! A few bytes can refer to the same values a million times, and inside of each other, a million times that.

use arrow::{
    array::{Array, AsArray, OffsetSizeTrait},
    buffer::OffsetBuffer,
    datatypes::{ArrowNativeType, DataType, Int16Type, Int32Type, Int64Type, RunEndIndexType},
};

use crate::{
    error::{Error, Result},
    frame::Frame,
};

/// Values that one file may unfold to beyond eight for each of its bytes (FORMAT.md, rule S5).
const SPARE_VALUES: u64 = 1 << 20;

/// How many values the columns of a file that another program wrote may still unfold to.
pub(super) struct Room {
    frame: String,
    most: u64,
    left: u64,
}

impl Room {
    pub(super) fn new(frame: &Frame) -> Self {
        let most = wide(frame.size_bytes()).saturating_mul(8).saturating_add(SPARE_VALUES);
        Self { frame: frame.label(), most, left: most }
    }

    /// Takes what an array of the column `name` unfolds to.
    pub(super) fn take(&mut self, array: &dyn Array, name: &str) -> Result<()> {
        if let Some(left) = self.left.checked_sub(unfolded(array)) {
            self.left = left;
            return Ok(());
        }
        let Self { frame, most, .. } = self;
        Err(Error::unsupported(
            format_args!(
                "column `{name}` of {frame} in Polars, with which runs, list views and dictionaries unfold to more than \
                 {most} values, the most for a file of its size from another writer (FORMAT.md, rule S5-buffers),"
            ),
            "read it with `batches`, or import the file if its writer is to be trusted with the memory",
        ))
    }
}

/// Number of values that `convert` makes of an array.
fn unfolded(array: &dyn Array) -> u64 {
    sum(array)(array.len())
}

/// Number of values in the given number of first rows of an array. Costs in the order of what the array has in memory.
type Sum<'a> = Box<dyn Fn(usize) -> u64 + 'a>;

fn sum(array: &dyn Array) -> Sum<'_> {
    match array.data_type() {
        DataType::Null => Box::new(|_| 0),
        DataType::Struct(_) => {
            let fields: Vec<Sum<'_>> = array.as_struct().columns().iter().map(|field| sum(field)).collect();
            Box::new(move |rows| fields.iter().fold(0, |all, field| field(rows).saturating_add(all)))
        }
        DataType::FixedSizeList(_, size) => {
            let (size, items) = (usize::try_from(*size).unwrap_or(0), sum(array.as_fixed_size_list().values()));
            Box::new(move |rows| items(rows.saturating_mul(size)))
        }
        DataType::List(_) => list(array.as_list::<i32>().offsets(), array.as_list::<i32>().values()),
        DataType::LargeList(_) => list(array.as_list::<i64>().offsets(), array.as_list::<i64>().values()),
        DataType::Map(..) => list(array.as_map().offsets(), array.as_map().entries()),
        DataType::ListView(_) => list_view::<i32>(array),
        DataType::LargeListView(_) => list_view::<i64>(array),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = sum(dictionary.values());
            // arrow panics on a dictionary without values; then all keys are null.
            let keys = if dictionary.values().is_empty() { Vec::new() } else { dictionary.normalized_keys() };
            running(keys.into_iter().map(move |key| values(key + 1).saturating_sub(values(key))))
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array),
            DataType::Int32 => runs::<Int32Type>(array),
            _ => runs::<Int64Type>(array),
        },
        _ => Box::new(wide),
    }
}

fn wide(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn list<'a, O: OffsetSizeTrait>(offsets: &'a OffsetBuffer<O>, items: &'a dyn Array) -> Sum<'a> {
    let items = sum(items);
    let at = |row: usize| items_before(offsets, row);
    let first = items(at(0));
    Box::new(move |rows| items(items_before(offsets, rows)).saturating_sub(first).saturating_add(wide(rows)))
}

fn items_before<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, row: usize) -> usize {
    offsets.get(row).map_or(0, |offset| offset.as_usize())
}

fn list_view<O: OffsetSizeTrait>(array: &dyn Array) -> Sum<'_> {
    let list = array.as_list_view::<O>();
    let items = sum(list.values());
    running(list.offsets().iter().zip(list.sizes()).enumerate().map(move |(row, (offset, size))| {
        let size = if list.is_null(row) { 0 } else { size.as_usize() };
        let (first, end) = (offset.as_usize(), offset.as_usize().saturating_add(size));
        items(end).saturating_sub(items(first)).saturating_add(1)
    }))
}

/// Sums of what each row has.
fn running<'a>(rows: impl Iterator<Item = u64>) -> Sum<'a> {
    let sums = rows.scan(0, |all: &mut u64, row| {
        *all = all.saturating_add(row);
        Some(*all)
    });
    let sums: Vec<u64> = std::iter::once(0).chain(sums).collect();
    Box::new(move |rows| sums.get(rows.min(sums.len() - 1)).copied().unwrap_or(0))
}

fn runs<R: RunEndIndexType>(array: &dyn Array) -> Sum<'_> {
    let runs = array.as_run::<R>();
    let values = runs.values_slice();
    let each = sum(&values);
    // The end of each run, its values up to there, and those of one row.
    let mut all: Vec<(usize, u64, u64)> = Vec::new();
    for (run, end) in runs.run_ends().sliced_values().enumerate() {
        let (start, before) = all.last().map_or((0, 0), |(end, sum, _)| (*end, *sum));
        let row = each(run + 1).saturating_sub(each(run));
        let sum = before.saturating_add(row.saturating_mul(wide(end.as_usize().saturating_sub(start))));
        all.push((end.as_usize(), sum, row));
    }
    Box::new(move |rows| {
        let next = all.partition_point(|(end, ..)| *end <= rows);
        let (start, before) =
            next.checked_sub(1).and_then(|last| all.get(last)).map_or((0, 0), |(end, sum, _)| (*end, *sum));
        let row = all.get(next).map_or(0, |(.., row)| *row);
        before.saturating_add(row.saturating_mul(wide(rows.saturating_sub(start))))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            Array, ArrayRef, DictionaryArray, FixedSizeListArray, Int32Array, LargeListArray, ListViewArray, NullArray,
            RunArray, StructArray,
        },
        buffer::OffsetBuffer,
        datatypes::{Field, Int8Type},
    };

    use super::unfolded;

    fn item(array: &ArrayRef) -> Arc<Field> {
        Arc::new(Field::new("item", array.data_type().clone(), true))
    }

    fn runs(end: i32, values: &ArrayRef) -> ArrayRef {
        let half = end / 2;
        Arc::new(RunArray::try_new(&Int32Array::from(vec![half, end]), values).unwrap())
    }

    #[test]
    fn values_are_counted_as_often_as_rows_refer_to_them() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(unfolded(&numbers), 6);
        let lists: ArrayRef = Arc::new(LargeListArray::new(
            item(&numbers),
            OffsetBuffer::new(vec![0, 1, 6].into()),
            numbers.clone(),
            None,
        ));
        assert_eq!(unfolded(&lists), 8);
        assert_eq!(unfolded(&lists.slice(1, 1)), 6);
        let views: ArrayRef = Arc::new(ListViewArray::new(
            item(&numbers),
            vec![0, 0, 1].into(),
            vec![6, 6, 2].into(),
            numbers.clone(),
            None,
        ));
        assert_eq!(unfolded(&views), 17);
        let keys = DictionaryArray::<Int8Type>::new(vec![0, 0, 1].into(), lists.clone());
        assert_eq!(unfolded(&keys), 2 + 2 + 6);
        assert_eq!(unfolded(&keys.slice(2, 1)), 6);
        let long = runs(1_000_000, &lists);
        assert_eq!(unfolded(&long), 500_000 * 8);
        assert_eq!(unfolded(&long.slice(499_999, 2)), 8);
        let all: ArrayRef = Arc::new(StructArray::from(vec![
            (item(&long), long.slice(0, 3)),
            (item(&views), views.clone()),
            (item(&numbers), numbers.slice(0, 3)),
        ]));
        assert_eq!(unfolded(&all), 3 * 2 + 17 + 3);
    }

    #[test]
    fn a_product_that_overflows_is_the_largest_number() {
        let mut array: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        for _ in 0..5 {
            let long = runs(i32::MAX, &array);
            let views = ListViewArray::new(item(&long), vec![0, 0].into(), vec![i32::MAX, i32::MAX].into(), long, None);
            array = Arc::new(views);
        }
        assert_eq!(unfolded(&array), u64::MAX);
        let nulls: ArrayRef = Arc::new(NullArray::new(1 << 40));
        assert_eq!(unfolded(&nulls), 0);
        let nothing =
            FixedSizeListArray::new(item(&nulls), i32::MAX, Arc::new(NullArray::new(i32::MAX as usize)), None);
        assert_eq!(unfolded(&nothing), 0);
    }
}
