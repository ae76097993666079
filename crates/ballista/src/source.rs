//! The leaf of a plan: rows of frames that may be on other machines, as files of DataFusion's file scan.
//!
//! It must be a file scan: before Ballista ships a stage it cuts the leaves that it knows down to the partitions of a task,
//! and runs every other leaf whole in each task, which multiplies its rows without an error.

use std::{fmt, ops::Range, sync::Arc};

use arrow::datatypes::SchemaRef;
use coframe_datafusion::FrameSource;
use datafusion::{
    common::{Result, exec_datafusion_err, exec_err, internal_datafusion_err, tree_node::TreeNodeRecursion},
    config::ConfigOptions,
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileOpenFuture, FileOpener, FileScanConfig, FileSource},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    physical_expr::{PhysicalExpr, projection::ProjectionExprs},
    physical_plan::{
        DisplayFormatType, ExecutionPlan, filter_pushdown::FilterPushdownPropagation, metrics::ExecutionPlanMetricsSet,
    },
};
use object_store::{ObjectStore, path::Path};

use crate::{
    node::Node,
    part::{Part, Parts},
};

/// Rows of a batch, until the engine sets its own number.
const BATCH_ROWS: usize = 8192;

/// Some rows of one part: a file of a file group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: usize,
    /// Rows of the part.
    pub(crate) rows: Range<usize>,
}

/// What a scan of frames of a cluster reads: the [`FileSource`] of its `DataSourceExec`.
///
/// Each file of the scan is a part, and its range counts rows of this part. A source on a node opens the parts in the node's
/// store, and pulls those that the node does not have. Other processes can plan and send a source, but reading it there is
/// an error.
#[derive(Clone)]
pub struct ClusterSource {
    parts: Parts,
    node: Option<Arc<Node>>,
    /// A source of no frames: it keeps columns, projection and predicate by its rules.
    plan: Arc<dyn FileSource>,
    batch_rows: usize,
}

impl ClusterSource {
    /// A source that reads all columns of these parts.
    pub(crate) fn new(parts: Parts, schema: &SchemaRef) -> Result<Self> {
        Ok(Self {
            parts,
            node: None,
            plan: Arc::new(FrameSource::of_frames(Vec::new(), schema)?),
            batch_rows: BATCH_ROWS,
        })
    }

    /// The parts that its files are of.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The parts of these files.
    pub fn parts_of<'a>(&'a self, files: &'a [PartitionedFile]) -> impl Iterator<Item = &'a Part> {
        files.iter().filter_map(|file| self.parts.get(part_of(file)?))
    }

    pub(crate) fn at(self, node: Option<Arc<Node>>) -> Self {
        Self { node, ..self }
    }

    fn with(&self, plan: Arc<dyn FileSource>) -> Self {
        Self { plan, ..self.clone() }
    }

    pub(crate) fn with_projection(&self, projection: &ProjectionExprs) -> Result<Self> {
        Ok(self.with(projected(&self.plan, projection)?))
    }

    pub(crate) fn with_predicate(&self, predicate: Arc<dyn PhysicalExpr>) -> Result<Self> {
        Ok(self.with(filtered(&self.plan, predicate)?))
    }

    /// A file of the scan.
    pub(crate) fn file(&self, share: &Share) -> Option<PartitionedFile> {
        let part = self.parts.get(share.part)?;
        let (start, end) = (i64::try_from(share.rows.start).ok()?, i64::try_from(share.rows.end).ok()?);
        let mut file = PartitionedFile::new(String::new(), part.bytes as u64).with_range(start, end);
        file.object_meta.location = Path::from_iter([share.part.to_string(), part.label()]);
        Some(file)
    }
}

/// The number with which the path of a file starts.
fn part_of(file: &PartitionedFile) -> Option<usize> {
    file.object_meta.location.parts().next()?.as_ref().parse().ok()
}

fn projected(source: &Arc<dyn FileSource>, projection: &ProjectionExprs) -> Result<Arc<dyn FileSource>> {
    let found = source.try_pushdown_projection(projection)?;
    found.ok_or_else(|| internal_datafusion_err!("a scan of frames took no projection"))
}

