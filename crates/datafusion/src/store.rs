//! The names of a store as tables of a schema, and the schema as a catalog.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use coframe::{Frame, OpenOptions, PublishMode, PublishOptions, Store};
use datafusion::{
    catalog::{CatalogProvider, SchemaProvider, TableProvider},
    common::{Result, exec_datafusion_err, exec_err, runtime::SpawnedTask},
    datasource::MemTable,
    error::DataFusionError,
};

use crate::{FrameTable, parts::external};

/// Rows of a batch that SQL writes: few enough that statistics of each let queries skip most of them.
const BATCH_ROWS: usize = 1 << 17;

/// The names of a store as tables.
///
/// `flights` is the latest version of that name, `"flights@7"` its version 7, as long as it exists. A statement opens each
/// name once and keeps that version to its end, so a publish in the middle changes nothing. The schema caches nothing, so it
/// also finds names that are published later. Quote names with capitals, `.`, `-` or `@`.
///
/// `INSERT INTO`, `INSERT OVERWRITE` and `CREATE TABLE .. AS` publish. `DROP TABLE` and `CREATE OR REPLACE TABLE` are errors:
/// DataFusion removes the old table before it computes the new one.
///
/// ```
/// use std::sync::Arc;
///
/// use coframe::{Store, arrow::array::{Int64Array, RecordBatch}};
/// use coframe_datafusion::StoreCatalog;
/// use datafusion::prelude::{SessionConfig, SessionContext};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let config = SessionConfig::new().with_default_catalog_and_schema("coframe", "public");
/// let context = SessionContext::new_with_config(config.with_create_default_catalog_and_schema(false));
/// context.register_catalog("coframe", Arc::new(StoreCatalog::new(store.clone())));
///
/// let delays = RecordBatch::try_from_iter([("delay", Arc::new(Int64Array::from(vec![2, -3, 11])) as _)])?;
/// store.publish("flights", &delays)?;
/// assert_eq!(context.sql("SELECT * FROM flights WHERE delay > 0").await?.count().await?, 2);
///
/// context.sql("CREATE TABLE late AS SELECT delay FROM flights WHERE delay > 10").await?;
/// assert_eq!(store.open("late")?.num_rows(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StoreSchema {
    store: Store,
    options: PublishOptions,
}

impl StoreSchema {
    /// The names of this store. What SQL publishes has statistics, and batches of 131 072 rows.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, options: write_options() }
    }

    /// Publishes with these options, except that each statement sets the mode.
    #[must_use]
    pub fn with_publish_options(mut self, options: PublishOptions) -> Self {
        self.options = options;
        self
    }

    /// Opens a name in a thread that may block: a file that another program wrote is validated.
    async fn open(&self, name: &str) -> Result<Option<(Frame, bool)>> {
        let (store, (name, version)) = (self.store.clone(), split(name));
        let mut options = OpenOptions::new();
        if let Some(version) = version {
            options = options.version(version);
        }
        let opened = SpawnedTask::spawn_blocking(move || store.open_with(&name, &options)).join().await;
        match opened.map_err(|error| exec_datafusion_err!("opening a frame: {error}"))? {
            Ok(frame) => Ok(Some((frame, version.is_some()))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(external(error)),
        }
    }
}

/// The options of frames that SQL publishes, where the caller gives none.
pub(crate) fn write_options() -> PublishOptions {
    PublishOptions::new().statistics(true).batch_rows(BATCH_ROWS)
}

/// A table that is not in the store, or whose name no frame can have.
fn is_missing(error: &coframe::Error) -> bool {
    error.is_not_found() || error.is_superseded() || error.is_invalid_argument()
}

/// `flights@7` is version 7 of `flights`.
fn split(table: &str) -> (String, Option<u64>) {
    match table.split_once('@').map(|(name, version)| (name, version.parse())) {
        Some((name, Ok(version))) => (name.to_owned(), Some(version)),
        _ => (table.to_owned(), None),
    }
}

#[async_trait]
impl SchemaProvider for StoreSchema {
    fn table_names(&self) -> Vec<String> {
        // The trait has no way to return an error here; opening a table returns it.
        self.store.names().unwrap_or_default().into_iter().map(Into::into).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some((frame, is_version)) = self.open(name).await? else { return Ok(None) };
        let mut table = FrameTable::new(frame)?;
        if !is_version {
            table = table.with_inserts(self.store.clone(), self.options.clone());
        }
        Ok(Some(Arc::new(table)))
    }

    fn table_exist(&self, name: &str) -> bool {
        let (name, version) = split(name);
        let outline = OpenOptions::new().columns([""; 0]);
        let options = version.map_or(outline.clone(), |version| outline.version(version));
        self.store.open_with(&name, &options).is_ok()
    }

    /// `CREATE TABLE .. AS`: DataFusion has computed the rows before.
    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        let table: &dyn TableProvider = table.as_ref();
        let Some(rows) = table.downcast_ref::<MemTable>() else {
            return exec_err!("`{name}` cannot be a table of a store: only tables of rows can be published");
        };
        let mut batches: Vec<RecordBatch> = Vec::new();
        for partition in &rows.batches {
            match partition.try_read() {
                Ok(partition) => batches.extend(partition.iter().cloned()),
                Err(_) => return exec_err!("the rows of `{name}` are being changed"),
            }
        }
        let options = self.options.clone().mode(PublishMode::Create);
        let publish = || {
            let mut writer = self.store.writer_with(&name, rows.schema(), &options)?;
            for batch in &batches {
                writer.write(batch)?;
            }
            writer.publish()
        };
        publish().map_err(external)?;
        Ok(None)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        exec_err!(
            "`{name}` is not dropped: SQL removes no frames. Use Store::remove, or replace its rows with INSERT OVERWRITE"
        )
    }
}

/// A store as a catalog with one schema, `public`. See [`StoreSchema`].
#[derive(Clone, Debug)]
pub struct StoreCatalog {
    schema: Arc<StoreSchema>,
}

impl StoreCatalog {
    /// The only schema.
    const SCHEMA: &str = "public";

    /// The names of this store. See [`StoreSchema::new`].
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self::of_schema(StoreSchema::new(store))
    }

    /// A catalog of this schema.
    #[must_use]
    pub fn of_schema(schema: StoreSchema) -> Self {
        Self { schema: Arc::new(schema) }
    }
}

impl CatalogProvider for StoreCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![Self::SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == Self::SCHEMA).then(|| self.schema.clone() as Arc<dyn SchemaProvider>)
    }
}
