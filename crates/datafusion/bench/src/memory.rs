//! Which queries run in little memory.

use std::{error::Error, sync::Arc};

use datafusion::execution::{memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder};

use crate::{
    sources::{SOURCES, Sources},
    tpch,
};

const LIMIT: usize = 64 << 20;

/// Runs all queries with a pool of 64 MB, and names those that fail.
pub(crate) async fn compare(sources: &Sources) -> Result<(), Box<dyn Error>> {
    println!("\nqueries that fail in a FairSpillPool of 64 MB");
    let pool = Arc::new(FairSpillPool::new(LIMIT));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
    for (context, source) in sources.contexts(Some(&runtime)).await?.iter().zip(SOURCES) {
        let mut failed = Vec::new();
        for (at, query) in tpch::queries().iter().enumerate() {
            if let Err(error) = context.sql(query).await?.collect().await {
                if !error.to_string().contains("Resources exhausted") && !error.to_string().contains("memory") {
                    return Err(format!("query {} on {source}: {error}", at + 1).into());
                }
                failed.push((at + 1).to_string());
            }
        }
        println!("{source:>10}: {}", if failed.is_empty() { "none".to_owned() } else { failed.join(", ") });
    }
    Ok(())
}
