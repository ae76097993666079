//! `Frame::copy_report`: what opening a frame shared and what it copied.

use std::{collections::BTreeSet, fmt};

use arrow::array::Array;

use crate::{
    error::Result,
    frame::{Frame, collect_buffers},
};

/// The bytes of each column that a frame shares with its segment, and those that it copied or would copy.
///
/// `Display` prints a table.
///
/// ```
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
/// # let frame = store.publish("flights", &df)?;
/// let report = frame.copy_report()?;
/// assert!(report.columns.iter().all(|column| column.copied == 0), "{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// The columns of the frame, in order.
    pub columns: Vec<ColumnCopies>,
}

/// One column of a [`CopyReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnCopies {
    /// Name of the column.
    pub name: String,
    /// Its Arrow type.
    pub data_type: String,
    /// Bytes of its buffers that are part of the mapping.
    pub shared: usize,
    /// Bytes that opening copied, and that converting to Polars would copy.
    pub copied: usize,
    /// The reason, if anything is copied.
    pub reason: Option<String>,
}

impl Frame {
    /// Reports for each column how many bytes it shares with the segment, how many are copied, and why.
    ///
    /// Reads the dictionaries, but no rows. A dictionary counts for each column that uses it.
    ///
    /// # Errors
    ///
    /// Those of [`Frame::to_polars`], for a column that Polars does not support.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1i64, 2, 3])?)?;
    /// let report = frame.copy_report()?;
    /// assert_eq!((report.columns[0].shared, report.copied()), (24, 0));
    /// println!("{report}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy_report(&self) -> Result<CopyReport> {
        #[cfg(feature = "polars")]
        let crossing = crate::polars::copies(self)?;
        #[cfg(not(feature = "polars"))]
        let crossing: Vec<crate::ipc::Copied> = Vec::new();
        let start = self.mapping().bytes().as_ptr().addr();
        let range = start..start + self.mapping().bytes().len();
        let report = |position: usize| {
            let field = self.schema().field(position);
            let mut buffers = BTreeSet::new();
            for batch in self.batches() {
                if let Some(column) = batch.columns().get(position) {
                    collect_buffers(&column.to_data(), &mut buffers);
                }
            }
            let shared = buffers.iter().filter(|(address, _)| range.contains(address)).map(|(_, len)| len).sum();
            let crossed = crossing.iter().find(|copied| copied.column == position);
            let copies = || self.copied(position).into_iter().chain(crossed);
            let reasons: Vec<&str> = copies().map(|copied| copied.reason.as_str()).collect();
            ColumnCopies {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                shared,
                copied: copies().map(|copied| copied.bytes).sum(),
                reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            }
        };
        Ok(CopyReport { columns: (0..self.num_columns()).map(report).collect() })
    }
}

impl CopyReport {
    /// Bytes copied in all columns. Zero means that every buffer is shared.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(frame.copy_report()?.copied(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn copied(&self) -> usize {
        self.columns.iter().map(|column| column.copied).sum()
    }
}

impl fmt::Display for CopyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(f, "{:name$} {:>14} {:>14}  why", "column", "shared bytes", "copied bytes")?;
        for column in &self.columns {
            let why = column.reason.as_deref().unwrap_or("-");
            writeln!(f, "{:name$} {:>14} {:>14}  {why}", column.name, column.shared, column.copied)?;
        }
        Ok(())
    }
}
