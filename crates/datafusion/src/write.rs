//! Queries that publish: `COPY TO`, and the rows of a query.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use coframe::{Frame, Name, PublishOptions, Store};
use datafusion::{
    catalog::Session,
    common::{GetExt, Result, Statistics, not_impl_err, parsers::CompressionTypeVariant, plan_err},
    datasource::{
        file_format::{FileFormat, FileFormatFactory, file_compression_type::FileCompressionType},
        physical_plan::{FileScanConfig, FileSinkConfig, FileSource},
        sink::DataSinkExec,
        table_schema::TableSchema,
    },
    execution::SendableRecordBatchStream,
    physical_expr::LexRequirement,
    physical_plan::ExecutionPlan,
    prelude::DataFrame,
};
use object_store::{ObjectMeta, ObjectStore};

use crate::{
    FrameSource,
    parts::{Parts, external},
    sink::FrameSink,
    store::write_options,
};

/// The name of the format in `STORED AS`, and its file extension.
const FORMAT: &str = "coframe";

/// Publishes the rows of a query as the next version of a name, batch by batch, so it never holds all rows in memory. If the
/// query fails or the future is dropped, it publishes nothing and leaves no file.
///
/// ```
/// # use std::sync::Arc;
/// use coframe::{PublishOptions, Store};
/// use datafusion::prelude::SessionContext;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let query = SessionContext::new().sql("SELECT value AS x FROM range(1000)").await?;
/// let options = PublishOptions::new().statistics(true);
/// assert_eq!(coframe_datafusion::publish(query, &store, "numbers", &options).await?.num_rows(), 1000);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of the query, and those of [`Store::publish_with`], inside of [`External`](datafusion::error::DataFusionError).
pub async fn publish(query: DataFrame, store: &Store, name: &str, options: &PublishOptions) -> Result<Frame> {
    let name: Name = name.parse().map_err(external)?;
    let schema: SchemaRef = query.schema().inner().clone();
    let sink = FrameSink::new(store.clone(), name, schema, options.clone());
    Ok(sink.write(query.execute_stream().await?).await?.0)
}

/// As [`publish`], for the rows of a physical plan, for example one that an engine hands to its executors.
///
/// ```
/// use coframe::{PublishOptions, Store};
/// use datafusion::{physical_plan::execute_stream, prelude::SessionContext};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let context = SessionContext::new();
/// let plan = context.sql("SELECT value AS x FROM range(1000)").await?.create_physical_plan().await?;
/// let rows = execute_stream(plan, context.task_ctx())?;
/// let frame = coframe_datafusion::publish_stream(rows, &store, "numbers", &PublishOptions::new()).await?;
/// assert_eq!(frame.num_rows(), 1000);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`publish`].
pub async fn publish_stream(
    rows: SendableRecordBatchStream,
    store: &Store,
    name: &str,
    options: &PublishOptions,
) -> Result<Frame> {
    let name: Name = name.parse().map_err(external)?;
    let sink = FrameSink::new(store.clone(), name, rows.schema(), options.clone());
    Ok(sink.write(rows).await?.0)
}

/// `COPY .. TO 'name.coframe'` publishes into a store: register it with
/// [`register_file_format`](datafusion::execution::session_state::SessionState::register_file_format).
///
/// The target is a name, or the path of the store followed by a name. With `STORED AS coframe` the name needs no extension.
///
/// ```
/// # use std::sync::Arc;
/// use coframe::Store;
/// use coframe_datafusion::FrameFormat;
/// use datafusion::prelude::SessionContext;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let context = SessionContext::new();
/// context.state_ref().write().register_file_format(Arc::new(FrameFormat::new(store.clone())), false)?;
/// context.sql("COPY (SELECT value AS x FROM range(1000)) TO 'numbers.coframe'").await?.collect().await?;
/// assert_eq!(store.open("numbers")?.num_rows(), 1000);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FrameFormat {
    store: Store,
    options: PublishOptions,
}

impl FrameFormat {
    /// Publishes into this store, with statistics and batches of 131 072 rows.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, options: write_options() }
    }

    /// Publishes with these options.
    #[must_use]
    pub fn with_publish_options(mut self, options: PublishOptions) -> Self {
        self.options = options;
        self
    }

    /// The name of the frame that a `COPY` writes.
    fn name(&self, target: &str) -> Result<Name> {
        let path = Path::new(target.strip_prefix("file://").unwrap_or(target));
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        if directory.is_some_and(|directory| directory != self.store.path()) {
            return plan_err!(
                "`{target}` is not in the store `{}`; name a frame without a path",
                self.store.path().display()
            );
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.strip_suffix(".coframe").unwrap_or(&file);
        name.parse().map_err(external)
    }
}

impl fmt::Debug for FrameFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameFormat").field("store", &self.store).finish_non_exhaustive()
    }
}

impl GetExt for FrameFormat {
    fn get_ext(&self) -> String {
        FORMAT.to_owned()
    }
}

impl FileFormatFactory for FrameFormat {
    fn create(&self, _: &dyn Session, options: &HashMap<String, String>) -> Result<Arc<dyn FileFormat>> {
        if let Some(option) = options.keys().find(|option| option.starts_with("format.")) {
            return plan_err!("frames have no option `{option}`; options are those of FrameFormat");
        }
        Ok(Arc::new(self.clone()))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl FileFormat for FrameFormat {
    fn get_ext(&self) -> String {
        FORMAT.to_owned()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        if *compression.get_variant() == CompressionTypeVariant::UNCOMPRESSED {
            Ok(FORMAT.to_owned())
        } else {
            plan_err!("frames are not compressed")
        }
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        None
    }

    async fn infer_schema(&self, _: &dyn Session, _: &Arc<dyn ObjectStore>, _: &[ObjectMeta]) -> Result<SchemaRef> {
        not_a_file()
    }

    async fn infer_stats(
        &self,
        _: &dyn Session,
        _: &Arc<dyn ObjectStore>,
        _: SchemaRef,
        _: &ObjectMeta,
    ) -> Result<Statistics> {
        not_a_file()
    }

    async fn create_physical_plan(&self, _: &dyn Session, _: FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
        not_a_file()
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        _: &dyn Session,
        target: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !target.table_partition_cols.is_empty() {
            return not_impl_err!("PARTITIONED BY: a frame is one table");
        }
        let name = self.name(&target.original_url)?;
        let sink = FrameSink::new(self.store.clone(), name, target.output_schema.clone(), self.options.clone());
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), order)))
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        let schema = table_schema.file_schema().clone();
        Arc::new(FrameSource::new(Arc::new(Parts::default()), schema, 1))
    }
}

fn not_a_file<T>() -> Result<T> {
    not_impl_err!("frames are not listed as files, because a sweep could remove them: use StoreSchema or FrameTable")
}
