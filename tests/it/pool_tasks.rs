//! Single tasks of a pool: many of them, awaited, interrupted.

use std::time::{Duration, Instant};

use crate::{common::scratch, pool::builder};

fn same(x: u32) -> u32 {
    x
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn a_submit_takes_no_longer_behind_many_tasks_than_behind_few() {
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let _busy = pool.submit(sleep, &600_000).unwrap();
    let mut tasks = Vec::new();
    let mut submit = |count: u32| {
        let start = Instant::now();
        tasks.extend((0..count).map(|i| pool.submit(same, &i).unwrap()));
        start.elapsed()
    };
    submit(100);
    // 20 times as many take 20 times as long, and 400 times where each looks through those before it.
    let (few, many) = (submit(2_000), submit(40_000));
    assert!(many < few * 100, "{few:?} for 2 000 tasks, {many:?} for 40 000");
}
