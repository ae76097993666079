//! The leaf of a plan: rows of frames as files of DataFusion's file scan.

use std::{fmt, ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
};
use coframe::Frame;
use datafusion::{
    common::{Result, exec_err, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileOpenFuture, FileOpener, FileScanConfig, FileSource},
        projection::{ProjectionOpener, SplitProjection},
        table_schema::TableSchema,
    },
    physical_expr::{PhysicalExpr, conjunction, projection::ProjectionExprs, utils::collect_columns},
    physical_plan::{
        DisplayFormatType, apply_expression_roots,
        filter_pushdown::{FilterPushdownPropagation, PushedDown},
        metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder},
    },
};
use futures::StreamExt;
use object_store::ObjectStore;

use crate::{
    cut::{cut, is_slice, whole_of},
    parts::{Batch, Part, Parts, external},
    pruning::Pruner,
};

/// Rows of a batch, until the engine sets its own number.
const BATCH_ROWS: usize = 8192;

/// What a scan of frames reads: the [`FileSource`] of its `DataSourceExec`.
///
/// Each file of the scan is a frame. The range of a file counts rows of the whole table, not bytes and not rows of the frame.
/// A file without a range, or with one that is not inside its frame, is an error. [`FrameTable`](crate::FrameTable) plans such
/// scans.
#[derive(Clone)]
pub struct FrameSource {
    parts: Arc<Parts>,
    table_schema: TableSchema,
    projection: SplitProjection,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    batch_rows: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl FrameSource {
    pub(crate) fn new(parts: Arc<Parts>, schema: SchemaRef, batch_rows: usize) -> Self {
        let table_schema = TableSchema::from(schema);
        let projection = SplitProjection::unprojected(&table_schema);
        let metrics = ExecutionPlanMetricsSet::new();
        Self { parts, table_schema, projection, predicate: None, batch_rows, metrics }
    }

    /// A source of the rows of these frames, one after the other, for a plan that is built without a
    /// [`FrameTable`](crate::FrameTable). A distributed engine needs it to decode a scan on the machine that has the frames.
    ///
    /// # Errors
    ///
    /// If a frame does not have the columns of `schema`, or is damaged.
    pub fn of_frames(frames: Vec<Frame>, schema: &SchemaRef) -> Result<Self> {
        let parts = Arc::new(Parts::new(frames, schema)?);
        Ok(Self::new(parts, schema.clone(), BATCH_ROWS))
    }

    /// A file of the scan for these rows of the table. `None` if they are not all in one frame.
    #[must_use]
    pub fn file(&self, rows: Range<usize>) -> Option<PartitionedFile> {
        self.parts.find(&rows)?.file(&rows)
    }

    /// Whether a filter is kept to skip batches: only if the types of all its columns have bounds, as strings in dictionaries
    /// do. Another filter could skip nothing. It would also make a hash join collect the bounds of its keys, and for nested
    /// types and dictionaries of numbers DataFusion 55 fails at that.
    fn takes(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let fields = self.table_schema.table_schema().fields();
        collect_columns(filter).iter().all(|column| match fields.get(column.index()).map(|field| field.data_type()) {
            Some(DataType::Dictionary(_, values)) => values.is_string(),
            Some(DataType::RunEndEncoded(..)) | None => false,
            Some(other) => !other.is_nested(),
        })
    }

    /// The frames that it reads, mapped.
    #[must_use]
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.parts.frames.iter().map(|part| &part.frame)
    }
}

impl fmt::Debug for FrameSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSource").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl FileSource for FrameSource {
    fn create_file_opener(
        &self,
        _: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let columns = &self.projection.file_indices;
        let schema = Arc::new(self.table_schema.file_schema().project(columns)?);
        let counter = |name: &'static str| MetricBuilder::new(&self.metrics).counter(name, partition);
        let opener = FrameOpener {
            parts: self.parts.clone(),
            schema,
            table_schema: self.table_schema.file_schema().clone(),
            predicate: self.predicate.clone(),
            batch_rows: self.batch_rows.max(1),
            read: counter("batches_read"),
            pruned: counter("batches_pruned"),
        };
        ProjectionOpener::try_new(self.projection.clone(), Arc::new(opener), self.table_schema.file_schema())
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table_schema
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_rows: batch_size, ..self.clone() })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.predicate.clone()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &'static str {
        "coframe"
    }

    fn fmt_extra(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.predicate.as_ref().map_or(Ok(()), |predicate| write!(f, ", predicate={predicate}"))
    }

    /// Partitions were cut when the scan was planned.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    /// Keeps the filters to skip batches by their statistics. The engine still applies them to the rows that are left.
    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; filters.len()]);
        let kept: Vec<_> = filters.into_iter().filter(|filter| self.takes(filter)).collect();
        // DataFusion also asks without filters, whose conjunction would be `true`.
        if kept.is_empty() {
            return Ok(answer);
        }
        let predicate = conjunction(self.predicate.clone().into_iter().chain(kept));
        Ok(answer.with_updated_node(Arc::new(Self { predicate: Some(predicate), ..self.clone() })))
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.table_schema.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let projected = self.projection.source.iter().map(|projected| &projected.expr);
        apply_expression_roots(self.predicate.iter().chain(projected), f)
    }
}

