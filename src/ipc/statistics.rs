//! Statistics of columns and batches in a footer (FORMAT.md, rules T1 to T3): collects them, and writes and reads their
//! text.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array, new_null_array},
    compute::concat,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type},
};
use arrow_ipc::writer::StreamWriter;

use super::read::messages::IpcReader;
use super::{
    base64,
    bounds::{Bounds, bound_type, bounds, bounds_of_used, used_keys},
};
use crate::error::{Error, Result};

/// The statistics of a file while its batches are written.
pub(super) struct Collector {
    schema: SchemaRef,
    rows: Vec<u64>,
    columns: Vec<Column>,
}

#[derive(Default)]
struct Column {
    /// `None` for types without a validity bitmap, and for dictionaries with null values.
    nulls: Vec<Option<u64>>,
    bounds: Vec<Bounds>,
    /// The keys of a dictionary that each batch uses. The dictionary is complete only at the end.
    used: Vec<Vec<bool>>,
}

impl Collector {
    /// `schema` is that of the file.
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| Column::default()).collect();
        Self { schema: schema.clone(), rows: Vec::new(), columns }
    }

    /// Takes a batch into account. Its dictionary columns are dictionaries, or only their keys.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows.push(count(batch.num_rows()));
        for ((field, array), column) in self.schema.fields().iter().zip(batch.columns()).zip(&mut self.columns) {
            if matches!(field.data_type(), DataType::Dictionary(..)) {
                let keys = array.as_any_dictionary_opt().map(|array| array.keys().slice(0, array.len()));
                let keys = keys.as_ref().unwrap_or(array);
                column.nulls.push(Some(count(keys.null_count())));
                column.used.push(used_keys(keys)?);
            } else {
                column.nulls.push(null_count(array));
                column.bounds.push(bounds(array));
            }
        }
        Ok(())
    }

    /// The statistics as a batch with one row for each batch. `dictionary` returns the values of a dictionary column.
    pub(super) fn finish(mut self, dictionary: &dyn Fn(usize) -> Result<ArrayRef>) -> Result<RecordBatch> {
        for (position, (field, column)) in self.schema.fields().iter().zip(&mut self.columns).enumerate() {
            if column.used.is_empty() {
                continue;
            }
            let values = dictionary(position)?;
            if values.logical_null_count() > 0 {
                column.nulls.fill(None);
            }
            if bound_type(field.data_type()).is_some() {
                let bounds = column.used.iter().map(|used| bounds_of_used(&values, used));
                column.bounds = bounds.collect::<Result<_>>()?;
            }
        }
        let schema = schema(&self.schema);
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(self.rows))];
        for (field, column) in self.schema.fields().iter().zip(self.columns) {
            arrays.push(Arc::new(UInt64Array::from(column.nulls)));
            let Some(data_type) = bound_type(field.data_type()) else { continue };
            arrays.push(joined(&data_type, column.bounds.iter().map(|bounds| bounds.min.clone()))?);
            arrays.push(joined(&data_type, column.bounds.iter().map(|bounds| bounds.max.clone()))?);
            let exact: Vec<bool> = column.bounds.iter().map(|bounds| bounds.is_exact).collect();
            arrays.push(Arc::new(BooleanArray::from(exact)));
        }
        RecordBatch::try_new(schema, arrays).map_err(|e| Error::arrow("put statistics together", e))
    }
}

/// A row of a union or of runs is null if the value to which it refers is. That may be a key of a dictionary that is
/// not complete yet.
fn null_count(array: &ArrayRef) -> Option<u64> {
    match array.data_type() {
        DataType::Union(..) | DataType::RunEndEncoded(..) => None,
        _ => Some(count(array.logical_null_count())),
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The schema of the statistics of a file with this schema (rule T1-form).
fn schema(file: &Schema) -> SchemaRef {
    let mut fields = vec![Field::new("rows", DataType::UInt64, false)];
    for (position, field) in file.fields().iter().enumerate() {
        fields.push(Field::new(format!("{position}.nulls"), DataType::UInt64, true));
        if let Some(data_type) = bound_type(field.data_type()) {
            fields.push(Field::new(format!("{position}.min"), data_type.clone(), true));
            fields.push(Field::new(format!("{position}.max"), data_type, true));
            fields.push(Field::new(format!("{position}.exact"), DataType::Boolean, false));
        }
    }
    Schema::new(fields).into()
}

fn joined(data_type: &DataType, values: impl Iterator<Item = Option<ArrayRef>>) -> Result<ArrayRef> {
    let values: Vec<ArrayRef> = values.map(|value| value.unwrap_or_else(|| new_null_array(data_type, 1))).collect();
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    if values.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    concat(&values).map_err(|e| Error::arrow("put statistics together", e))
}

/// The entry `coframe.stats`.
pub(super) fn to_text(statistics: &RecordBatch) -> Result<String> {
    let error = |e| Error::arrow("encode statistics", e);
    let mut writer = StreamWriter::try_new(Vec::new(), &statistics.schema()).map_err(error)?;
    writer.write(statistics).map_err(error)?;
    writer.finish().map_err(error)?;
    Ok(base64::encode(&writer.into_inner().map_err(error)?))
}

/// Reads the entry `coframe.stats` of a file with this schema and these rows in its batches.
pub(crate) fn read_statistics(text: &str, file: &Schema, rows: &[usize], what: &str) -> Result<RecordBatch> {
    let bad = |detail: &str| Error::corrupt(what, "T1-form", detail);
    let bytes = base64::decode(text).ok_or_else(|| bad("`coframe.stats` is not base64"))?;
    let mut reader = IpcReader::stream(&*bytes, &format!("`coframe.stats` of {what}"))?;
    let expected = schema(file);
    if reader.schema().fields() != expected.fields() {
        return Err(bad("`coframe.stats` has another schema than the columns of the file demand"));
    }
    let (Some(batch), None) = (reader.next().transpose()?, reader.next().transpose()?) else {
        return Err(bad("`coframe.stats` has no batch, or several"));
    };
    let recorded = batch.column(0).as_primitive::<UInt64Type>().values().iter().copied();
    if batch.num_rows() != rows.len() || !recorded.eq(rows.iter().map(|rows| count(*rows))) {
        return Err(bad("`coframe.stats` has other rows than the batches"));
    }
    Ok(batch)
}

/// Checks that the statistics of a file are those of its batches (rule T3-claims).
pub(super) fn check_statistics(text: &str, batches: &[RecordBatch], file: &SchemaRef, what: &str) -> Result<()> {
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    let recorded = read_statistics(text, file, &rows, what)?;
    let mut collector = Collector::new(file);
    for batch in batches {
        collector.add(batch)?;
    }
    let values = |column: usize| {
        let arrays = batches.iter().filter_map(|batch| batch.columns().get(column)?.as_any_dictionary_opt());
        let values = arrays.map(|array| array.values().clone()).next();
        values.ok_or_else(|| Error::corrupt(what, "D1-one", "a column has no dictionary"))
    };
    let found = collector.finish(&values)?;
    let names = recorded.schema_ref().fields().iter().map(|field| field.name());
    let mut columns = names.zip(recorded.columns().iter().zip(found.columns()));
    let wrong = columns.find(|(_, (recorded, found))| recorded != found);
    wrong.map_or(Ok(()), |(name, _)| {
        let detail = format_args!("`{name}` in `coframe.stats` is not what the values have");
        Err(Error::corrupt(what, "T3-claims", detail))
    })
}
