//! Delay statistics of flights by row ranges, in a pool of processes.
//!
//! ```text
//! cargo run --release --example pool -- [REPEAT]
//! cargo run --release --example pool --features indicatif -- 20    # with a bar
//! ```
//!
//! The program publishes the frame once. Each task receives a range of its rows, as a handle of a hundred bytes, and
//! returns a few numbers. `examples/flights.rs` does the same by hand, with processes and pipes.

use std::{collections::BTreeMap, error::Error, fs::File, time::Instant};

use coframe::{Frame, Pool, Store, polars::prelude::*};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/flights.parquet");

/// For each carrier, the flights with a known delay and the sum of their delays in minutes.
type Delays = Vec<(String, i64, i64)>;

/// The task: statistics of some rows.
fn delays(part: Frame) -> Result<Delays, Box<dyn Error + Send + Sync>> {
    let delay = || col("dep_delay").cast(DataType::Int64);
    let grouped = part.to_polars()?.lazy().group_by([col("carrier").cast(DataType::String)]);
    let known = delay().count().cast(DataType::Int64).alias("known");
    let df = grouped.agg([known, delay().sum().alias("sum")]).collect()?;
    let (carriers, known, sums) = (df.column("carrier")?.str()?, df.column("known")?.i64()?, df.column("sum")?.i64()?);
    let rows = carriers.iter().zip(known.iter()).zip(sums.iter());
    Ok(rows.map(|((name, known), sum)| (name.unwrap_or("?").into(), known.unwrap_or(0), sum.unwrap_or(0))).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    coframe::pool::init(); // first line: this process may be a worker

    let repeat: usize = std::env::args().nth(1).map_or(Ok(1), |argument| argument.parse())?;
    let one = ParquetReader::new(File::open(DATA)?).finish()?;
    let mut flights = one.clone();
    for _ in 1..repeat {
        flights.vstack_mut(&one)?;
    }
    flights.rechunk_mut();

    let session = Store::open_default()?.session()?;
    let frame = session.store().publish("flights", &flights)?;
    let builder = Pool::builder();
    #[cfg(feature = "indicatif")]
    let builder = builder.progress_bar();
    #[cfg(not(feature = "indicatif"))]
    let builder =
        builder.on_progress(|progress| eprint!("\r{} of {} parts", progress.done, progress.total.unwrap_or(0)));
    let pool = builder.build()?;

    let start = Instant::now();
    let parts = pool.try_map_rows(delays, &frame, 4 * pool.worker_ids().len())?;
    let took = start.elapsed();

    let mut carriers: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (carrier, known, sum) in parts.into_iter().flatten() {
        let entry = carriers.entry(carrier).or_default();
        *entry = (entry.0 + known, entry.1 + sum);
    }
    eprintln!();
    let workers = pool.worker_ids().len();
    println!("{} flights in {workers} workers: {:.1} ms", frame.num_rows(), took.as_secs_f64() * 1e3);
    for (carrier, (known, sum)) in carriers {
        println!("{carrier}: {:5.1} min late on average over {known} flights", sum as f64 / known as f64);
    }
    Ok(())
}
