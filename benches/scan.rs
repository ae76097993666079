//! Compares computations on a mapped frame and on the heap after the first touch, and the memory that engines account.
//!
//! ```text
//! cargo bench --bench scan
//! ```

mod common;

use std::time::Instant;

use coframe::polars::prelude::*;
use common::{mixed, scratch, verdict};

/// A computation on a frame.
type Job = fn(&DataFrame) -> DataFrame;

fn main() {
    let (store, _directory) = scratch();
    let df = mixed(4_000_000);
    let frame = store.publish("frame", &df).expect("publish");
    let mapped = frame.to_polars().expect("polars");
    println!("{} rows, {:.0} MB", df.height(), frame.size_bytes() as f64 / 1e6);

    let jobs: [(&str, Job); 2] = [("sum", sum), ("group-by", group_by)];
    for (what, job) in jobs {
        let (mut on_map, mut on_heap) = (Vec::new(), Vec::new());
        for round in 0..12 {
            for (frame, times) in [(&mapped, &mut on_map), (&df, &mut on_heap)] {
                let start = Instant::now();
                let result = job(frame);
                let time = start.elapsed().as_secs_f64();
                assert!(result.height() > 0);
                // The first run maps the pages and is not measured.
                if round > 0 {
                    times.push(time);
                }
            }
        }
        on_map.sort_by(f64::total_cmp);
        on_heap.sort_by(f64::total_cmp);
        let ratio = on_map[on_map.len() / 2] / on_heap[on_heap.len() / 2];
        println!(
            "{what}: {:.1} ms mapped, {:.1} ms on the heap",
            on_map[on_map.len() / 2] * 1e3,
            on_heap[on_heap.len() / 2] * 1e3
        );
        verdict(&format!("{what} on the map against the heap"), ratio, "x", "at most 1.1x", ratio <= 1.1);
    }

    let columns = || frame.batches().iter().flat_map(coframe::arrow::array::RecordBatch::columns);
    for (what, weight) in [
        ("get_array_memory_size", columns().map(coframe::arrow::array::Array::get_array_memory_size).sum::<usize>()),
        ("get_buffer_memory_size", columns().map(coframe::arrow::array::Array::get_buffer_memory_size).sum()),
    ] {
        let ratio = weight as f64 / frame.size_bytes() as f64;
        verdict(&format!("{what} against the frame's bytes"), ratio, "x", "at most 1.05x", ratio <= 1.05);
    }
}

fn sum(df: &DataFrame) -> DataFrame {
    let numbers = ["i32", "i64", "u64", "f32", "f64"].map(|name| col(name).sum());
    df.clone().lazy().select(numbers).collect().expect("sums")
}

fn group_by(df: &DataFrame) -> DataFrame {
    let grouped = df.clone().lazy().group_by([col("categorical")]).agg([col("f64").mean(), col("i64").max(), len()]);
    grouped.collect().expect("groups")
}
