//! Text columns that become categories: a key for each row, and each string once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use coframe::arrow::{
    array::{Array, ArrayRef, AsArray, DictionaryArray, RecordBatch, RecordBatchOptions, StringBuilder, UInt32Array},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
    error::ArrowError,
};

use crate::{
    failure::{Failure, Result},
    source::no_column,
};

/// Rows that are inspected before a column becomes categories.
pub(crate) const LOOK: usize = 65_536;
/// Fewer rows are not enough to decide.
const FEWEST: usize = 100;
/// A column becomes categories if it has at most one distinct string for this many rows.
const REPEATS: usize = 10;

/// Which columns become categories.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Categories {
    /// Publish this text column as categories; may be repeated
    #[arg(long, value_name = "COL")]
    pub(crate) categorical: Vec<String>,

    /// Publish each text column as categories if its strings occur ten times or more on average in the first 65 536
    /// rows (or 64 MB)
    #[arg(long)]
    pub(crate) auto_categorical: bool,
}

/// The chosen columns of one schema, and the categories so far.
pub(crate) struct Categorical {
    pub(crate) schema: SchemaRef,
    /// The columns whose keys come from the common dictionary.
    pooled: Vec<bool>,
    pool: Interner,
}

impl Categorical {
    /// Chooses columns by name, and by the first rows if that was requested. Columns that are categories already share
    /// one dictionary with the chosen ones, unless `keep` leaves them unchanged.
    pub(crate) fn choose(schema: &SchemaRef, options: &Categories, first: &[RecordBatch], keep: bool) -> Result<Self> {
        for name in &options.categorical {
            let Ok(field) = schema.field_with_name(name) else {
                return Err(no_column("--categorical", name, schema.fields().iter().map(AsRef::as_ref)));
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
        let is_pooled = |(position, field): (usize, &Arc<Field>)| match field.data_type() {
            DataType::Dictionary(_, values) => !keep && is_text(values) && is_global(field),
            text => is_text(text) && chosen(position, field),
        };
        let pooled: Vec<bool> = schema.fields().iter().enumerate().map(is_pooled).collect();
        let field =
            |(field, pooled): (&Arc<Field>, &bool)| if *pooled { Arc::new(categories(field)) } else { field.clone() };
        let fields: Vec<_> = schema.fields().iter().zip(&pooled).map(field).collect();
        let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
        Ok(Self { schema: Arc::new(schema), pooled, pool: Interner::default() })
    }

    pub(crate) fn apply(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        if !self.pooled.contains(&true) {
            return Ok(batch.clone());
        }
        let failed = |error| Failure::failed(format_args!("a column cannot become categories: {error}"));
        let mut columns = batch.columns().to_vec();
        let mut keys = Vec::new();
        for (column, _) in columns.iter().zip(&self.pooled).filter(|(_, pooled)| **pooled) {
            keys.push(self.pool.keys(column).map_err(failed)?);
        }
        // All columns share one dictionary, which contains what this batch added.
        let values = self.pool.values();
        let pooled = columns.iter_mut().zip(&self.pooled).filter(|(_, pooled)| **pooled);
        for ((column, _), keys) in pooled.zip(keys) {
            *column = Arc::new(DictionaryArray::try_new(keys, values.clone()).map_err(failed)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Failure::failed(format_args!("a batch does not fit the schema: {error}")))
    }
}

/// The categories of all columns, in order of arrival, as Polars numbers them: a new process that opens the frame gives
/// them the same numbers, and shares the keys of every column.
#[derive(Default)]
struct Interner {
    keys: HashMap<Box<str>, u32>,
    texts: StringBuilder,
    /// The dictionary of the last batch.
    values: Option<ArrayRef>,
}

impl Interner {
    /// Returns the keys of a column of strings or categories; adds new categories.
    fn keys(&mut self, column: &ArrayRef) -> std::result::Result<UInt32Array, ArrowError> {
        let own = cast(column, &dictionary())?;
        let own = own.as_dictionary::<UInt32Type>();
        let texts = own.values().as_string::<i32>();
        let table = texts.iter().map(|text| text.map(|text| self.key(text)).transpose());
        let table = table.collect::<std::result::Result<Vec<Option<u32>>, _>>()?;
        // If the value in the dictionary is null, the rows with its key are null.
        Ok(own.keys().iter().map(|key| table.get(key? as usize).copied().flatten()).collect())
    }

    fn key(&mut self, text: &str) -> std::result::Result<u32, ArrowError> {
        if let Some(key) = self.keys.get(text) {
            return Ok(*key);
        }
        // Arrow counts the bytes of strings in 31 bits.
        if self.texts.values_slice().len() + text.len() > i32::MAX as usize {
            return Err(ArrowError::OffsetOverflowError(text.len()));
        }
        let key = u32::try_from(self.keys.len()).map_err(|_| ArrowError::DictionaryKeyOverflowError)?;
        self.keys.insert(text.into(), key);
        self.texts.append_value(text);
        self.values = None;
        Ok(key)
    }

    fn values(&mut self) -> ArrayRef {
        self.values.get_or_insert_with(|| Arc::new(self.texts.finish_cloned())).clone()
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

fn categories(field: &Field) -> Field {
    field.clone().with_data_type(dictionary())
}

/// Returns whether categories belong neither to an enum nor to a separate `Categories` object (docs/FORMAT.md, section
/// 5).
fn is_global(field: &Field) -> bool {
    let metadata = field.metadata();
    !metadata.contains_key("_PL_ENUM_VALUES2")
        && metadata.get("_PL_CATEGORICAL2").is_none_or(|categories| categories == "0;0;u32;")
}

/// Returns whether the rows of a text column repeat few strings.
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
