//! Runs one query on the frames of a store: `coframe-datafusion STORE < QUERY > ROWS`.
//!
//! The rows are an Arrow stream, which `coframe sql --engine datafusion` prints or publishes. Only queries, EXPLAIN and
//! EXPLAIN ANALYZE are allowed. An error is a line on standard error and exit code 1.

use std::{
    error::Error,
    io::{BufWriter, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use arrow::ipc::writer::StreamWriter;
use coframe::Store;
use coframe_datafusion::StoreCatalog;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt;

fn main() -> ExitCode {
    let run = || -> Result<(), Box<dyn Error>> {
        let store = std::env::args_os().nth(1).ok_or("usage: coframe-datafusion STORE < QUERY > ROWS")?;
        let query = std::io::read_to_string(std::io::stdin())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(answer(Path::new(&store), &query))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn answer(store: &Path, query: &str) -> Result<(), Box<dyn Error>> {
    let store = Store::open_existing(store)?;
    let config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema("coframe", "public")
        .with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    context.register_catalog("coframe", Arc::new(StoreCatalog::new(store)));
    let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let mut rows = context.sql_with_options(query, only_queries).await?.execute_stream().await?;
    let mut writer = StreamWriter::try_new(BufWriter::new(std::io::stdout().lock()), &rows.schema())?;
    while let Some(batch) = rows.next().await {
        writer.write(&batch?)?;
    }
    writer.into_inner()?.flush()?;
    Ok(())
}
