//! Processes keep accounts in one dict: each transfer is atomic, even if a process is killed during one.
//!
//! ```text
//! cargo run --example map
//! ```

use std::{error::Error, time::Duration};

use coframe::{Pool, SharedMap, Store};

type Accounts = SharedMap<String, i64>;

const NAMES: [&str; 5] = ["Amsterdam", "Berlin", "Cairo", "Delhi", "Essen"];

/// Moves money between accounts, each time in one transaction.
fn transfer((worker, accounts): (usize, Accounts)) -> coframe::Result<usize> {
    for i in 0..5_000 {
        let (from, to) = (NAMES[(i * 7 + worker) % 5], NAMES[(i * 3 + 1) % 5]);
        accounts.transaction(|t| {
            let amount = t.get(from)?.unwrap_or(0).min(10);
            t.insert(from, &(t.get(from)?.unwrap_or(0) - amount))?;
            if worker == 3 && i == 2_500 {
                std::process::abort(); // the money has left one account and not reached the other
            }
            t.insert(to, &(t.get(to)?.unwrap_or(0) + amount))?;
            Ok::<_, coframe::Error>(())
        })?;
    }
    Ok(worker)
}

fn main() -> Result<(), Box<dyn Error>> {
    coframe::pool::init(); // first line: this process may be a worker

    let session = Store::open_default()?.session()?;
    let accounts: Accounts = SharedMap::create(session.store(), "accounts")?;
    accounts.transaction(|t| NAMES.iter().try_for_each(|name| t.insert(*name, &1_000).map(drop)))?;

    let pool = Pool::builder().workers(4).task_timeout(Duration::from_mins(1)).build()?;
    let calls: Vec<_> = (0..4).map(|worker| pool.try_submit(transfer, &(worker, accounts.clone()))).collect();
    // A snapshot is one consistent state while others write, so its sum never changes.
    for _ in 0..3 {
        let snapshot = accounts.snapshot()?;
        let sum = snapshot.iter()?.try_fold(0, |sum, entry| Ok::<_, coframe::Error>(sum + entry?.1))?;
        println!("meanwhile {sum} in total, {} in Cairo", snapshot.get("Cairo")?.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    for call in calls {
        match call?.wait() {
            Ok(worker) => println!("worker {worker} is done"),
            Err(error) => println!("{error}"),
        }
    }
    let range = accounts.range("C".to_owned()..)?.collect::<coframe::Result<Vec<_>>>()?;
    println!("from C: {range:?}");
    let sum: i64 = accounts.iter()?.map(|entry| entry.map(|(_, amount)| amount)).sum::<coframe::Result<i64>>()?;
    println!("at the end {sum} in total");
    Ok(())
}
