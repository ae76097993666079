//! `Frame::to_polars`: the columns of a frame as Polars' own.

use polars::{
    frame::DataFrame,
    prelude::{Column, IdxSize, PlSmallStr, Series},
    series::IsSorted,
};

use super::{buffers::series, crossing::Crossing, plan};
use crate::{
    error::{Error, Kind, Result},
    frame::{BatchSlice, CopyPolicy, Frame},
};

impl Frame {
    /// The frame as a Polars `DataFrame` on the mapped bytes.
    ///
    /// Costs in the order of columns, batches and categories: about a microsecond a column, whatever the number of
    /// rows, for every dtype of a frame that Polars published. Of a part of the rows, Polars counts the nulls, which
    /// reads one bit a row. What must be copied (types that Polars lacks, keys
    /// that this process numbers otherwise) is in [`Frame::copy_report`], and refused under
    /// [`CopyPolicy::Never`](crate::CopyPolicy::Never). The columns keep the mapping alive; changing one in Polars
    /// copies it first, so nothing is ever written to shared memory.
    ///
    /// # Errors
    ///
    /// [`is_unsupported`](Error::is_unsupported) for a type that Polars has nothing like (unions, intervals), and for
    /// 2^32 - 1 rows or more, which Polars counts only with its feature `bigidx` (its parts can be read);
    /// [`is_would_copy`](Error::is_would_copy) under the copy policy.
    ///
    /// ```
    /// use coframe::Store;
    /// use polars::prelude::*;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// let store = Store::open_at(dir.path().join("store"))?;
    /// let df = df!("name" => ["a", "b"], "x" => [Some(1.5), None])?;
    /// store.publish("table", &df)?;
    /// assert!(store.open("table")?.to_polars()?.equals_missing(&df));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_polars(&self) -> Result<DataFrame> {
        self.check_rows()?;
        let mut crossing = Crossing::new(self);
        let hints = self.footer().metadata.as_ref().map(|metadata| &metadata.hints);
        let map = self.map();
        let pieces: Vec<BatchSlice> = self.pieces().filter(|piece| !piece.rows.is_empty()).collect();
        let mut columns: Vec<Series> = Vec::with_capacity(self.num_columns());
        for (position, field) in self.schema().fields().iter().enumerate() {
            let dtype = crossing.column_dtype(self, position, field)?;
            let mut chunks = Vec::with_capacity(pieces.len());
            for piece in &pieces {
                let Some(values) = self.values(piece, position, &map) else { continue };
                if let Some(chunk) = crossing.share(&values, field, &dtype)? {
                    // Polars slices without counting nulls anew.
                    let part = || chunk.sliced(piece.rows.start, piece.rows.len());
                    chunks.push(if piece.is_whole() { chunk } else { part() });
                    continue;
                }
                let Some(array) = self.array(piece, position) else { continue };
                if self.options().copies == CopyPolicy::Never {
                    // Of some rows there may be nothing to rewrite, though there is of the whole batch.
                    let reason = plan::reason(&mut crossing, &array, field, &dtype)?;
                    if !reason.is_empty() {
                        return Err(Kind::WouldCopy { column: field.name().clone(), reason }.into());
                    }
                }
                chunks.push(crossing.column(&array, field, &dtype)?);
            }
            let name = PlSmallStr::from_str(field.name());
            let mut column = if chunks.is_empty() {
                Series::new_empty(name, &dtype)
            } else {
                series(name, chunks, &dtype, crossing.trusted)
            };
            let original = self.original(position);
            let sorted = hints.and_then(|hints| hints.sorted.iter().find(|(column, _)| *column == original));
            if let Some((_, descending)) = sorted {
                column.set_sorted_flag(if *descending { IsSorted::Descending } else { IsSorted::Ascending });
            }
            columns.push(column);
        }
        DataFrame::new(self.num_rows(), columns.into_iter().map(Column::from).collect())
            .map_err(|e| Error::polars(format_args!("put the columns of {} together", self.label()), e))
    }

    /// Refuses more rows than Polars counts: it would panic.
    fn check_rows(&self) -> Result<()> {
        let end = usize::try_from(IdxSize::MAX).unwrap_or(usize::MAX);
        if self.num_rows() < end {
            return Ok(());
        }
        Err(Error::unsupported(
            format_args!(
                "{} of {} rows in Polars, where a frame has at most {},",
                self.label(),
                self.num_rows(),
                end - 1
            ),
            "read it in parts with `slice`, or build polars with its feature `bigidx`",
        ))
    }
}
