//! The tables of TPC-H, held in four ways.

use std::{error::Error, fs::File, path::Path, sync::Arc};

use arrow::ipc::writer::FileWriter;
use coframe::{Frame, PublishOptions, Store};
use coframe_datafusion::FrameTable;
use datafusion::{
    dataframe::DataFrameWriteOptions,
    datasource::MemTable,
    execution::{options::ArrowReadOptions, runtime_env::RuntimeEnv},
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};
use tempfile::TempDir;

use crate::tpch::{Table, tables};

/// What ratios compare with comes first.
pub(crate) const SOURCES: [&str; 4] = ["MemTable", "frames", "Parquet", "Arrow"];

/// Rows of a batch: those of DataFusion's batches, so that no source cuts any.
const BATCH_ROWS: usize = 8192;

pub(crate) struct Sources {
    directory: TempDir,
    tables: Vec<Table>,
    frames: Vec<Frame>,
}

impl Sources {
    pub(crate) async fn new(scale: f64) -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::Builder::new().prefix("coframe-bench-").tempdir_in("/dev/shm")?;
        let store = Store::open_at(directory.path().join("store"))?;
        let tables = tables(scale, 300 * 1024 * 1024);
        let mut frames = Vec::new();
        for table in &tables {
            let options = PublishOptions::new().statistics(true).batch_rows(BATCH_ROWS);
            frames.push(store.publish_with(table.name, &table.batches, &options)?);
            write_arrow(table, &directory.path().join(format!("{}.arrow", table.name)))?;
            let memory = MemTable::try_new(table.schema.clone(), vec![table.batches.clone()])?;
            let path = directory.path().join(format!("{}.parquet", table.name));
            let rows = SessionContext::new().read_table(Arc::new(memory))?;
            let options = DataFrameWriteOptions::new().with_single_file_output(true);
            rows.write_parquet(path.to_str().ok_or("a path of text")?, options, None).await?;
        }
        let rows: usize = frames.iter().map(Frame::num_rows).sum();
        let bytes: usize = frames.iter().map(Frame::size_bytes).sum();
        println!("TPC-H at scale {scale}: {rows} rows, {:.0} MB of frames", bytes as f64 / 1e6);
        Ok(Self { directory, tables, frames })
    }

    /// A context for each source, in the order of [`SOURCES`].
    pub(crate) async fn contexts(
        &self,
        runtime: Option<&Arc<RuntimeEnv>>,
    ) -> Result<Vec<SessionContext>, Box<dyn Error>> {
        let threads = std::thread::available_parallelism()?.get();
        let config = SessionConfig::new().with_target_partitions(threads);
        let context = || match runtime {
            Some(runtime) => SessionContext::new_with_config_rt(config.clone(), runtime.clone()),
            None => SessionContext::new_with_config(config.clone()),
        };
        let [memory, frames, parquet, arrow] = [context(), context(), context(), context()];
        for (table, frame) in self.tables.iter().zip(&self.frames) {
            let share = table.batches.len().div_ceil(threads).max(1);
            let partitions = table.batches.chunks(share).map(<[_]>::to_vec).collect();
            let path = |kind: &str| self.directory.path().join(format!("{}.{kind}", table.name)).display().to_string();
            memory.register_table(table.name, Arc::new(MemTable::try_new(table.schema.clone(), partitions)?))?;
            frames.register_table(table.name, Arc::new(FrameTable::new(frame.clone())?))?;
            parquet.register_parquet(table.name, path("parquet"), ParquetReadOptions::default()).await?;
            arrow.register_arrow(table.name, &path("arrow"), ArrowReadOptions::default()).await?;
        }
        Ok(vec![memory, frames, parquet, arrow])
    }
}

fn write_arrow(table: &Table, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut writer = FileWriter::try_new_buffered(File::create(path)?, &table.schema)?;
    for batch in &table.batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(())
}
