//! Which Arrow type strings and binaries take in a segment.

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Schema, SchemaRef},
};

use super::tree::map_type;
use crate::error::{Error, Result};

/// How strings and binaries lie in a segment; nested ones and dictionary values too.
///
/// ```
/// use coframe::{Layout, PublishOptions};
///
/// // For readers that cannot compute on string views, pandas among them.
/// let options = PublishOptions::new().layout(Layout::Classic);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// As the table came: Polars brings views, pyarrow and pandas mostly do not. Nothing is rearranged.
    #[default]
    Source,
    /// All views (`Utf8View`, `BinaryView`): shared by Polars. What is not a view is copied, a batch at a time.
    Views,
    /// No views (`LargeUtf8`, `LargeBinary`): for readers without them. Views are copied, a batch at a time.
    Classic,
}

impl Layout {
    /// The schema in this layout; metadata and nullability stay.
    pub(super) fn schema(self, schema: &SchemaRef) -> SchemaRef {
        if self == Self::Source {
            return schema.clone();
        }
        let fields = schema.fields().iter().map(|field| {
            let data_type = map_type(field.data_type(), &|inner| self.data_type(inner));
            field.as_ref().clone().with_data_type(data_type)
        });
        let fields: Vec<_> = fields.collect();
        Schema::new_with_metadata(fields, schema.metadata().clone()).into()
    }

    fn data_type(self, data_type: DataType) -> DataType {
        use DataType::{Binary, BinaryView, Dictionary, LargeBinary, LargeUtf8, Utf8, Utf8View};
        match (self, data_type) {
            (Self::Views, Utf8 | LargeUtf8) => Utf8View,
            (Self::Views, Binary | LargeBinary) => BinaryView,
            (Self::Classic, Utf8View) => LargeUtf8,
            (Self::Classic, BinaryView) => LargeBinary,
            (_, Dictionary(key, value)) => {
                Dictionary(key, Box::new(map_type(&value, &|inner| self.data_type(inner))))
            }
            (_, other) => other,
        }
    }
}

/// Brings a batch to the types of `schema`; columns that have them already are shared.
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns: Result<Vec<ArrayRef>> = columns
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(column, field.data_type(), &options)
                .map_err(|e| Error::arrow(format_args!("bring column `{}` to the layout", field.name()), e))
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns?, &options)
        .map_err(|e| Error::arrow("bring a batch to the schema of its frame", e))
}
