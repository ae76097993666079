//! Four processes add to one total, and one of them is killed.
//!
//! ```text
//! cargo run --example counter
//! ```

use std::{error::Error, time::Duration};

use coframe::{
    Pool, Store,
    sync::{Counter, Mutex},
};

/// Counts, and updates a sum and its number of parts under a lock.
fn count((worker, total, mean): (u32, Counter, Mutex<[u64; 2]>)) -> u64 {
    let mut added = 0;
    for i in 0..100_000_u64 {
        total.add(1);
        // Two numbers that change together need a lock. The process that finds it poisoned repairs them.
        let mut sums = mean.lock_poisoned().expect("a lock");
        if sums.is_poisoned() {
            sums[1] = sums[0] / 3;
            sums.clear_poison();
        }
        sums[0] += 3;
        if worker == 3 && i == 50_000 {
            std::process::abort(); // half-way through an update
        }
        sums[1] += 1;
        added += 1;
    }
    added
}

fn main() -> Result<(), Box<dyn Error>> {
    coframe::pool::init(); // first line: this process may be a worker

    let session = Store::open_default()?.session()?;
    let total: Counter = Counter::create(session.store(), "total")?;
    let mean = Mutex::create(session.store(), "mean", [0_u64; 2])?;

    let pool = Pool::builder().workers(4).task_timeout(Duration::from_mins(1)).build()?;
    let tasks = (0..4).map(|worker| (worker, total.clone(), mean.clone()));
    for (worker, result) in pool.map_iter(count, tasks)?.enumerate() {
        match result {
            Ok(added) => println!("worker {worker} counted to {added}"),
            Err(error) => println!("worker {worker}: {error}"),
        }
    }
    let [sum, parts] = *mean.lock_poisoned()?;
    println!("total {}, sum {sum} of {parts} parts: {} each", total.get(), sum / parts);
    Ok(())
}
