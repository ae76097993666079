//! What the caller sees of a task that kills its worker, one that panics and one that hangs.
//!
//! ```text
//! cargo run --example crash
//! ```

use std::{error::Error, time::Duration};

use coframe::Pool;

/// Squares a number, and fails on some.
fn square(x: u64) -> Result<u64, String> {
    match x {
        3 => std::process::abort(),
        5 => panic!("five is right out"),
        7 => {
            std::thread::sleep(Duration::from_mins(1));
            Ok(49)
        }
        8 => Err("eight is not allowed".into()),
        x => Ok(x * x),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    coframe::pool::init(); // first line: this process may be a worker

    let pool = Pool::builder().workers(2).task_timeout(Duration::from_secs(1)).build()?;
    println!("workers: {:?}", pool.worker_ids());
    for (x, result) in pool.try_map_iter(square, 0..10_u64)?.enumerate() {
        match result {
            Ok(square) => println!("{x} squared is {square}"),
            Err(error) if error.is_worker_lost() => println!("{x}: lost.   {error}"),
            Err(error) if error.is_timed_out() => println!("{x}: too slow. {error}"),
            Err(error) if error.is_panic() => println!("{x}: a bug.  {error}"),
            Err(error) => println!("{x}: refused. {error:?}"),
        }
    }
    println!("workers: {:?}", pool.worker_ids());

    // `try_map` returns all results or the first error.
    let error = pool.try_map(square, [1, 8, 2]).expect_err("eight is not allowed");
    println!("\nall or nothing: {error:?} (item {:?})", error.task());
    Ok(())
}