fn filtered(source: &Arc<dyn FileSource>, predicate: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn FileSource>> {
    let found = source.try_pushdown_filters(vec![predicate], &ConfigOptions::new())?;
    Ok(found.updated_node.unwrap_or_else(|| source.clone()))
}

/// The scan of a plan's leaf, if it is one of frames.
pub(crate) fn scan_of(plan: &dyn ExecutionPlan) -> Option<(&FileScanConfig, &ClusterSource)> {
    let scan: &dyn std::any::Any = plan.downcast_ref::<DataSourceExec>()?.data_source().as_ref();
    let config = scan.downcast_ref::<FileScanConfig>()?;
    Some((config, config.file_source().downcast_ref::<ClusterSource>()?))
}

impl fmt::Debug for ClusterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSource").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl FileSource for ClusterSource {
    fn create_file_opener(
        &self,
        objects: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let Some(node) = self.node.clone() else {
            return exec_err!("a scan of frames was not sent to a node, and this process has no store to read from");
        };
        let source = self.clone();
        Ok(Arc::new(ClusterOpener { source, node, objects, config: config.clone(), partition }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.plan.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_rows: batch_size, ..self.clone() })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.plan.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.plan.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.plan.metrics()
    }

    fn file_type(&self) -> &'static str {
        "coframe-cluster"
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt_extra(format, f)
    }

    /// Partitions were cut when the scan was planned.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        options: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let mut answer = self.plan.try_pushdown_filters(filters, options)?;
        answer.updated_node = answer.updated_node.map(|plan| Arc::new(self.with(plan)) as _);
        Ok(answer)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let plan = self.plan.try_pushdown_projection(projection)?;
        Ok(plan.map(|plan| Arc::new(self.with(plan)) as _))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.plan.apply_expressions(f)
    }
}

/// Opens the files of one partition, on a node.
struct ClusterOpener {
    source: ClusterSource,
    node: Arc<Node>,
    objects: Arc<dyn ObjectStore>,
    config: FileScanConfig,
    partition: usize,
}

impl ClusterOpener {
    /// The part of a file, and its rows in this part.
    fn find(&self, file: &PartitionedFile) -> Result<Share> {
        let location = &file.object_meta.location;
        let part = part_of(file).and_then(|part| Some((part, self.source.parts.get(part)?)));
        let Some((part, of)) = part else {
            return exec_err!("the file `{location}` is not one of the {} frames of its scan", self.source.parts.len());
        };
        let range = file.range.as_ref();
        let row = |row: i64| usize::try_from(row).ok();
        let range = range.and_then(|range| Some((row(range.start)?, row(range.end)?)));
        match range {
            Some((start, end)) if start <= end && end <= of.rows => Ok(Share { part, rows: start..end }),
            other => exec_err!("the rows {other:?} are not rows of `{}`, which has {}", of.label(), of.rows),
        }
    }
}

impl FileOpener for ClusterOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let share = self.find(&file)?;
        let Self { source, node, objects, config, partition } = self;
        let (source, node, objects, config) = (source.clone(), node.clone(), objects.clone(), config.clone());
        let partition = *partition;
        Ok(Box::pin(async move {
            let part = &source.parts[share.part];
            let frame = node.open(part, &share.rows).await?;
            let frames = FrameSource::of_frames(vec![frame], source.table_schema().file_schema())?;
            let file = frames.file(share.rows.clone());
            let file = file.ok_or_else(|| exec_datafusion_err!("`{}` has other rows than its plan", part.label()))?;
            let mut frames: Arc<dyn FileSource> = Arc::new(frames);
            if let Some(projection) = source.projection() {
                frames = projected(&frames, projection)?;
            }
            if let Some(predicate) = source.filter() {
                frames = filtered(&frames, predicate)?;
            }
            let frames = frames.with_batch_size(source.batch_rows);
            frames.create_file_opener(objects, &config, partition)?.open(file)?.await
        }))
    }
}
