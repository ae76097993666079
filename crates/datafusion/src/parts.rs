//! The rows of a table: which frame and which batch they are in, and how they are shared out to partitions.

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use coframe::{Frame, Statistics};
use datafusion::{
    common::{Result, plan_err},
    datasource::listing::PartitionedFile,
    error::DataFusionError,
};
use object_store::path::Path;

/// An error of the library as one of DataFusion.
pub(crate) fn external(error: coframe::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The frames of a table, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) frames: Vec<Part>,
    pub(crate) rows: usize,
}

/// A frame of a table.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) frame: Frame,
    /// Rows of the table before this frame.
    pub(crate) before: usize,
    /// Batches that have rows.
    pub(crate) batches: Vec<Batch>,
    /// The path that EXPLAIN shows.
    pub(crate) location: Path,
    pub(crate) statistics: Option<Statistics>,
}

/// A batch of a frame.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Its position in the frame, also in the statistics.
    pub(crate) position: usize,
    /// Its rows in the frame.
    pub(crate) rows: Range<usize>,
}

/// Some rows of one frame: a file of a file group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: usize,
    /// Rows of the table.
    pub(crate) rows: Range<usize>,
}

impl Parts {
    /// Frames with the columns of `schema`.
    pub(crate) fn new(frames: Vec<Frame>, schema: &SchemaRef) -> Result<Self> {
        let (mut parts, mut rows) = (Vec::with_capacity(frames.len()), 0);
        for frame in frames {
            check(&frame, schema)?;
            let before = rows;
            rows += frame.num_rows();
            parts.push(Part::new(frame, before)?);
        }
        Ok(Self { frames: parts, rows })
    }

    /// The first `rows` rows in at most `partitions` partitions. Each is a range of batches; batches of more than
    /// `batch_rows` rows are cut at multiples of that.
    pub(crate) fn partitions(&self, rows: usize, partitions: usize, batch_rows: usize) -> Vec<Vec<Share>> {
        let starts = self.starts(rows, batch_rows.max(1));
        let partitions = partitions.clamp(1, starts.len().max(1));
        let cut = |partition: usize| {
            let ideal = rows / partitions * partition + rows % partitions * partition / partitions;
            starts.get(starts.partition_point(|start| *start < ideal)).copied().unwrap_or(rows)
        };
        let cuts: Vec<usize> = (0..partitions).map(cut).chain([rows]).collect();
        let shares = cuts.windows(2).map(|pair| self.shares(pair[0]..pair[1])).filter(|shares| !shares.is_empty());
        let shares: Vec<_> = shares.collect();
        if shares.is_empty() { vec![vec![]] } else { shares }
    }

    /// Where a partition may start.
    fn starts(&self, rows: usize, batch_rows: usize) -> Vec<usize> {
        let batches = self.frames.iter().flat_map(|part| part.batches.iter().map(move |batch| (part.before, batch)));
        let starts =
            batches.flat_map(|(before, batch)| batch.rows.clone().step_by(batch_rows).map(move |row| before + row));
        starts.take_while(|start| *start < rows).collect()
    }

    fn shares(&self, rows: Range<usize>) -> Vec<Share> {
        let within = |(part, of): (usize, &Part)| {
            let rows = rows.start.max(of.before)..rows.end.min(of.before + of.frame.num_rows());
            (!rows.is_empty()).then_some(Share { part, rows })
        };
        self.frames.iter().enumerate().filter_map(within).collect()
    }

    /// The frame that has these rows of the table.
    pub(crate) fn find(&self, rows: &Range<usize>) -> Option<&Part> {
        self.frames.iter().find(|part| {
            part.before <= rows.start && rows.start <= rows.end && rows.end <= part.before + part.frame.num_rows()
        })
    }
}

impl Part {
    fn new(frame: Frame, before: usize) -> Result<Self> {
        // Without columns no array is made.
        let outline = frame.select([""; 0]).map_err(external)?;
        let mut row = 0;
        let batches = outline.batches().iter().enumerate().map(|(position, batch)| {
            let start = row;
            row += batch.num_rows();
            Batch { position, rows: start..row }
        });
        let batches = batches.filter(|batch| !batch.rows.is_empty()).collect();
        let statistics = frame.statistics().map_err(external)?;
        let location = Path::from(frame.path().to_string_lossy().as_ref());
        Ok(Self { frame, before, batches, location, statistics })
    }

    /// A file of DataFusion's scan for some rows of the table, which this frame has.
    pub(crate) fn file(&self, rows: &Range<usize>) -> Option<PartitionedFile> {
        let (start, end) = (i64::try_from(rows.start).ok()?, i64::try_from(rows.end).ok()?);
        let mut file = PartitionedFile::new(String::new(), self.frame.size_bytes() as u64).with_range(start, end);
        file.object_meta.location = self.location.clone();
        Some(file)
    }

    /// The batches that have some of these rows of the frame.
    pub(crate) fn batches_of(&self, rows: &Range<usize>) -> &[Batch] {
        let first = self.batches.partition_point(|batch| batch.rows.end <= rows.start);
        let end = self.batches.partition_point(|batch| batch.rows.start < rows.end);
        self.batches.get(first..end).unwrap_or_default()
    }
}

/// Whether a frame has the columns of a table.
fn check(frame: &Frame, schema: &SchemaRef) -> Result<()> {
    let (found, expected) = (frame.schema().fields(), schema.fields());
    let label = || format!("`{}@{}`", frame.name(), frame.version());
    if found.len() != expected.len() {
        return plan_err!("the frame {} has {} columns, the table {}", label(), found.len(), expected.len());
    }
    for (found, expected) in found.iter().zip(expected) {
        if found.name() != expected.name() || found.data_type() != expected.data_type() {
            return plan_err!(
                "the frame {} has a column `{}` of type {} where the table has `{}` of type {}",
                label(),
                found.name(),
                found.data_type(),
                expected.name(),
                expected.data_type()
            );
        }
    }
    Ok(())
}