/// Opens the files of one partition.
struct FrameOpener {
    parts: Arc<Parts>,
    /// The schema of the batches that it returns.
    schema: SchemaRef,
    table_schema: SchemaRef,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    batch_rows: usize,
    read: Count,
    pruned: Count,
}

impl FrameOpener {
    /// The frame of a file, and its rows in this frame.
    fn find(&self, file: &PartitionedFile) -> Result<(&Part, Range<usize>)> {
        let location = &file.object_meta.location;
        let Some(range) = &file.range else {
            return exec_err!("the file `{location}` of a scan of frames has no range of rows");
        };
        let rows = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let found = rows.and_then(|(start, end)| Some((self.parts.find(&(start..end))?, start..end)));
        if let Some((part, rows)) = found.filter(|(part, _)| part.location == *location) {
            return Ok((part, rows.start - part.before..rows.end - part.before));
        }
        exec_err!("the rows {}..{} of the table are not those of the frame `{location}`", range.start, range.end)
    }
}

impl FileOpener for FrameOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let (part, rows) = self.find(&file)?;
        let batches = part.batches_of(&rows).to_vec();
        let names = self.schema.fields().iter().map(|field| field.name());
        let selected = part.frame.select(names).map_err(external)?;
        let whole =
            batches.first().map_or(0, |batch| batch.rows.start)..batches.last().map_or(0, |batch| batch.rows.end);
        let selected = selected.slice(whole).map_err(external)?;
        let pruner = self.predicate.as_ref().zip(part.statistics.as_ref()).map(|(predicate, statistics)| {
            Pruner::new(predicate.clone(), self.table_schema.clone(), statistics.clone(), &batches)
        });
        let reading = Reading {
            selected,
            batches,
            next: 0,
            rows,
            schema: self.schema.clone(),
            batch_rows: self.batch_rows,
            pruner,
            made: None,
            current: None,
            read: self.read.clone(),
            pruned: self.pruned.clone(),
        };
        Ok(Box::pin(async move { Ok(futures::stream::iter(reading).boxed()) }))
    }
}

/// The batches of one file. Each is built when the engine asks for it, because a dynamic filter may have become narrower
/// until then.
struct Reading {
    /// The rows of `batches`.
    selected: Frame,
    batches: Vec<Batch>,
    next: usize,
    /// Rows of the frame that were asked for.
    rows: Range<usize>,
    schema: SchemaRef,
    batch_rows: usize,
    pruner: Option<Pruner>,
    /// The arrays of `batches`, built when the first of them is needed.
    made: Option<Vec<RecordBatch>>,
    current: Option<Current>,
    read: Count,
    pruned: Count,
}

/// A batch that is returned in pieces.
struct Current {
    batch: RecordBatch,
    /// Its rows that are left.
    rows: Range<usize>,
    is_slice: bool,
}

impl Reading {
    /// The next batch that may have rows that the predicate holds for.
    fn advance(&mut self) -> Option<Current> {
        loop {
            let at = self.next;
            let of = self.batches.get(at)?.clone();
            self.next += 1;
            if self.pruner.as_mut().is_some_and(|pruner| !pruner.keeps(at)) {
                self.pruned.add(1);
                continue;
            }
            self.read.add(1);
            let make = || self.selected.batches().iter().filter(|batch| batch.num_rows() > 0).cloned().collect();
            let batch = self.made.get_or_insert_with(make).get(at)?.clone();
            let rows =
                self.rows.start.max(of.rows.start) - of.rows.start..self.rows.end.min(of.rows.end) - of.rows.start;
            let is_slice = rows.len() != batch.num_rows() || is_slice(&batch);
            return Some(Current { batch, rows, is_slice });
        }
    }
}

impl Iterator for Reading {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.advance()?,
        };
        // Pieces start at multiples of the batch size, so that they start at whole bytes of bits.
        let end = (current.rows.start / self.batch_rows + 1).saturating_mul(self.batch_rows).min(current.rows.end);
        let piece = current.rows.start..end;
        let whole = !current.is_slice && piece.len() == current.batch.num_rows();
        let batch =
            if whole { whole_of(&current.batch, &self.schema) } else { cut(&current.batch, piece, &self.schema) };
        current.rows.start = end;
        self.current = Some(current).filter(|current| !current.rows.is_empty());
        Some(batch.map_err(Into::into))
    }
}
