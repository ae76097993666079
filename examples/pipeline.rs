//! Two steps over a frame: workers publish their results as frames, and a second map reduces them without a copy.
//!
//! ```text
//! cargo run --release --example pipeline
//! ```

use std::{error::Error, fs::File};

use coframe::{Frame, Pool, polars::prelude::*, pool::Published};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/flights.parquet");

type Failure = Box<dyn Error + Send + Sync>;

/// First step: selects the flights of a part that made up time in the air.
fn caught_up(part: Frame) -> Result<Published, Failure> {
    let made_up = (col("dep_delay") - col("arr_delay")).alias("made_up");
    let df = part.to_polars()?.lazy().with_column(made_up).filter(col("made_up").gt(lit(15))).collect()?;
    // Copies once, into shared memory; only the handle goes through the socket.
    Ok(Published::new(&df)?)
}

/// Second step: counts the flights of two results, and finds the most time that one of them made up.
fn best((left, right): (Published, Option<Published>)) -> Result<(usize, f64), Failure> {
    let (mut flights, mut most) = (0, f64::MIN);
    for part in [Some(left), right].into_iter().flatten() {
        let df = part.frame().to_polars()?;
        flights += df.height();
        most = most.max(df.column("made_up")?.cast(&DataType::Float64)?.f64()?.max().unwrap_or(f64::MIN));
    }
    Ok((flights, most))
}

fn main() -> Result<(), Box<dyn Error>> {
    coframe::pool::init(); // first line: this process may be a worker

    let flights = ParquetReader::new(File::open(DATA)?).finish()?;
    let pool = Pool::builder().build()?;
    let frame = pool.session().publish("flights", &flights)?;

    let parts = pool.try_map_rows(caught_up, &frame, 6)?;
    let bytes: usize = parts.iter().map(|part| part.frame().size_bytes()).sum();
    println!(
        "{} frames returned, {:.1} MB in total, on the bytes that the workers wrote",
        parts.len(),
        bytes as f64 / 1e6
    );

    let mut parts = parts.into_iter();
    let pairs: Vec<_> = std::iter::from_fn(|| Some((parts.next()?, parts.next()))).collect();
    let results = pool.try_map(best, pairs)?;
    let total: usize = results.iter().map(|(flights, _)| flights).sum();
    let most = results.iter().map(|(_, most)| *most).fold(f64::MIN, f64::max);
    println!("{total} of {} flights made up more than 15 minutes, and one made up {most}", frame.num_rows());
    println!("{} frames are left in the session", pool.session().list()?.len());
    Ok(())
}
