//! What a segment records about its values, for engines that skip batches or need not read them at all.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array},
    compute::cast,
    datatypes::{DataType, UInt64Type},
};

use super::{BatchSlice, Frame};
use crate::{
    error::{Error, Result},
    ipc::read_statistics,
};

/// Statistics of each column and record batch of a frame; returned by [`Frame::statistics`].
///
/// All arrays have one value for each batch of [`Frame::batches`], in order.
#[derive(Clone, Debug)]
pub struct Statistics {
    rows: Vec<usize>,
    columns: Vec<ColumnStatistics>,
}

/// Statistics of one column; returned by [`Frame::statistics`].
#[derive(Clone, Debug)]
pub struct ColumnStatistics {
    null_counts: UInt64Array,
    bounds: Option<[ArrayRef; 2]>,
    exact: BooleanArray,
}

/// A sorted column of a frame; returned by [`Frame::sorted_columns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SortedColumn {
    /// Its position in the schema of the frame.
    pub position: usize,
    /// Whether its values descend.
    pub descending: bool,
}

impl Statistics {
    /// Number of rows of each batch.
    #[must_use]
    pub fn num_rows(&self) -> &[usize] {
        &self.rows
    }

    /// Statistics of each column of the frame, in the order of its schema.
    #[must_use]
    pub fn columns(&self) -> &[ColumnStatistics] {
        &self.columns
    }
}

impl ColumnStatistics {
    /// Number of nulls in each batch; null if not known. It is not known for batches of which the frame has only some
    /// rows, for unions and runs, and for dictionaries with null values.
    #[must_use]
    pub fn null_counts(&self) -> &UInt64Array {
        &self.null_counts
    }

    /// A lower bound of the values in each batch, in the type of the column (of the values of a dictionary). Null if
    /// not known, as for a batch with a NaN or with nulls only. `None` for types without bounds.
    ///
    /// Numbers are ordered as numbers (-0.0 below 0.0), strings and the values of dictionaries by their bytes.
    #[must_use]
    pub fn min(&self) -> Option<&ArrayRef> {
        self.bounds.as_ref().map(|[min, _]| min)
    }

    /// An upper bound of the values in each batch. See [`min`](Self::min).
    #[must_use]
    pub fn max(&self) -> Option<&ArrayRef> {
        self.bounds.as_ref().map(|[_, max]| max)
    }

    /// Whether both bounds are values of the batch. Strings longer than 64 bytes are cut, and the rows of a frame may
    /// have narrower bounds than the whole batch.
    #[must_use]
    pub fn is_exact(&self) -> &BooleanArray {
        &self.exact
    }
}

impl Frame {
    /// The columns that the publisher marked as sorted, each by itself; for a `DataFrame`, those that Polars flags.
    /// Reads no values. Empty for a file that is not [sealed](Frame::is_sealed), except for the columns of a mirror
    /// whose order was checked.
    ///
    /// The order is Polars'. Nulls are at one end, the first or the last. Both zeros are equal and NaN is the greatest float,
    /// strings are ordered by their bytes, and some categories by number.
    ///
    /// ```
    /// use polars::prelude::*;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let df = df!("delay" => [3, -2, 9])?.sort(["delay"], SortMultipleOptions::new().with_order_descending(true))?;
    /// let sorted = store.publish("x", &df)?.sorted_columns();
    /// assert_eq!((sorted[0].position, sorted[0].descending), (0, true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sorted_columns(&self) -> Vec<SortedColumn> {
        let sorted = self.hints().sorted.into_iter();
        sorted.map(|(position, descending)| SortedColumn { position, descending }).collect()
    }

    /// The statistics of the columns and batches of this frame; `None` if they were not published, and for a file whose
    /// writer is not trusted. Reads no values.
    ///
    /// [`PublishOptions::statistics`](crate::PublishOptions::statistics) publishes them.
    /// [`Store::verify`](crate::Store::verify) compares them with the values.
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](Error::is_corrupt) if they do not fit the columns and batches.
    ///
    /// ```
    /// use coframe::{PublishOptions, Store, arrow::{array::AsArray, datatypes::Int32Type}};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let df = polars::df!("delay" => [3, -2, 9, 40])?;
    /// let frame = store.publish_with("x", &df, &PublishOptions::new().batch_rows(2).statistics(true))?;
    /// let statistics = frame.statistics()?.ok_or("no statistics")?;
    /// let max = statistics.columns()[0].max().ok_or("no bounds")?;
    /// assert_eq!(max.as_primitive::<Int32Type>().values(), &[3, 40]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn statistics(&self) -> Result<Option<Statistics>> {
        let Some(text) = self.footer().metadata.as_ref().and_then(|metadata| metadata.stats.as_ref()) else {
            return Ok(None);
        };
        let what = format!("the frame {}", self.label());
        let rows: Vec<usize> = self.shared.contents.rows().collect();
        let all = read_statistics(text, &self.footer().schema, &rows, &what)?;
        let names = all.schema_ref().fields().iter().map(|field| field.name().as_str());
        let arrays: HashMap<&str, &ArrayRef> = names.zip(all.columns()).collect();
        let pieces: Vec<BatchSlice> = self.pieces().collect();
        let columns = self.schema().fields().iter().enumerate().map(|(position, field)| {
            let array = |entry: &str| arrays.get(format!("{}.{entry}", self.original(position)).as_str()).copied();
            column(&array, field.data_type(), &pieces, &what)
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Some(Statistics { rows: pieces.iter().map(|piece| piece.rows.len()).collect(), columns }))
    }
}

/// The statistics of one column in some batches; `array` finds its entries.
fn column<'a>(
    array: &dyn Fn(&str) -> Option<&'a ArrayRef>,
    data_type: &DataType,
    pieces: &[BatchSlice],
    what: &str,
) -> Result<ColumnStatistics> {
    let nulls = array("nulls").map(AsArray::as_primitive::<UInt64Type>);
    let known =
        |piece: &BatchSlice| nulls.filter(|nulls| nulls.is_valid(piece.batch)).map(|nulls| nulls.value(piece.batch));
    let null_counts = pieces.iter().map(|piece| known(piece).filter(|nulls| piece.is_whole() || *nulls == 0)).collect();
    let exact = array("exact").map(AsArray::as_boolean);
    let is_exact = |piece: &BatchSlice| Some(piece.is_whole() && exact.is_some_and(|exact| exact.value(piece.batch)));
    let exact = pieces.iter().map(is_exact).collect();
    let values = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    // Batches of a frame are consecutive.
    let first = pieces.first().map_or(0, |piece| piece.batch);
    let bound = |entry: &str| {
        let bound = array(entry).map(|bounds| cast(&bounds.slice(first, pieces.len()), values)).transpose();
        bound.map_err(|e| Error::arrow(format_args!("read the statistics of {what}"), e))
    };
    let bounds = bound("min")?.zip(bound("max")?).map(|(min, max)| [min, max]);
    Ok(ColumnStatistics { null_counts, bounds, exact })
}
