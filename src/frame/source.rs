//! A frame as a table to publish again.

use super::Frame;
use crate::{
    error::Result,
    ipc::Marks,
    table::{IntoSource, Source, via},
};

/// Keeps what the segment records of its values: that Polars made them, and which columns are sorted.
impl IntoSource<via::Frame> for &Frame {
    fn into_source<'a>(self) -> Result<Source<'a>>
    where
        Self: 'a,
    {
        let frame = self.clone();
        let pieces: Vec<_> = frame.pieces().collect();
        Ok(Source {
            schema: self.schema.clone(),
            marks: self.marks(),
            rows: Box::new(pieces.into_iter().map(move |piece| Ok(frame.batch(&piece)))),
        })
    }
}

impl Frame {
    /// The marks of the columns of this frame. Rows that were left out change none.
    pub(super) fn marks(&self) -> Marks {
        let Some(Marks { polars, sorted }) = self.footer().metadata.as_ref().map(|metadata| &metadata.marks) else {
            return Marks::default();
        };
        let order = |original| sorted.iter().find(|(column, _)| *column == original).map(|(_, descending)| *descending);
        let columns = 0..self.num_columns();
        let sorted = columns.filter_map(|column| Some((column, order(self.original(column))?))).collect();
        Marks { polars: *polars, sorted }
    }
}
