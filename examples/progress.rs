//! Workers report their progress through shared numbers, and their parent draws it.
//!
//! ```text
//! cargo run --example progress
//! ```

use std::{error::Error, io::Write, time::Duration};

use coframe::{Pool, Store, sync::AtomicArray};

const PARTS: usize = 6;

/// Works through some steps, and reports each by a store to shared memory instead of a message.
fn work((part, done): (usize, AtomicArray<f32>)) {
    for step in 1..=100 {
        std::thread::sleep(Duration::from_millis(5 + 7 * part as u64 % 11));
        done.set(part, step as f32 / 100.0);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    coframe::pool::init(); // first line: this process may be a worker

    let session = Store::open_default()?.session()?;
    let done: AtomicArray<f32> = AtomicArray::create(session.store(), "done", PARTS)?;
    let pool = Pool::builder().build()?;
    let mut tasks = Vec::new();
    for part in 0..PARTS {
        tasks.push(pool.submit(work, &(part, done.clone()))?);
    }
    loop {
        let parts = done.to_vec();
        let bars = parts.iter().map(|done| format!("[{:<10}]", "#".repeat((done * 10.0) as usize)));
        print!("\r{}", bars.collect::<Vec<_>>().join(" "));
        std::io::stdout().flush()?;
        if parts.iter().all(|done| *done >= 1.0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!();
    tasks.into_iter().try_for_each(coframe::pool::Task::wait)?;
    Ok(())
}
