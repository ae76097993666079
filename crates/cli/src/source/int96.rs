//! INT96 timestamps of Parquet: a day and the nanoseconds of that day, which can be more than 64 bits of nanoseconds hold.
//!
//! They are read as microseconds, which cover the years 1 to 9999 and more, or as nanoseconds if a value has more than
//! six digits of a second. Every value is checked first, because the reader wraps values that do not fit.

use std::{collections::HashMap, fs::File};

use coframe::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::{
    basic::Type,
    column::reader::ColumnReader,
    data_type::Int96,
    file::{
        metadata::ParquetMetaData,
        reader::{FileReader, SerializedFileReader},
    },
};

use super::leaves::{leaf_types, map_leaf_fields, map_leaves};

/// Marks a field that was INT96, with the unit that its values need; removed by `settle`.
const MARK: &str = "coframe:int96";
/// A value has nanoseconds.
const FINE: &str = "fine";
/// A value is outside of what 64 bits of nanoseconds hold.
const FAR: &str = "far";

const EPOCH: i128 = 2_440_588;
const DAY: i128 = 86_400_000_000_000;
/// The number of records that are checked in one step.
const RECORDS: usize = 8192;

/// Returns the leaf columns of a file that hold INT96.
pub(super) fn leaves(metadata: &ParquetMetaData) -> Vec<usize> {
    let columns = metadata.file_metadata().schema_descr().columns().iter().enumerate();
    columns.filter(|(_, column)| column.physical_type() == Type::INT96).map(|(leaf, _)| leaf).collect()
}

/// Returns the schema with each INT96 as marked microseconds, or why a column cannot be read.
pub(super) fn mark(schema: &Schema, file: File) -> Result<Schema, String> {
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let mut marks = HashMap::new();
    for leaf in leaves(reader.metadata()) {
        marks.insert(leaf, needs(&reader, leaf)?);
    }
    let mut next = 0;
    let mut leaf = |field: &Field| {
        let mark = marks.get(&next);
        next += 1;
        let Some(mark) = mark else { return field.clone() };
        let mut metadata = field.metadata().clone();
        metadata.insert(MARK.to_owned(), mark.clone());
        in_unit(field, TimeUnit::Microsecond).with_metadata(metadata)
    };
    Ok(Schema::new_with_metadata(map_leaves(schema.fields(), &mut leaf), schema.metadata().clone()))
}

/// Returns what the values of a leaf column need in addition to microseconds.
fn needs(reader: &SerializedFileReader<File>, leaf: usize) -> Result<String, String> {
    let (mut fine, mut far) = (false, false);
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|error| error.to_string())?;
        let column = group.get_column_reader(leaf).map_err(|error| error.to_string())?;
        let ColumnReader::Int96ColumnReader(mut column) = column else { continue };
        let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::<Int96>::new());
        loop {
            definitions.clear();
            repetitions.clear();
            values.clear();
            let read = column.read_records(RECORDS, Some(&mut definitions), Some(&mut repetitions), &mut values);
            let (records, _, _) = read.map_err(|error| error.to_string())?;
            if records == 0 {
                break;
            }
            for value in &values {
                let nanos = nanoseconds(value);
                if i64::try_from(nanos.div_euclid(1000)).is_err() {
                    let path = reader.metadata().file_metadata().schema_descr().column(leaf).path().string();
                    return Err(format!(
                        "column `{path}` has an INT96 timestamp that 64 bits of microseconds do not hold; write the column \
                         as another type"
                    ));
                }
                fine |= nanos.rem_euclid(1000) != 0;
                far |= i64::try_from(nanos).is_err();
            }
        }
    }
    Ok(match (fine, far) {
        (true, true) => format!("{FINE} {FAR}"),
        (true, false) => FINE.to_owned(),
        (false, true) => FAR.to_owned(),
        (false, false) => String::new(),
    })
}

/// Returns the nanoseconds since 1970.
fn nanoseconds(value: &Int96) -> i128 {
    let [low, high, day] = [0, 1, 2].map(|word| value.data().get(word).copied().unwrap_or(0));
    let of_day = (u64::from(high) << 32 | u64::from(low)).cast_signed();
    (i128::from(day.cast_signed()) - EPOCH) * DAY + i128::from(of_day)
}

/// Joins the marks of another file to those of the files before, whose field has the same type.
pub(super) fn merge(known: &Field, found: &Field) -> Field {
    let mut marks = Vec::new();
    map_leaf_fields(found, &mut |field| {
        marks.push(field.metadata().get(MARK).cloned());
        field.clone()
    });
    let mut marks = marks.into_iter();
    map_leaf_fields(known, &mut |field| {
        let (before, now) = (field.metadata().get(MARK).cloned(), marks.next().flatten());
        let joined = match (before, now) {
            (Some(before), Some(now)) => Some(format!("{before} {now}")),
            // The column has microseconds in the other file, so nanoseconds cannot hold both.
            (Some(mark), None) | (None, Some(mark)) if mark.contains(FINE) => Some(format!("{FINE} {FAR}")),
            _ => None,
        };
        let mut metadata = field.metadata().clone();
        metadata.remove(MARK);
        metadata.extend(joined.map(|mark| (MARK.to_owned(), mark)));
        field.clone().with_metadata(metadata)
    })
}

/// Returns the field in the unit that its values need, without marks; `None` if no unit holds all of them.
pub(super) fn settle(field: &Field) -> Option<Field> {
    let mut fits = true;
    let settled = map_leaf_fields(field, &mut |field| {
        let mut metadata = field.metadata().clone();
        let Some(mark) = metadata.remove(MARK) else { return field.clone() };
        let fine = mark.contains(FINE);
        fits &= !(fine && mark.contains(FAR));
        let unit = if fine { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
        in_unit(field, unit).with_metadata(metadata)
    });
    fits.then_some(settled)
}

/// Returns the schema of a file in the units of the frame, for the leaf columns that are INT96.
pub(super) fn hint(schema: &Schema, leaves: &[usize], frame: &Schema) -> Schema {
    let types = leaf_types(frame);
    let mut next = 0;
    let mut leaf = |field: &Field| {
        let wanted = types.get(next).filter(|_| leaves.contains(&next));
        next += 1;
        match wanted {
            Some(DataType::Timestamp(unit, _)) => in_unit(field, *unit),
            _ => field.clone(),
        }
    };
    Schema::new_with_metadata(map_leaves(schema.fields(), &mut leaf), schema.metadata().clone())
}

fn in_unit(field: &Field, unit: TimeUnit) -> Field {
    let zone = match field.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    field.clone().with_data_type(DataType::Timestamp(unit, zone))
}
