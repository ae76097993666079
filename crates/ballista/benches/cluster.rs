//! TPC-H on a cluster of three processes: the 22 queries at several numbers of partitions against DataFusion in one process,
//! the bytes that each placement reads locally, and q1 and q6 on frames against Parquet on the same cluster.
//!
//! `cargo bench --bench cluster -- SCALE RUNS [PART ..]`; the parts are `compare`, `locality` and `parquet`, all by default. Ends
//! with an error at the first query that has another result.

#[path = "../tests/it/cluster.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod cluster;
#[expect(dead_code, reason = "the benchmark of crates/datafusion reads the schemas")]
#[path = "../../datafusion/tests/it/tpch.rs"]
mod tpch;

use std::{error::Error, path::Path, sync::Arc, time::Instant};

use arrow::array::RecordBatch;
use coframe_datafusion::FrameTable;
use datafusion::{
    dataframe::DataFrameWriteOptions,
    datasource::MemTable,
    prelude::{SessionConfig, SessionContext},
};

use cluster::{Cluster, Setup, mirror, run, text};
use tpch::Table;

/// Rows of a batch: those of DataFusion's batches, so that none is cut.
const BATCH_ROWS: usize = 8192;
const PARTITIONS: [usize; 4] = [1, 2, 7, 16];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let scale: f64 = arguments.next().map_or(Ok(1.0), |scale| scale.parse())?;
    let runs: usize = arguments.next().map_or(Ok(5), |runs| runs.parse())?;
    let parts: Vec<String> = arguments.collect();
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let tables = tpch::tables(scale, if scale < 1.0 { 1 << 20 } else { 300 << 20 });
    println!("TPC-H at scale {scale}, a scheduler and 2 executors on {} cores", std::thread::available_parallelism()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for vcores in [1, 2].into_iter().filter(|_| wants("compare")) {
            let cluster = Cluster::start(&Setup { vcores, ..Setup::default() });
            publish(&cluster, &tables);
            compare(&cluster, vcores).await?;
        }
        for placement in ["near", "round-robin", "bias"].into_iter().filter(|_| wants("locality")) {
            let cluster = Cluster::start(&Setup { placement, ..Setup::default() });
            publish(&cluster, &tables);
            locality(&cluster, placement).await?;
        }
        if wants("parquet") {
            let cluster = Cluster::start(&Setup::default());
            publish(&cluster, &tables);
            against_parquet(&cluster, &tables, runs).await?;
        }
        Ok(())
    })
}

/// The large tables in halves, `part` and `customer` on one node each, the small ones on one with a mirror on the other.
fn publish(cluster: &Cluster, tables: &[Table]) {
    for Table { name, batches, .. } in tables {
        let half = batches.len() / 2;
        match *name {
            "lineitem" | "orders" | "partsupp" => {
                cluster.publish(0, name, &batches[..half], BATCH_ROWS);
                cluster.publish(1, name, &batches[half..], BATCH_ROWS);
            }
            "part" => cluster.publish(1, name, batches, BATCH_ROWS),
            _ => cluster.publish(0, name, batches, BATCH_ROWS),
        }
        if ["nation", "region", "supplier"].contains(name) {
            mirror(&cluster.stores[0], name, &cluster.stores[1], name);
        }
    }
}

/// The same frames in one process.
fn one_process(cluster: &Cluster) -> Result<SessionContext, Box<dyn Error>> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    for name in ["nation", "region", "part", "supplier", "partsupp", "customer", "orders", "lineitem"] {
        let frames = cluster.stores.iter().filter_map(|store| store.open(name).ok()).filter(|frame| !frame.is_mirror());
        context.register_table(name, Arc::new(FrameTable::of_frames(frames)?))?;
    }
    Ok(context)
}

async fn compare(cluster: &Cluster, vcores: usize) -> Result<(), Box<dyn Error>> {
    let one = one_process(cluster)?;
    let queries = tpch::queries();
    let mut expected = Vec::new();
    let start = Instant::now();
    for query in &queries {
        expected.push(text(&run(&one, query).await?));
    }
    println!("one process: 22 queries in {:.1} s", start.elapsed().as_secs_f64());
    for partitions in PARTITIONS {
        let context = cluster.session(Cluster::config(partitions)).await;
        let start = Instant::now();
        for (at, (query, expected)) in queries.iter().zip(&expected).enumerate() {
            if &text(&run(&context, query).await?) != expected {
                return Err(format!("q{} with {partitions} partitions has another result", at + 1).into());
            }
        }
        let took = start.elapsed().as_secs_f64();
        println!("cluster, {vcores} vcores each, {partitions} partitions: 22 equal, {took:.1} s");
    }
    Ok(())
}

async fn locality(cluster: &Cluster, placement: &str) -> Result<(), Box<dyn Error>> {
    let context = cluster.session(Cluster::config(16)).await;
    cluster.reads();
    let (mut local, mut all) = (0, 0);
    for query in tpch::queries() {
        run(&context, query).await?;
        for read in cluster.reads() {
            all += read.bytes;
            local += if read.is_local { read.bytes } else { 0 };
        }
    }
    let share = local as f64 / all as f64 * 100.0;
    println!("placement {placement}: {share:.1} % of {:.0} MB scanned were local", all as f64 / 1e6);
    Ok(())
}

async fn against_parquet(cluster: &Cluster, tables: &[Table], runs: usize) -> Result<(), Box<dyn Error>> {
    let lineitem = tables.iter().find(|table| table.name == "lineitem").ok_or("no lineitem")?;
    let path = cluster.directory.path().join("parquet").join(lineitem.name);
    write_parquet(&lineitem.batches, &path).await?;
    for partitions in PARTITIONS {
        let frames = cluster.session(Cluster::config(partitions)).await;
        let parquet = cluster.session(Cluster::config(partitions)).await;
        // The name without the suffix is that of the frames.
        let create = format!("CREATE EXTERNAL TABLE lineitem_parquet STORED AS PARQUET LOCATION '{}'", path.display());
        parquet.sql(&create).await?.collect().await?;
        for at in [0, 5] {
            let query = tpch::queries()[at];
            let queries = [(&frames, query.to_owned()), (&parquet, query.replace("lineitem", "lineitem_parquet"))];
            let [frames, parquet] = medians(&queries, runs).await?;
            println!(
                "q{}, {partitions} partitions: frames {frames:.0} ms, Parquet {parquet:.0} ms, {:.2}x, medians of {runs}",
                at + 1,
                parquet / frames
            );
        }
    }
    Ok(())
}

/// The median times of two queries in milliseconds, taken alternately.
async fn medians(queries: &[(&SessionContext, String); 2], runs: usize) -> Result<[f64; 2], Box<dyn Error>> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=runs {
        for ((context, query), times) in queries.iter().zip(&mut times) {
            let start = Instant::now();
            run(context, query).await?;
            // The first round warms the page cache.
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    Ok(times.map(median))
}

/// Two files, so that both executors have some.
async fn write_parquet(batches: &[RecordBatch], path: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(path)?;
    for (at, part) in batches.chunks(batches.len().div_ceil(2)).enumerate() {
        let rows = MemTable::try_new(part[0].schema(), vec![part.to_vec()])?;
        let file = path.join(format!("{at}.parquet"));
        let options = DataFrameWriteOptions::new().with_single_file_output(true);
        let file = file.to_str().ok_or("a path of text")?;
        SessionContext::new().read_table(Arc::new(rows))?.write_parquet(file, options, None).await?;
    }
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
