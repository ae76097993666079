//! Delay statistics of 336 776 flights, computed by several processes on one shared frame.
//!
//! ```text
//! cargo run --release --example flights -- [--workers N] [--repeat K]
//! ```
//!
//! The parent publishes the table once and passes each worker a handle of a range of rows as an argument. For
//! comparison, it then sends each worker a copy of those rows through a pipe. `--repeat 50` makes the table 1.2 GB.

use std::{
    error::Error,
    io::{BufRead, BufReader, Cursor, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use coframe::{Frame, Handle, Store, polars::prelude::*};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/flights.parquet");

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["worker", "shared", handle] => shared_worker(handle),
        ["worker", "copy"] => copy_worker(),
        options => parent(options),
    }
}

fn option(options: &[&str], name: &str) -> Result<Option<usize>> {
    let Some(position) = options.iter().position(|option| *option == name) else { return Ok(None) };
    let value = options.get(position + 1).ok_or_else(|| format!("{name} needs a number, as in `{name} 2`"))?;
    match value.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("{name} needs a number above 0, found `{value}`").into()),
    }
}

fn parent(options: &[&str]) -> Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    let workers = option(options, "--workers")?.unwrap_or(cpus);
    let repeat = option(options, "--repeat")?.unwrap_or(1);

    let one = ParquetReader::new(std::fs::File::open(DATA)?).finish()?;
    let mut flights = one.clone();
    for _ in 1..repeat {
        flights.vstack_mut(&one)?;
    }
    flights.rechunk_mut();
    println!("{} flights, {} columns, {workers} workers\n", flights.height(), flights.width());

    let session = Store::open_default()?.session()?;
    let start = Instant::now();
    let frame = session.store().publish("flights", &flights)?;
    let published = start.elapsed();
    let megabytes = frame.size_bytes() as f64 / 1e6;
    println!(
        "published {megabytes:.1} MB once in {:.1} ms: {:.2} GB/s",
        ms(published),
        megabytes / 1e3 / published.as_secs_f64()
    );

    let shared = run_shared(&frame, workers)?;
    let copied = run_copies(&flights, workers)?;

    println!("\n{:34} {:>12} {:>12}", "", "shared frame", "own copies");
    let row = |what: &str, shared: f64, copied: f64, unit: &str| {
        println!("{what:34} {shared:>9.1} {unit:2} {copied:>9.1} {unit:2}   {:>6.1}x", copied / shared);
    };
    row("time to hand over the data", ms(shared.handed_over), ms(copied.handed_over), "ms");
    row("time of the whole job", ms(shared.whole), ms(copied.whole), "ms");
    row("memory of all workers (PSS)", shared.pss as f64 / 1e6, copied.pss as f64 / 1e6, "MB");
    println!(
        "{:34} {:>9.2} x  {:>9.2} x",
        "  against the frame's size",
        shared.pss as f64 / 1e6 / megabytes,
        copied.pss as f64 / 1e6 / megabytes
    );
    let opens: Vec<String> = shared.opened.iter().map(|us| format!("{us:.0}")).collect();
    println!("workers opened their part in {} us", opens.join(", "));

    let expected = finish(statistics(flights.clone())?)?;
    for (what, job) in [("shared frame", &shared), ("own copies", &copied)] {
        let found = merge(&job.parts)?;
        if !found.equals_missing(&expected) {
            return Err(format!("the workers with {what} computed {found}; one process computed {expected}").into());
        }
    }
    println!("\nboth agree with one process:\n{}", expected.head(Some(5)));
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Times, memory and results of a job with several workers.
struct Job {
    handed_over: Duration,
    whole: Duration,
    pss: u64,
    opened: Vec<f64>,
    parts: Vec<DataFrame>,
}

fn run_shared(frame: &Frame, workers: usize) -> Result<Job> {
    let start = Instant::now();
    let handles = frame.split(workers).iter().map(|part| part.handle().to_string()).collect::<Vec<_>>();
    let mut children = Vec::new();
    for handle in &handles {
        children.push(Worker::start(&["worker", "shared", handle])?);
    }
    finish_job(start, children)
}

fn run_copies(flights: &DataFrame, workers: usize) -> Result<Job> {
    let start = Instant::now();
    let (each, rest) = (flights.height() / workers, flights.height() % workers);
    let mut children = Vec::new();
    let mut row = 0;
    for i in 0..workers {
        let rows = each + usize::from(i < rest);
        let mut part = flights.slice(row as i64, rows);
        row += rows;
        let mut bytes = Vec::new();
        IpcWriter::new(&mut bytes).with_compat_level(CompatLevel::newest()).finish(&mut part)?;
        let mut worker = Worker::start(&["worker", "copy"])?;
        worker.input.write_all(&u64::try_from(bytes.len())?.to_le_bytes())?;
        worker.input.write_all(&bytes)?;
        children.push(worker);
    }
    finish_job(start, children)
}

