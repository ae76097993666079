//! Text columns that become categories: keys on the rows, and each text once.

use std::{collections::HashSet, sync::Arc};

use coframe::arrow::{
    array::{Array, AsArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::failure::{Failure, Result};

/// Rows that are looked at before a column is taken for categories.
pub(crate) const LOOK: usize = 65_536;
/// Fewer rows tell nothing.
const FEWEST: usize = 100;
/// A column with at most one text for this many rows is categories.
const REPEATS: usize = 10;

/// Which columns become categories.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Categories {
    /// Publish this text column as categories; may be repeated
    #[arg(long, value_name = "COL")]
    pub(crate) categorical: Vec<String>,

    /// Publish text columns as categories where the first 65 536 rows repeat each text ten times or more
    #[arg(long)]
    pub(crate) auto_categorical: bool,
}

/// The choice, made for one schema.
pub(crate) struct Categorical {
    pub(crate) schema: SchemaRef,
}

impl Categorical {
    /// Chooses by name, and by the first rows where that was asked for.
    pub(crate) fn choose(schema: &SchemaRef, options: &Categories, first: &[RecordBatch]) -> Result<Self> {
        for name in &options.categorical {
            let Ok(field) = schema.field_with_name(name) else {
                return Err(Failure::usage(format_args!("--categorical `{name}`: there is no such column")));
            };
            if !is_text(field.data_type()) && !matches!(field.data_type(), DataType::Dictionary(..)) {
                let found = field.data_type();
                return Err(Failure::usage(format_args!(
                    "--categorical `{name}`: it is {found}, expected a text column"
                )));
            }
        }
        let chosen = |position: usize, field: &Field| {
            options.categorical.contains(field.name()) || (options.auto_categorical && repeats(first, position))
        };
        let field = |(position, field): (usize, &Arc<Field>)| {
            let text = is_text(field.data_type());
            if text && chosen(position, field) { Arc::new(categories(field)) } else { field.clone() }
        };
        let fields: Vec<_> = schema.fields().iter().enumerate().map(field).collect();
        Ok(Self { schema: Arc::new(Schema::new(fields)) })
    }

    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            let name = field.name();
            cast(column, field.data_type())
                .map_err(|error| Failure::failed(format_args!("column `{name}` cannot be made categories: {error}")))
        });
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Failure::failed(format_args!("a batch does not fit the schema: {error}")))
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn categories(field: &Field) -> Field {
    let data_type = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    field.clone().with_data_type(data_type)
}

/// Whether the rows of a text column repeat few texts.
fn repeats(batches: &[RecordBatch], position: usize) -> bool {
    let mut texts: HashSet<String> = HashSet::new();
    let mut rows = 0;
    for batch in batches {
        let column = batch.column(position);
        let Ok(column) = cast(column, &DataType::Utf8View) else { return false };
        let values = column.as_string_view();
        rows += values.len() - values.null_count();
        for value in values.iter().flatten() {
            if !texts.contains(value) {
                texts.insert(value.to_owned());
            }
            if texts.len() * REPEATS > LOOK {
                return false;
            }
        }
    }
    rows >= FEWEST && texts.len() * REPEATS <= rows
}
