//! Measures the cost of a task and of frames in many processes.
//!
//! ```text
//! cargo bench --bench pool
//! ```

mod common;

use std::{
    fs::File,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use coframe::{Frame, Pool, Store, polars::prelude::*, pool::Builder};
use common::{scratch, us, verdict};

fn main() {
    coframe::pool::init();
    let (store, _directory) = scratch();
    overhead(&store);
    submits(&store);
    question(&store);
    memory(&store);
    constant_memory(&store);
    scaling(&store);
}

fn builder(store: &Store, workers: usize) -> Builder {
    Pool::builder().store(store).workers(workers)
}

fn nothing(_: u64) {}

/// The best time of five calls.
fn best(mut call: impl FnMut()) -> Duration {
    let time = |()| {
        let start = Instant::now();
        call();
        start.elapsed()
    };
    [(); 5].map(time).into_iter().min().unwrap_or_default()
}

const ONE_BY_ONE: u64 = 20_000;
const MANY: u64 = 1_000_000;

fn overhead(store: &Store) {
    let start = Instant::now();
    let pool = builder(store, 1).build().expect("a pool");
    verdict("start of a worker", us(start.elapsed()) / 1e3, " ms", "under 50 ms", us(start.elapsed()) < 50_000.0);
    drop(pool);

    let pool = builder(store, 1).chunk_size(1).build().expect("a pool");
    let one = us(best(|| pool.for_each(nothing, 0..ONE_BY_ONE).expect("results"))) / ONE_BY_ONE as f64;
    verdict("task without work, chunks of one", one, " us", "at most 10 us", one <= 10.0);
    let start = Instant::now();
    for i in 0..2000 {
        pool.submit(nothing, &i).and_then(coframe::pool::Task::wait).expect("a result");
    }
    println!("     the same, waiting for each before the next: {:.1} us", us(start.elapsed()) / 2000.0);

    let pool = builder(store, 1).build().expect("a pool");
    let many = us(best(|| pool.for_each(nothing, 0..MANY).expect("results"))) / MANY as f64;
    verdict("task without work, automatic chunks", many, " us", "under 1 us", many < 1.0);
    if let Some((python_one, python_many)) = python() {
        println!(
            "     Python's Pool: {python_one:.1} us ({:.1}x) and {python_many:.2} us ({:.1}x)",
            python_one / one,
            python_many / many
        );
    }
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// A submit takes the same time however many tasks wait for the worker.
fn submits(store: &Store) {
    const SUBMITS: u64 = 80_000;
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let pool = builder(store, 1).build().expect("a pool");
            let busy = pool.submit(sleep, &60_000).expect("a task");
            let start = Instant::now();
            let tasks: Vec<_> = (0..SUBMITS).map(|i| pool.submit(nothing, &i).expect("a task")).collect();
            let time = start.elapsed();
            drop((busy, tasks));
            time
        })
        .collect();
    times.sort();
    let seconds = us(times[2]) / 1e6;
    verdict("80 000 submits behind a busy worker", seconds, " s", "under 0.3 s", seconds < 0.3);
}

/// The same with Python's pool: microseconds a task, one by one and in chunks of a hundred.
fn python() -> Option<(f64, f64)> {
    let script = "
import multiprocessing as m, time
def f(x): pass
if __name__ == '__main__':
    p = m.get_context('fork').Pool(1)
    p.map(f, range(100))
    for n, c in ((20000, 1), (200000, 100)):
        t = time.perf_counter(); p.map(f, range(n), chunksize=c); print((time.perf_counter() - t) / n * 1e6)
";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.lines().filter_map(|line| line.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn slice_of((frame, task): (Frame, usize)) -> f64 {
    let df = frame.to_polars().expect("polars").slice(task as i64 * 1000, 1000);
    df.columns().iter().map(|column| column.f64().expect("floats").sum().unwrap_or(0.0)).sum()
}

fn floats() -> DataFrame {
    const ROWS: usize = 13_421_773;
    let column = |i: usize| Column::new(format!("c{i}").into(), vec![i as f64; ROWS]);
    DataFrame::new(ROWS, (0..10).map(column).collect()).expect("equal lengths")
}

fn question(store: &Store) {
    let df = floats();
    let start = Instant::now();
    let frame = store.publish("floats", &df).expect("publish");
    println!("1.07 GB published in {:.0} ms", us(start.elapsed()) / 1e3);
    drop(df);
    let pool = builder(store, 2).build().expect("a pool");
    let items = || (0..32).map(|task| (frame.clone(), task));
    let time = us(best(|| drop(pool.map(slice_of, items()).expect("results")))) / 1e3;
    verdict("32 tasks that slice 1 GB, 2 workers", time, " ms", "under 20 ms", time < 20.0);
    if let Some(python) = python_copies() {
        let ratio = python / (time / 32.0);
        println!(
            "     a task of Python's Pool.map(partial(f, bytes)) with 1.07 GB: {python:.0} ms ({ratio:.0}x of one here)"
        );
    }
}

