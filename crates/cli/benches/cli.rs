//! The command on large input: `cargo bench --bench cli`. Needs 5 GB in /dev/shm.
//!
//! Prints medians with their range, and the peak of resident memory while a gigabyte is published.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use coframe::{PublishOptions, Store, polars::prelude::*};

/// Copies of the flights that make a gigabyte in the store.
const COPIES: usize = 45;
const RUNS: usize = 15;

fn main() {
    let directory = tempfile::Builder::new().prefix("coframe-bench-").tempdir_in("/dev/shm").unwrap();
    let store = directory.path().join("store");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/flights.parquet");
    let file = file.to_str().unwrap().to_owned();
    println!("{:44} {:>12} {:>16}", "", "", "peak beyond");

    let files = vec![file.as_str(); COPIES];
    publish("publish 45 Parquet files as one frame", &store, &files);
    let whole = directory.path().join("whole.parquet");
    let whole = whole.to_str().unwrap();
    run(&store, &["export", "big", whole]);
    publish("publish them as one Parquet file", &store, &[whole]);
    for (format, what) in
        [("csv", "publish 6 columns of them as CSV"), ("ndjson", "publish 6 columns of them as NDJSON")]
    {
        run(&store, &["publish", whole, "--name", "big"]);
        let text = directory.path().join("whole").with_extension(format);
        let text = text.to_str().unwrap();
        run(&store, &["export", "big", text, "--columns", "carrier,tailnum,dep_delay,distance,date,air_time"]);
        publish(what, &store, &[text]);
        fs::remove_file(text).unwrap();
    }

    run(&store, &["publish", whole, "--name", "big"]);
    fs::remove_file(whole).unwrap();
    let bytes = Store::open_at(&store).unwrap().open("big").unwrap().size_bytes();
    println!("\n{:44} {:>12} {:>16}", "", "median", "least..most");
    let empty = directory.path().join("empty");
    drop(Store::open_at(&empty).unwrap());
    times("start, and nothing else: --version", &empty, &["--version"]);
    times("ls of an empty store", &empty, &["ls"]);
    times(&format!("head of {:.2} GB", bytes as f64 / 1e9), &store, &["head", "big"]);
    times("tail of the same", &store, &["tail", "big"]);
    times("show of the same", &store, &["show", "big"]);
    times(
        "sql: count by carrier over the same",
        &store,
        &["sql", "select carrier, count(*) from big group by carrier"],
    );
    let many = directory.path().join("many");
    thousand(&many);
    times("ls of 1 000 frames", &many, &["ls"]);
}

fn command(store: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coframe"));
    command.args(args).env("COFRAME_STORE", store).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn run(store: &Path, args: &[&str]) {
    assert!(command(store, args).status().unwrap().success(), "{args:?}");
}

/// A thousand frames of twenty columns, as in a store of partitioned tables.
fn thousand(path: &Path) {
    let store = Store::open_at(path).unwrap();
    let columns = (0..20).map(|n| Column::new(format!("column_{n}").into(), [n, n + 1, n + 2])).collect();
    let df = DataFrame::new(3, columns).unwrap();
    for n in 0..1000 {
        store.publish_with(format!("frame-{n:04}"), &df, &PublishOptions::new()).unwrap();
    }
}

fn publish(what: &str, store: &Path, files: &[&str]) {
    let begun = Instant::now();
    let args = [&["publish", "--name", "big"], files].concat();
    let mut child = command(store, &args).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    // The kernel keeps the peak; it has only to be read before the process is gone.
    while child.try_wait().unwrap().is_none() {
        peak = kib(&status, "VmHWM:").unwrap_or(0).saturating_sub(kib(&status, "RssShmem:").unwrap_or(0)).max(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    let (seconds, bytes) =
        (begun.elapsed().as_secs_f64(), Store::open_at(store).unwrap().open("big").unwrap().size_bytes());
    let rate = bytes as f64 / 1e9 / seconds;
    println!(
        "{what:44} {:>9.2} GB {:>13.1} MB   {seconds:.2} s, {rate:.2} GB/s",
        bytes as f64 / 1e9,
        peak as f64 * 1.024e-3
    );
}

fn kib(status: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn times(what: &str, store: &Path, args: &[&str]) {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run(store, args);
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let range = format!("{:.1}..{:.1}", times[0], times[RUNS - 1]);
    println!("{what:44} {:>9.1} ms {range:>16}", times[RUNS / 2]);
}
