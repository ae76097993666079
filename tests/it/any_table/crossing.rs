//! One table on every way: published in several ways, opened, verified, cut, read, in Polars and back.

use std::sync::Arc;

use coframe::{
    Error, Frame, OpenOptions, PublishOptions, StringLayout,
    arrow::{
        array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchOptions, RecordBatchReader},
        datatypes::{DataType, Schema, SchemaRef, TimeUnit, UnionMode},
        ipc::reader::FileReader,
    },
    polars::prelude::DataFrame,
};

use super::{
    arrays::array,
    random::Random,
    show,
    types::{self, has_dictionary, in_layout, inner},
};
use crate::{common::Scratch, statistics};

const NAME: &str = "table";

/// What became of a table that was published.
pub(super) struct Outcome {
    pub(super) columns_in_polars: usize,
}

/// The table cannot be written, for a reason that its types have.
pub(super) struct Refused;

/// What a frame must have: the rows of these batches, whatever its own batches are.
struct Expected {
    schema: SchemaRef,
    /// The types are those of the batches, which a layout may change.
    is_same_type: bool,
    batches: Vec<RecordBatch>,
}

pub(super) fn check(scratch: &Scratch, random: &mut Random) -> Result<Outcome, Refused> {
    let schema: SchemaRef = Arc::new(types::schema(random));
    let count = random.pick(&[0, 1, 1, 2, 3, 5]);
    let batches: Vec<RecordBatch> = (0..count).map(|_| batch(random, &schema)).collect();
    let layout = random.pick(&[StringLayout::Keep, StringLayout::Keep, StringLayout::View, StringLayout::Offset]);
    // Without a draw, so that each seed still makes its table.
    let has_statistics = batches.len() % 2 == 1;
    let mut options = PublishOptions::new().layout(layout).statistics(has_statistics);
    if random.one_in(2) {
        options = options.batch_rows(random.within(1, 8));
    }
    let before = scratch.store.versions(NAME).unwrap();
    let frame = match publish(scratch, random, &schema, &batches, options) {
        Ok(frame) => frame,
        Err(error) => {
            check_refusal(&error, &schema, &batches);
            assert_eq!(scratch.store.versions(NAME).unwrap(), before, "a refused table changed the store");
            return Err(Refused);
        }
    };
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_data_type(in_layout(field.data_type(), layout)));
    let written = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()));
    let expected = Expected { is_same_type: written == schema, schema: written, batches };
    expected.is_in(&frame);
    scratch.store.verify(NAME).unwrap();
    let frame = scratch.store.open(NAME).unwrap();
    expected.is_in(&frame);
    if has_statistics {
        statistics::check(&frame);
    }
    let mut mirror = scratch.store.mirror("mirror").unwrap();
    mirror.write(&frame.segment_bytes()).unwrap();
    expected.is_in(&mirror.publish().unwrap());
    expected.is_in(&scratch.store.open_with(NAME, &OpenOptions::new().validate(true)).unwrap());
    let file = FileReader::try_new(std::fs::File::open(frame.path()).unwrap(), None).unwrap();
    let others: Vec<RecordBatch> = file.map(Result::unwrap).collect();
    expected.is_equal(&frame.schema().clone(), &others);
    parts(scratch, random, &frame, &expected);
    Ok(Outcome { columns_in_polars: polars(scratch, random, &frame, &expected) })
}

fn batch(random: &mut Random, schema: &SchemaRef) -> RecordBatch {
    let rows = random.pick(&[0, 1, 2, 5, 9]);
    let (before, after) = if random.one_in(3) { (random.below(9), random.below(3)) } else { (0, 0) };
    let len = before + rows + after;
    let columns = schema.fields().iter().map(|field| array(random, field.data_type(), len, field.is_nullable()));
    let options = RecordBatchOptions::new().with_row_count(Some(len));
    let whole = RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &options).unwrap();
    whole.slice(before, rows)
}

fn publish(
    scratch: &Scratch,
    random: &mut Random,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    options: PublishOptions,
) -> coframe::Result<Frame> {
    match random.below(3) {
        0 if !batches.is_empty() => scratch.store.publish_with(NAME, batches, &options),
        1 => {
            let reader = RecordBatchIterator::new(batches.iter().cloned().map(Ok), schema.clone());
            scratch.store.publish_with(NAME, reader, &options)
        }
        _ => {
            let mut writer = scratch.store.writer_with(NAME, schema.clone(), &options)?;
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.publish()
        }
    }
}

