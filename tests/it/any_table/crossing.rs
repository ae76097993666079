//! One table on every way: published in several ways, opened, verified, cut, read, in Polars and back.

use std::sync::Arc;

use coframe::{
    Frame, OpenOptions, PublishOptions, StringLayout,
    arrow::{
        array::{RecordBatch, RecordBatchIterator, RecordBatchReader},
        datatypes::{Schema, SchemaRef},
        ipc::reader::FileReader,
    },
};

use super::{layout::in_layout, polars};
use crate::{
    common::Scratch,
    statistics,
    tables::{Expected, Random, Table, check_refusal},
};

const NAME: &str = "table";

/// What became of a table that was published.
pub(super) struct Outcome {
    pub(super) columns_in_polars: usize,
}

/// The table cannot be written, for a reason that its types have.
pub(super) struct Refused;

pub(super) fn check(scratch: &Scratch, random: &mut Random) -> Result<Outcome, Refused> {
    let Table { schema, batches } = Table::random(random);
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
            check_refusal(&error.to_string(), &format!("{error:?}"), &schema);
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
    Ok(Outcome { columns_in_polars: polars::check(scratch, random, &frame, &expected) })
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
