//! Some columns or rows of a frame.

use std::{
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use super::Frame;
use crate::error::{Error, Result};

impl Frame {
    /// The frame with only these columns, in this order. Does not copy; costs in the order of columns.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(frame.select(["delay"])?.num_columns(), 1);
    /// assert!(frame.select(["speed"]).unwrap_err().is_not_found());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn select<I>(&self, names: I) -> Result<Self>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let names: Vec<_> = names.into_iter().collect();
        let positions = self.positions(&names)?;
        let select = |e| Error::arrow(format_args!("select columns of `{}`", self.name()), e);
        let schema = self.schema.project(&positions).map_err(select)?.into();
        let columns = positions.iter().map(|position| self.original(*position)).collect();
        Ok(Self { schema, columns: Some(columns), batches: Arc::default(), ..self.clone() })
    }

    /// The frame with only these rows, counted from its first row. Copies and reads nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(frame.slice(1..)?.num_rows(), 2);
    /// assert!(frame.slice(2..5).unwrap_err().is_invalid_argument());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.num_rows(),
        };
        if start > end || end > self.num_rows() {
            let what = format!("the row range {start}..{end} of `{}`", self.name());
            return Err(Error::invalid(what, format_args!("expected one inside 0..{}", self.num_rows())));
        }
        let rows = self.rows.start + start..self.rows.start + end;
        Ok(Self { rows, batches: Arc::default(), ..self.clone() })
    }

    /// Cuts the frame into `n` row ranges, in order, that differ by at most one row. Does not copy.
    ///
    /// With more parts than rows, some are empty. Zero parts count as one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1, 2, 3, 4, 5])?)?;
    /// let rows: Vec<usize> = frame.split(3).iter().map(|part| part.num_rows()).collect();
    /// assert_eq!(rows, [2, 2, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn split(&self, n: usize) -> Vec<Self> {
        let n = n.max(1);
        let (each, longer) = (self.num_rows() / n, self.num_rows() % n);
        let start = |part: usize| part * each + part.min(longer);
        (0..n).filter_map(|part| self.slice(start(part)..start(part + 1)).ok()).collect()
    }
}
