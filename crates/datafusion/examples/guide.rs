//! The code of docs/DATAFUSION.md.
//!
//! ```text
//! coframe publish testdata/flights.parquet --statistics
//! cd crates/datafusion && cargo run --release --example guide
//! ```

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // guide
    use std::sync::Arc;

    use coframe::Store;
    use coframe_datafusion::StoreCatalog;
    use datafusion::prelude::{SessionConfig, SessionContext};

    let store = Store::open_default()?;
    let config = SessionConfig::new().with_default_catalog_and_schema("coframe", "public");
    let context = SessionContext::new_with_config(config.with_create_default_catalog_and_schema(false));
    context.register_catalog("coframe", Arc::new(StoreCatalog::new(store)));
    context.sql("SELECT carrier, avg(dep_delay) FROM flights GROUP BY carrier").await?.show().await?;
    // end
    Ok(())
}
