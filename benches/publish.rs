//! Compares publishing 1 GB of mixed columns with one write(2) of the same bytes and with Polars' writer.
//!
//! ```text
//! cargo bench --bench publish
//! ```

mod common;

use std::{fs::File, io::Write, time::Instant};

use coframe::polars::prelude::*;
use common::{mixed, scratch, verdict};

fn main() {
    let (store, directory) = scratch();
    let per_row = store.publish("probe", &mixed(100_000)).expect("publish").size_bytes() / 100_000;
    let df = mixed(1_000_000_000 / per_row);
    let bytes = store.publish("frame", &df).expect("publish").size_bytes();
    let same = std::fs::read(store.path().join("frame.arrow")).expect("the segment");
    assert_eq!(same.len(), bytes);
    println!("{} rows, {:.0} MB", df.height(), bytes as f64 / 1e6);

    // Interleaved, so that all three run under the same load.
    let (mut ours, mut write, mut polars) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        store.remove("frame").expect("remove");
        let start = Instant::now();
        drop(store.publish("frame", &df).expect("publish"));
        ours.push(start.elapsed().as_secs_f64());
        store.remove("frame").expect("remove");

        let path = directory.path().join("plain");
        let start = Instant::now();
        File::create(&path).and_then(|mut file| file.write_all(&same)).expect("write");
        write.push(start.elapsed().as_secs_f64());
        std::fs::remove_file(&path).expect("remove");

        let mut copy = df.clone();
        let start = Instant::now();
        let file = File::create(&path).expect("a file");
        IpcWriter::new(file).with_compat_level(CompatLevel::newest()).finish(&mut copy).expect("write");
        polars.push(start.elapsed().as_secs_f64());
        std::fs::remove_file(&path).expect("remove");
        store.publish("frame", &df.head(Some(1))).expect("publish");
    }
    let rate = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        bytes as f64 / 1e9 / times[times.len() / 2]
    };
    let (ours, write, polars) = (rate(&mut ours), rate(&mut write), rate(&mut polars));
    println!("coframe {ours:.2} GB/s, write(2) {write:.2} GB/s, Polars IpcWriter {polars:.2} GB/s");
    verdict("publish against write(2)", ours / write, "x", "at least 0.9x", ours / write >= 0.9);
    verdict("publish against Polars IpcWriter", ours / polars, "x", "at least 2.5x", ours / polars >= 2.5);
}