/// A table is refused only for types that docs/LIMITATIONS.md names, and the error names the column.
fn check_refusal(error: &Error, schema: &Schema, batches: &[RecordBatch]) {
    let text = error.to_string();
    let named = schema.fields().iter().find(|field| names(&text, field.name()));
    let field = named.unwrap_or_else(|| panic!("no column is named in: {text}"));
    let is_known = has_nested_dictionary(field.data_type()) || has(field.data_type(), &is_time);
    assert!(
        is_known || is_runs_of_booleans(field.data_type(), &format!("{error:?}")),
        "{error:?}: {text}; {batches:?}"
    );
}

fn names(text: &str, column: &str) -> bool {
    text.contains(&format!("`{column}`")) || text.contains(&format!("`{column}."))
}

fn has_nested_dictionary(data_type: &DataType) -> bool {
    has(data_type, &|inner| matches!(inner, DataType::Dictionary(_, values) if has_dictionary(values)))
}

/// arrow miscounts the nulls of booleans where it joins runs of unions of them (docs/LIMITATIONS.md).
fn is_runs_of_booleans(data_type: &DataType, error: &str) -> bool {
    let is_runs = |inner: &DataType| match inner {
        DataType::RunEndEncoded(_, values) => has(values.data_type(), &|leaf| *leaf == DataType::Boolean),
        _ => false,
    };
    error.contains("null_bit_buffer size too small") && has(data_type, &is_runs)
}

/// Times beyond their day are refused.
fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

/// Whether a type, something inside it, or the values of a dictionary there pass the test.
fn has(data_type: &DataType, test: &dyn Fn(&DataType) -> bool) -> bool {
    let values = match data_type {
        DataType::Dictionary(_, values) => has(values, test),
        _ => false,
    };
    test(data_type) || values || inner(data_type).iter().any(|field| has(field.data_type(), test))
}

/// Types that Polars lacks, or some values of which it lacks.
fn may_lack_in_polars(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Union(..)
        | T::Interval(_)
        | T::Decimal256(..)
        | T::Timestamp(TimeUnit::Second, _)
        | T::Duration(TimeUnit::Second) => true,
        T::Decimal32(_, scale) | T::Decimal64(_, scale) | T::Decimal128(_, scale) => *scale < 0,
        // Of fixed offsets, Polars has those of whole hours.
        T::Timestamp(_, Some(zone)) => ["+09:30", "Nowhere/At all"].contains(&zone.as_ref()),
        other => is_time(other),
    }
}

fn has_dictionary_of_unions(data_type: &DataType) -> bool {
    let is_sparse = |inner: &DataType| matches!(inner, DataType::Union(_, UnionMode::Sparse));
    has(data_type, &|inner| matches!(inner, DataType::Dictionary(_, values) if has(values, &is_sparse)))
}

impl Expected {
    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[track_caller]
    fn is_in(&self, frame: &Frame) {
        assert_eq!(frame.num_rows(), self.rows());
        self.is_equal(frame.schema(), frame.batches());
    }

    #[track_caller]
    fn is_equal(&self, schema: &SchemaRef, batches: &[RecordBatch]) {
        assert_eq!(*schema, self.schema);
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), self.rows());
        for (column, field) in self.schema.fields().iter().enumerate() {
            let of = |batches: &[RecordBatch]| batches.iter().map(|batch| batch.column(column).clone()).collect();
            let (found, expected): (Vec<ArrayRef>, Vec<ArrayRef>) = (of(batches), of(&self.batches));
            assert!(found.iter().all(|array| array.data_type() == field.data_type()), "{field}");
            assert_eq!(rows(&found), rows(&expected), "{field}");
            // Arrow compares what a sparse union leaves unused, and a merged dictionary has each value once.
            if self.is_same_type && !has_dictionary_of_unions(field.data_type()) {
                assert_logically_equal(&found, &expected);
            }
        }
    }

    fn slice(&self, start: usize, len: usize) -> Self {
        let mut batches = Vec::new();
        let (mut before, end) = (0, start + len);
        for batch in &self.batches {
            let (first, last) = (start.max(before), end.min(before + batch.num_rows()));
            if first < last {
                batches.push(batch.slice(first - before, last - first));
            }
            before += batch.num_rows();
        }
        Self { schema: self.schema.clone(), is_same_type: self.is_same_type, batches }
    }

    fn select(&self, columns: &[usize]) -> Self {
        let batches = self.batches.iter().map(|batch| batch.project(columns).unwrap()).collect();
        let schema = Arc::new(self.schema.project(columns).unwrap());
        Self { schema, is_same_type: self.is_same_type, batches }
    }
}

