//! SQL on the flights that left New York City in 2013, and on their planes, in shared memory.
//!
//! ```text
//! coframe publish testdata/flights.parquet --statistics
//! coframe publish testdata/planes.parquet --statistics
//! cd crates/datafusion && cargo run --release --example flights
//! ```

use std::{error::Error, sync::Arc};

use coframe::Store;
use coframe_datafusion::{StoreCatalog, publish};
use datafusion::prelude::{SessionConfig, SessionContext};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::open_default()?;
    let config = SessionConfig::new().with_default_catalog_and_schema("coframe", "public");
    let context = SessionContext::new_with_config(config.with_create_default_catalog_and_schema(false));
    context.register_catalog("coframe", Arc::new(StoreCatalog::new(store.clone())));

    // Answered from the footer.
    context
        .sql("SELECT count(*) AS flights, min(month) AS first, max(month) AS last FROM flights")
        .await?
        .show()
        .await?;

    let makers = "SELECT p.manufacturer, count(*) AS flights, avg(f.arr_delay) AS delay
                  FROM flights f JOIN planes p ON f.tailnum = p.tailnum
                  GROUP BY p.manufacturer ORDER BY flights DESC, p.manufacturer LIMIT 5";
    context.sql(makers).await?.show().await?;

    // A result that every process of this user can open, marked as sorted.
    let days = "SELECT time_hour, count(*) AS flights, avg(dep_delay) AS delay FROM flights GROUP BY time_hour ORDER BY time_hour";
    let options = coframe::PublishOptions::new().statistics(true).batch_rows(512).sorted("time_hour", false);
    let frame = publish(context.sql(days).await?, &store, "hours", &options).await?;
    println!("published `{}@{}`: {} hours", frame.name(), frame.version(), frame.num_rows());

    // It needs no sort, and a filter on its order reads few of its batches.
    let june = "EXPLAIN ANALYZE SELECT * FROM hours WHERE time_hour >= '2013-06-01' AND time_hour < '2013-06-08' ORDER BY time_hour";
    context.sql(june).await?.show().await?;
    store.remove("hours")?;
    Ok(())
}
