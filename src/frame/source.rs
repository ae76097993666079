//! A frame as a table to publish again.

use super::Frame;
use crate::{
    error::Result,
    ipc::PolarsHints,
    table::{IntoTableStream, TableStream, via},
};

/// Keeps what the segment records about its values: whether Polars made them, and which columns are sorted.
impl IntoTableStream<via::Frame> for &Frame {
    fn into_table_stream<'a>(self) -> Result<TableStream<'a>>
    where
        Self: 'a,
    {
        let frame = self.clone();
        let pieces: Vec<_> = frame.pieces().collect();
        Ok(TableStream {
            schema: self.schema.clone(),
            hints: self.hints(),
            rows: Box::new(pieces.into_iter().map(move |piece| Ok(frame.batch(&piece)))),
        })
    }
}

impl Frame {
    /// The hints of the columns of this frame. They also hold for a part of the rows.
    pub(super) fn hints(&self) -> PolarsHints {
        let Some(PolarsHints { polars, sorted }) = self.footer().metadata.as_ref().map(|metadata| &metadata.hints)
        else {
            return PolarsHints::default();
        };
        let order = |original| sorted.iter().find(|(column, _)| *column == original).map(|(_, descending)| *descending);
        let columns = 0..self.num_columns();
        let sorted = columns.filter_map(|column| Some((column, order(self.original(column))?))).collect();
        PolarsHints { polars: *polars, sorted }
    }
}