fn finish_job(start: Instant, mut workers: Vec<Worker>) -> Result<Job> {
    let mut job =
        Job { handed_over: Duration::ZERO, whole: Duration::ZERO, pss: 0, opened: Vec::new(), parts: Vec::new() };
    let mut handed_over = Duration::ZERO;
    for worker in &mut workers {
        job.opened.push(worker.line()?.parse()?);
        handed_over = handed_over.max(start.elapsed());
    }
    for worker in &mut workers {
        let lines: usize = worker.line()?.parse()?;
        let mut rows = Vec::new();
        for _ in 0..lines {
            rows.push(worker.line()?);
        }
        job.parts.push(part_of(&rows)?);
    }
    (job.handed_over, job.whole) = (handed_over, start.elapsed());
    // All workers still have their rows in memory.
    job.pss = workers.iter().map(|worker| pss(worker.child.id())).sum();
    for worker in workers {
        worker.end()?;
    }
    Ok(job)
}

/// A worker process: the same program with other arguments.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).env("POLARS_MAX_THREADS", "1");
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("a worker has no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("a worker has no output")?);
        Ok(Self { child, input, output })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("worker {} ended early", self.child.id()).into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn end(mut self) -> Result<()> {
        drop(self.input);
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a worker failed: {status}").into()) }
    }
}

/// A process's share of its resident pages, in bytes.
fn pss(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib =
        rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn shared_worker(handle: &str) -> Result<()> {
    let start = Instant::now();
    let frame = handle.parse::<Handle>()?.open()?;
    let part = frame.to_polars()?;
    answer(start.elapsed(), part)
}

fn copy_worker() -> Result<()> {
    let start = Instant::now();
    let mut len = [0; 8];
    let mut input = std::io::stdin().lock();
    std::io::Read::read_exact(&mut input, &mut len)?;
    let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(len))?];
    std::io::Read::read_exact(&mut input, &mut bytes)?;
    drop(input);
    answer(start.elapsed(), IpcReader::new(Cursor::new(bytes)).finish()?)
}

/// Prints the time of opening and the statistics, and keeps the rows until the parent has measured the memory.
fn answer(opened: Duration, part: DataFrame) -> Result<()> {
    println!("{:.1}", opened.as_secs_f64() * 1e6);
    let statistics = statistics(part.clone())?;
    println!("{}", statistics.height());
    let columns = statistics.columns();
    for row in 0..statistics.height() {
        let values = columns.iter().map(|column| column.get(row).map(|value| value.str_value().into_owned()));
        println!("{}", values.collect::<PolarsResult<Vec<_>>>()?.join(" "));
    }
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    drop(part);
    Ok(())
}

fn part_of(rows: &[String]) -> Result<DataFrame> {
    let mut carriers = Vec::new();
    let mut numbers = vec![Vec::new(); 4];
    for row in rows {
        let mut words = row.split(' ');
        carriers.push(words.next().unwrap_or_default().to_owned());
        for (column, word) in numbers.iter_mut().zip(words) {
            column.push(word.parse::<i64>()?);
        }
    }
    let [flights, known, late, worst] =
        <[Vec<i64>; 4]>::try_from(numbers).map_err(|_| "a worker sent an unexpected number of columns")?;
    Ok(df!("carrier" => carriers, "flights" => flights, "known" => known, "late" => late, "worst" => worst)?)
}

/// For each carrier: flights, flights with a known delay, sum of delays, worst delay.
fn statistics(flights: DataFrame) -> Result<DataFrame> {
    let delay = || col("dep_delay").cast(DataType::Int64);
    let grouped = flights.lazy().group_by([col("carrier")]).agg([
        len().cast(DataType::Int64).alias("flights"),
        delay().count().cast(DataType::Int64).alias("known"),
        delay().sum().alias("late"),
        delay().max().fill_null(lit(i64::MIN)).alias("worst"),
    ]);
    Ok(grouped.collect()?)
}

fn merge(parts: &[DataFrame]) -> Result<DataFrame> {
    let all = parts.iter().map(|part| part.clone().lazy()).collect::<Vec<_>>();
    let merged = concat(all, UnionArgs::default())?.group_by([col("carrier")]).agg([
        col("flights").sum(),
        col("known").sum(),
        col("late").sum(),
        col("worst").max(),
    ]);
    finish(merged.collect()?)
}

/// Adds the mean delay and sorts by carrier.
fn finish(statistics: DataFrame) -> Result<DataFrame> {
    let mean = (col("late").cast(DataType::Float64) / col("known").cast(DataType::Float64)).alias("mean delay (min)");
    let order = SortMultipleOptions::default();
    Ok(statistics.lazy().with_column(mean).sort(["carrier"], order).collect()?)
}