/// Milliseconds a task in a Python pool of two processes, with 1.07 GB of bytes as an argument.
fn python_copies() -> Option<f64> {
    let script = "
import functools, multiprocessing as m, time
def f(data, i): return data[i * 1000]
if __name__ == '__main__':
    data = bytes(13421773 * 80)
    p = m.get_context('fork').Pool(2)
    p.map(int, range(4))
    t = time.perf_counter(); p.map(functools.partial(f, data), range(4), chunksize=1)
    print((time.perf_counter() - t) * 1e3 / 4)
";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

static HELD: OnceLock<(Frame, f64)> = OnceLock::new();

/// Reads the whole frame and keeps it open.
fn hold(frame: Frame) {
    let df = frame.to_polars().expect("polars");
    let total = df.columns().iter().map(|column| column.f64().expect("floats").sum().unwrap_or(0.0)).sum();
    let _ = HELD.set((frame, total));
}

/// A process's share of its resident pages, in bytes.
fn pss(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = |line: &str| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok();
    rollup.lines().find_map(kib).unwrap_or(0.0) * 1024.0
}

fn memory(store: &Store) {
    let sum = |pool: &Pool| pool.worker_ids().into_iter().map(pss).sum::<f64>();
    let bare = sum(&builder(store, 8).build().expect("a pool"));
    let frame = store.open("floats").expect("the frame");
    let pool = builder(store, 8).initializer(hold, &frame).build().expect("a pool");
    let bytes = frame.size_bytes() as f64;
    // This process has not touched the pages, so the workers' shares add up to all of them.
    let found = sum(&pool) / (bytes + bare);
    println!("8 workers: {:.0} MB bare, {:.0} MB with 1 GB each", bare / 1e6, sum(&pool) / 1e6);
    verdict("PSS of 8 workers against the frame and 8 bare ones", found, "x", "at most 1.1x", found <= 1.1);
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |line: &str| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok();
    status.lines().find_map(kib).unwrap_or(0.0) / 1024.0
}

fn constant_memory(store: &Store) {
    let pool = builder(store, 2).build().expect("a pool");
    let results = pool.map_iter(|x: u64| x + 1, 0..1_000_000_u64).expect("a call");
    let mut seen = Vec::new();
    let mut count = 0_u64;
    for result in results {
        count += result.expect("a result").min(1);
        if count.is_multiple_of(200_000) {
            seen.push(resident());
        }
    }
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    println!("{count} tasks through map_iter: {first:.1} MB resident after a fifth, {last:.1} MB at the end");
    verdict(
        "growth of memory over the last 800 000 tasks",
        last - first,
        " MB",
        "none (under 1 MB)",
        last - first < 1.0,
    );
}

fn by_carrier(part: Frame) -> Vec<(String, i64)> {
    let grouped = part.to_polars().expect("polars").lazy().group_by([col("carrier")]);
    let late = grouped.agg([col("dep_delay").cast(DataType::Int64).sum(), col("air_time").mean().alias("time")]);
    let late = late.collect().expect("statistics");
    let sums = late.column("dep_delay").expect("sums").i64().expect("integers").clone();
    let carriers = late.column("carrier").expect("carriers").cast(&DataType::String).expect("texts");
    let carriers = carriers.str().expect("texts").clone();
    carriers.iter().zip(sums.iter()).map(|(name, sum)| (name.unwrap_or("").to_owned(), sum.unwrap_or(0))).collect()
}

fn scaling(store: &Store) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/flights.parquet");
    let one = ParquetReader::new(File::open(path).expect("the data")).finish().expect("the data");
    let mut flights = one.clone();
    for _ in 1..50 {
        flights.vstack_mut(&one).expect("the same columns");
    }
    flights.rechunk_mut();
    let frame = store.publish("flights", &flights).expect("publish");
    drop(flights);
    let time = |workers: usize| {
        let pool = builder(store, workers).inner_threads(1).build().expect("a pool");
        us(best(|| drop(pool.map_rows(by_carrier, &frame, 4 * workers).expect("results")))) / 1e3
    };
    let (one, two) = (time(1), time(2));
    println!("group-by on 16.8 million flights: {one:.0} ms with 1 worker, {two:.0} ms with 2: {:.2}x", one / two);
}
