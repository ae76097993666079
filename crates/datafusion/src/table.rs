//! Frames as a table.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use coframe::{Frame, PublishMode, PublishOptions, Store};
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics, not_impl_err, plan_err},
    datasource::{
        TableType,
        physical_plan::{FileGroup, FileScanConfigBuilder, FileSource},
        sink::DataSinkExec,
        source::DataSourceExec,
    },
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, TableProviderFilterPushDown, dml::InsertOp},
    physical_plan::ExecutionPlan,
};

use crate::{
    order::orderings,
    parts::{Parts, Share},
    sink::FrameSink,
    source::FrameSource,
    statistics::statistics,
};

/// A frame, a part of one, or several frames of the same columns, as a table of DataFusion.
///
/// The table keeps its frames mapped, so a later publish or removal does not change it. Scans share the mapped bytes and read
/// only the columns of the query. With the statistics of
/// [`PublishOptions::statistics`](coframe::PublishOptions::statistics) they skip batches in which no row can match, and
/// answer `count(*)`, `min` and `max` without reading any value. DataFusion does not sort a frame again by a column that is
/// marked as sorted.
///
/// ```
/// use std::sync::Arc;
///
/// use coframe::{Store, arrow::array::{Int64Array, RecordBatch, StringArray}};
/// use coframe_datafusion::FrameTable;
/// use datafusion::{assert_batches_eq, prelude::SessionContext};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let flights = RecordBatch::try_from_iter([
///     ("carrier", Arc::new(StringArray::from(vec!["UA", "DL", "UA"])) as _),
///     ("delay", Arc::new(Int64Array::from(vec![2, -3, 11])) as _),
/// ])?;
/// let frame = store.publish("flights", &flights)?;
///
/// let context = SessionContext::new();
/// context.register_table("flights", Arc::new(FrameTable::new(frame)?))?;
/// let query = "SELECT carrier, sum(delay) AS delay FROM flights GROUP BY carrier ORDER BY carrier";
/// let expected = [
///     "+---------+-------+",
///     "| carrier | delay |",
///     "+---------+-------+",
///     "| DL      | -3    |",
///     "| UA      | 13    |",
///     "+---------+-------+",
/// ];
/// assert_batches_eq!(expected, &context.sql(query).await?.collect().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FrameTable {
    schema: SchemaRef,
    parts: Arc<Parts>,
    target: Option<Target>,
}

/// Where inserted rows go.
#[derive(Clone, Debug)]
struct Target {
    store: Store,
    options: PublishOptions,
}

impl FrameTable {
    /// A table of one frame, or of a part of one with its rows and columns. Reads no values.
    ///
    /// # Errors
    ///
    /// If two columns have the same name, which DataFusion does not allow, or if the frame is damaged.
    pub fn new(frame: Frame) -> Result<Self> {
        Self::of_frames([frame])
    }

    /// A table of several frames, one after the other. Their columns must have the same names and types, in the same order.
    /// The table's field metadata is that of the first frame.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use coframe::{Store, arrow::array::{Int64Array, RecordBatch}};
    /// # use coframe_datafusion::FrameTable;
    /// # use datafusion::prelude::SessionContext;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("store"))?;
    /// let day = |rows: Vec<i64>| RecordBatch::try_from_iter([("delay", Arc::new(Int64Array::from(rows)) as _)]);
    /// let days = [store.publish("monday", &day(vec![2, -3])?)?, store.publish("tuesday", &day(vec![11])?)?];
    /// let context = SessionContext::new();
    /// context.register_table("week", Arc::new(FrameTable::of_frames(days)?))?;
    /// assert_eq!(context.table("week").await?.count().await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If `frames` is empty, if their columns differ, and those of [`FrameTable::new`].
    pub fn of_frames(frames: impl IntoIterator<Item = Frame>) -> Result<Self> {
        let frames: Vec<Frame> = frames.into_iter().collect();
        let Some(first) = frames.first() else {
            return plan_err!("a table of frames needs at least one frame, which gives it its columns");
        };
        let fields = first.schema().fields().iter().enumerate().map(|(position, field)| {
            let is_nullable =
                |frame: &Frame| frame.schema().fields().get(position).is_some_and(|field| field.is_nullable());
            let nullable = frames.iter().any(is_nullable);
            Arc::new(field.as_ref().clone().with_nullable(nullable))
        });
        let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), first.schema().metadata().clone());
        let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) {
            return plan_err!(
                "the frame `{}@{}` has two columns with the name `{twice}`, which DataFusion cannot tell apart",
                first.name(),
                first.version()
            );
        }
        let schema = Arc::new(schema);
        let parts = Arc::new(Parts::new(frames, &schema)?);
        Ok(Self { schema, parts, target: None })
    }

    /// Lets the table take `INSERT INTO` and `INSERT OVERWRITE`: they publish the next version of its frame in this store.
    ///
    /// Frames are immutable, so an append writes the rows of the table again, followed by the new ones. If another version was
    /// published after this table was created, an append fails and changes nothing. Tables of a
    /// [`StoreSchema`](crate::StoreSchema) take inserts already.
    #[must_use]
    pub fn with_inserts(mut self, store: Store, options: PublishOptions) -> Self {
        self.target = Some(Target { store, options });
        self
    }

    /// The frames, in the order of their rows.
    #[must_use]
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.parts.frames.iter().map(|part| &part.frame)
    }
}

#[async_trait]
impl TableProvider for FrameTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let config = state.config();
        // With filters, which only skip batches, a limit would count rows that DataFusion removes afterwards.
        let limited = limit.filter(|_| filters.is_empty());
        let rows = limited.map_or(self.parts.rows, |limit| limit.min(self.parts.rows));
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.unwrap_or(&all);
        let source = FrameSource::new(self.parts.clone(), self.schema.clone(), config.batch_size());
        let statistics = statistics(&self.parts, rows, columns, &self.schema);
        let orderings = orderings(&self.parts, columns);
        let partitions = self.parts.partitions(rows, config.target_partitions(), config.batch_size());
        let file = |share: &Share| self.parts.frames.get(share.part)?.file(&share.rows);
        let group = |shares: &Vec<Share>| FileGroup::new(shares.iter().filter_map(file).collect());
        let source: Arc<dyn FileSource> = Arc::new(source);
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file_groups(partitions.iter().map(group).collect())
            .with_statistics(statistics)
            .with_output_ordering(orderings)
            .with_limit(limited)
            .with_projection_indices(projection.cloned())?;
        Ok(DataSourceExec::from_data_source(scan.build()))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // They skip batches; DataFusion applies them to the rows.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        Some(statistics(&self.parts, self.parts.rows, &all, &self.schema))
    }

    async fn insert_into(
        &self,
        _: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(target), [part]) = (&self.target, self.parts.frames.as_slice()) else {
            return plan_err!(
                "this table takes no rows: insert into a name of a store, not into a version or several frames"
            );
        };
        let frame = &part.frame;
        let (mode, base) = match operation {
            InsertOp::Append => (PublishMode::Update(frame.version()), Some(frame.clone())),
            InsertOp::Overwrite => (PublishMode::Overwrite, None),
            InsertOp::Replace => return not_impl_err!("REPLACE INTO a frame: it has no keys; use INSERT OVERWRITE"),
        };
        let options = target.options.clone().mode(mode);
        let sink = FrameSink::new(target.store.clone(), frame.name().clone(), frame.schema().clone(), options);
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink.after(base)), None)))
    }
}