fn rows(arrays: &[ArrayRef]) -> Vec<String> {
    arrays.iter().flat_map(|array| (0..array.len()).map(|row| show::row(array, row))).collect()
}

/// Arrow's own comparison, of the stretches that are in one array on both sides.
#[track_caller]
fn assert_logically_equal(found: &[ArrayRef], expected: &[ArrayRef]) {
    let (mut found, mut expected) = (found.to_vec(), expected.to_vec());
    loop {
        found.retain(|array| !array.is_empty());
        expected.retain(|array| !array.is_empty());
        let (Some(a), Some(b)) = (found.first_mut(), expected.first_mut()) else { break };
        let len = a.len().min(b.len());
        assert_eq!(a.slice(0, len).to_data(), b.slice(0, len).to_data());
        *a = a.slice(len, a.len() - len);
        *b = b.slice(len, b.len() - len);
    }
}

/// Rows and columns of a frame, through another reader and published again.
fn parts(scratch: &Scratch, random: &mut Random, frame: &Frame, expected: &Expected) {
    let start = random.within(0, frame.num_rows());
    let len = random.within(0, frame.num_rows() - start);
    let columns: Vec<usize> = (0..frame.num_columns()).filter(|_| random.one_in(2)).collect();
    let names: Vec<&str> = columns.iter().map(|column| expected.schema.field(*column).name().as_str()).collect();
    let rows = expected.slice(start, len);
    let part = frame.slice(start..start + len).unwrap();
    rows.is_in(&part);
    let both = rows.select(&columns);
    let part = part.select(&names).unwrap();
    both.is_in(&part);
    let opened = scratch.store.open_with(NAME, &OpenOptions::new().columns(names.clone())).unwrap();
    both.is_in(&opened.slice(start..start + len).unwrap());
    let reader = part.reader();
    assert_eq!(reader.schema(), both.schema);
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    both.is_equal(part.schema(), &batches);
    let mut options = PublishOptions::new();
    if random.one_in(2) {
        options = options.batch_rows(random.within(1, 5));
    }
    let again = scratch.store.publish_with("again", part.reader(), &options).unwrap();
    both.is_in(&again);
    scratch.store.verify("again").unwrap();
}

/// What Polars has of a frame, as a whole, of some rows, and published by Polars; returns how many columns.
fn polars(scratch: &Scratch, random: &mut Random, frame: &Frame, expected: &Expected) -> usize {
    let mut columns = Vec::new();
    for (column, field) in expected.schema.fields().iter().enumerate() {
        match frame.select([field.name()]).unwrap().to_polars() {
            Ok(_) => columns.push(column),
            Err(error) => {
                let text = error.to_string();
                let is_known = has(field.data_type(), &may_lack_in_polars);
                assert!(is_known && names(&text, field.name()), "{field}: {text}");
            }
        }
    }
    let names: Vec<&str> = columns.iter().map(|column| expected.schema.field(*column).name().as_str()).collect();
    let (frame, expected) = (frame.select(&names).unwrap(), expected.select(&columns));
    let df = frame.to_polars().unwrap();
    is_in_polars(&expected, &df);
    let start = random.within(0, frame.num_rows());
    let len = random.within(0, frame.num_rows() - start);
    let part = frame.slice(start..start + len).unwrap().to_polars().unwrap();
    is_in_polars(&expected.slice(start, len), &part);
    let back = scratch.store.publish("polars", &df).unwrap();
    scratch.store.verify("polars").unwrap();
    let again = back.to_polars().unwrap();
    assert_eq!(again.schema(), df.schema());
    is_in_polars(&expected, &again);
    let back: Vec<RecordBatch> = back.batches().to_vec();
    for column in 0..columns.len() {
        let of = |batches: &[RecordBatch]| -> Vec<ArrayRef> {
            batches.iter().map(|batch| batch.column(column).clone()).collect()
        };
        assert_eq!(rows(&of(&back)), rows(&of(&expected.batches)), "{}", expected.schema.field(column));
    }
    columns.len()
}

#[track_caller]
fn is_in_polars(expected: &Expected, df: &DataFrame) {
    assert_eq!(df.height(), expected.rows());
    for (column, (series, field)) in df.columns().iter().zip(expected.schema.fields()).enumerate() {
        assert_eq!(series.name(), field.name());
        let series = series.as_materialized_series();
        let found: Vec<String> = (0..series.len()).map(|row| show::polars_row(series, row)).collect();
        let arrays: Vec<ArrayRef> = expected.batches.iter().map(|batch| batch.column(column).clone()).collect();
        assert_eq!(found, rows(&arrays), "{field} as {}", series.dtype());
    }
}
