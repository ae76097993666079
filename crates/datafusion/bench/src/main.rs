//! The 22 queries of TPC-H on frames, on `MemTable`, on Parquet and on Arrow files, in one run.
//!
//! ```text
//! cargo run --release -p coframe-datafusion-bench -- [SCALE] [RUNS] [setup|times|memory|QUERY]
//! ```
//!
//! All four hold the same rows, in memory: the files are in /dev/shm. Every query runs once to warm up, and its results are
//! compared; then RUNS times (5) in turn on each of the four. Also measured: planning and opening a scan of 24
//! columns, and which queries run in 64 MB. A third argument measures one of these only, or shows the plans of one query.

mod memory;
mod setup;
mod sources;
#[path = "../../tests/it/tpch.rs"]
mod tpch;

use std::{error::Error, time::Instant};

use arrow::array::{AsArray, RecordBatch};
use datafusion::prelude::SessionContext;

use crate::sources::{SOURCES, Sources};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let scale: f64 = arguments.next().map_or(Ok(1.0), |scale| scale.parse())?;
    let runs: usize = arguments.next().map_or(Ok(5), |runs| runs.parse())?;
    let only = arguments.next();
    let measures = |what: &str| only.as_deref().is_none_or(|only| only == what);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if measures("setup") {
            setup::measure().await?;
        }
        if only.as_deref() == Some("setup") {
            return Ok(());
        }
        let sources = Sources::new(scale).await?;
        let contexts = sources.contexts(None).await?;
        if measures("times") {
            compare(&contexts, runs).await?;
        }
        if measures("memory") {
            memory::compare(&sources).await?;
        }
        match only.as_deref().and_then(|only| only.parse::<usize>().ok()) {
            Some(query) => explain(&contexts, query).await,
            None => Ok(()),
        }
    })
}

/// Prints the plan of a query on each source, with what its operators did.
async fn explain(contexts: &[SessionContext], query: usize) -> Result<(), Box<dyn Error>> {
    let query = query.checked_sub(1).and_then(|at| tpch::queries().get(at).copied()).ok_or("queries are 1 to 22")?;
    for (context, source) in contexts.iter().zip(SOURCES) {
        println!("\n{source}");
        for batch in context.sql(&format!("EXPLAIN ANALYZE {query}")).await?.collect().await? {
            let plans = batch.column(1).as_string_opt::<i32>().ok_or("a plan of text")?;
            plans.iter().flatten().for_each(|plan| println!("{plan}"));
        }
    }
    Ok(())
}

/// Runs all queries in turn on each source, and prints medians and ratios.
async fn compare(contexts: &[SessionContext], runs: usize) -> Result<(), Box<dyn Error>> {
    println!("\nTPC-H, medians of {runs} runs in ms, {} threads", std::thread::available_parallelism()?);
    println!("{:>5} {}", "query", SOURCES.map(|source| format!("{source:>10}")).join(" "));
    let mut logarithms = [0.0; SOURCES.len()];
    let mut totals = [0.0; SOURCES.len()];
    let queries = tpch::queries();
    for (at, query) in queries.iter().enumerate() {
        let mut expected: Option<String> = None;
        for (context, source) in contexts.iter().zip(SOURCES) {
            let found = shown(&context.sql(query).await?.collect().await?)?;
            if expected.get_or_insert_with(|| found.clone()) != &found {
                return Err(format!("query {} on {source} has another result", at + 1).into());
            }
        }
        let mut times = [const { Vec::new() }; SOURCES.len()];
        for _ in 0..runs {
            for (context, times) in contexts.iter().zip(&mut times) {
                let start = Instant::now();
                context.sql(query).await?.collect().await?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        let medians = times.map(median);
        println!("{:>5} {}", at + 1, medians.map(|time| format!("{time:>10.1}")).join(" "));
        for ((time, logarithm), total) in medians.iter().zip(&mut logarithms).zip(&mut totals) {
            *logarithm += (time / medians[0]).ln() / queries.len() as f64;
            *total += time;
        }
    }
    println!("{:>5} {}", "sum", totals.map(|time| format!("{time:>10.1}")).join(" "));
    println!("{:>5} {}", "mean", logarithms.map(|mean| format!("{:>9.3}x", mean.exp())).join(" "));
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Rows as text. Strings are compared as such, whether the source reads them as views or not.
fn shown(batches: &[RecordBatch]) -> Result<String, Box<dyn Error>> {
    let table = arrow::util::pretty::pretty_format_batches(batches)?.to_string();
    Ok(table.lines().filter(|line| !line.starts_with('+')).collect::<Vec<_>>().join("\n"))
}
