//! Compares `store.open(name)?.to_polars()?` with Polars' memory map and with arrow-rs.
//!
//! ```text
//! cargo bench --bench open
//! ```

mod common;

use std::{fs::File, hint::black_box, path::Path, process::Command};

use coframe::{CopyPolicy, OpenOptions, Store, arrow::ipc::reader::FileReader, polars::prelude::*};
use common::{median, mixed, scratch, us, verdict};
use memmap2::Mmap;

fn main() {
    // The process that creates the data has the categories already, so each measurement runs in a new process.
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, store, name] = arguments.as_slice() {
        return print!("{}", measure(role, Path::new(store), name));
    }
    let (store, directory) = scratch();
    for rows in [1_000, 5_000_000, 10_000_000] {
        let df = mixed(rows);
        let frame = store.publish(format!("mixed-{rows}"), &df).expect("publish");
        println!("{rows} rows: {} columns, {:.0} MB", frame.num_columns(), frame.size_bytes() as f64 / 1e6);
        if rows == 5_000_000 {
            // Without 128-bit integers, which arrow-rs cannot read from a file by Polars.
            let mut plain = df.drop("i128").expect("a column");
            let file = File::create(directory.path().join("peer.arrow")).expect("a file");
            IpcWriter::new(file).with_compat_level(CompatLevel::newest()).finish(&mut plain).expect("a file");
        }
    }
    let run = |role: &str, name: &str| -> f64 {
        let this = std::env::current_exe().expect("this program");
        let output = Command::new(this).arg(role).arg(store.path()).arg(name).output().expect("a process");
        assert!(output.status.success(), "{role} failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().parse().expect("a number")
    };
    // Alternates and takes the best median of each, because on a shared machine a median can double within a second.
    let (mut small, mut large) = (f64::INFINITY, f64::INFINITY);
    let (mut small_map, mut large_map) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..7 {
        small = small.min(run("coframe", "mixed-1000"));
        large = large.min(run("coframe", "mixed-10000000"));
        small_map = small_map.min(run("map", "mixed-1000"));
        large_map = large_map.min(run("map", "mixed-10000000"));
    }
    println!("open + to_polars: {small:.1} us at 1 000 rows, {large:.1} us at 10 000 000 rows");
    println!("  of which open: {:.1} us", run("open", "mixed-10000000"));
    println!("a new map of the file and four of its pages: {small_map:.1} and {large_map:.1} us");
    verdict("24 columns at 10 million rows", large, " us", "at most 60 us", large <= 60.0);
    verdict("10 million rows against 1 000", large / small, "x", "at most 1.3x", large / small <= 1.3);

    let ours = run("coframe", "mixed-5000000");
    let polars = run("polars", "mixed-5000000");
    let arrow = run("arrow", "mixed-5000000");
    println!(
        "5 000 000 rows: coframe {ours:.1} us, Polars memory_mapped {polars:.1} us, arrow-rs FileReader {arrow:.1} us"
    );
    verdict("Polars memory_mapped against coframe", polars / ours, "x", "at least 100x", polars / ours >= 100.0);
    verdict("arrow-rs FileReader against coframe", arrow / ours, "x", "ahead", arrow / ours > 1.0);
}

/// Microseconds that one way to open takes, in a process without categories.
fn measure(role: &str, path: &Path, name: &str) -> f64 {
    let store = Store::open_at(path).expect("the store");
    let peer = path.with_file_name("peer.arrow");
    let options = OpenOptions::new().copies(CopyPolicy::Never);
    let time = match role {
        "coframe" => median(2001, || store.open_with(name, &options).expect("open").to_polars().expect("polars")),
        "map" => {
            let file = File::open(path.join(format!("{name}.arrow"))).expect("the file");
            median(2001, || touch_four_pages(&file))
        }
        "open" => median(2001, || store.open(name).expect("open")),
        "polars" => median(11, || {
            let reader = IpcReader::new(File::open(&peer).expect("the file"));
            // SAFETY: Polars wrote the file, and no process changes it while this runs.
            unsafe { reader.memory_mapped(Some(peer.clone())) }.finish().expect("a frame")
        }),
        _ => median(5, || {
            let reader = FileReader::try_new(File::open(path.join(format!("{name}.arrow"))).expect("the file"), None);
            reader.expect("a reader").collect::<Result<Vec<_>, _>>().expect("batches")
        }),
    };
    us(time)
}

/// Maps a file and reads a byte at its start, at its end and at two places in between, as an open does.
fn touch_four_pages(file: &File) -> Mmap {
    // SAFETY: the store keeps its files as they are.
    let map = unsafe { Mmap::map(file) }.expect("a map");
    for place in [0, map.len() / 3, map.len() / 3 * 2, map.len() - 1] {
        black_box(map[place]);
    }
    map
}
