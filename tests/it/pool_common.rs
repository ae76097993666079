//! A value that all tasks of a call share.

use std::sync::atomic::{AtomicU32, Ordering};

use coframe::{Frame, polars::prelude::*};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{common::scratch, pool::builder};

fn numbers(rows: i64) -> DataFrame {
    df!("x" => (0..rows).collect::<Vec<i64>>()).unwrap()
}

static DECODED: AtomicU32 = AtomicU32::new(0);

/// Counts how often a process decodes it.
#[derive(Serialize)]
struct Model(Vec<u64>);

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        Vec::deserialize(deserializer).map(Self)
    }
}

#[test]
fn a_shared_value_is_decoded_once_in_each_worker() {
    fn add(model: &Model, x: u64) -> (u64, u32) {
        (model.0.iter().sum::<u64>() + x, DECODED.load(Ordering::Relaxed))
    }
    fn checked(model: &Model, x: u64) -> Result<u64, String> {
        if x < 5 { Ok(model.0[0] + x) } else { Err(format!("{x} is too large")) }
    }
    let scratch = scratch();
    let pool = builder(&scratch).chunk_size(3).build().unwrap();
    for call in 1..4 {
        let results = pool.map_with(add, &Model(vec![100, call]), 0..200).unwrap();
        assert!(results.iter().zip(0..).all(|((sum, _), x)| *sum == 100 + call + x));
        assert!(results.iter().all(|(_, decoded)| u64::from(*decoded) <= call), "{results:?}");
    }
    assert_eq!(pool.try_map_with(checked, &Model(vec![7]), 0..3).unwrap(), [7, 8, 9]);
    let error = pool.try_map_with(checked, &Model(vec![7]), [1, 9]).unwrap_err();
    assert_eq!((error.is_task_failure(), error.task()), (true, Some(1)));
}

#[test]
fn a_shared_frame_is_held_for_the_call_and_no_longer() {
    fn rows((frame, _): &(Frame, u8), x: usize) -> usize {
        frame.num_rows() + x
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let shared = (scratch.store.publish("x", &numbers(10)).unwrap(), 0);
    assert_eq!(pool.map_with(rows, &shared, 0..3).unwrap(), [10, 11, 12]);
    drop(shared);
    scratch.store.publish("x", &numbers(1)).unwrap();
    // The workers unmap it when they hear that the call is over.
    crate::pool_failures::wait_until("unmapped", std::time::Duration::from_secs(10), || {
        scratch.store.sweep().unwrap();
        scratch.store.versions("x").unwrap().len() == 1
    });
}

#[test]
fn a_worker_that_replaces_a_dead_one_gets_the_shared_value_too() {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "`map_with` passes a reference")]
    fn die(limit: &u64, x: u64) -> u64 {
        if x == *limit {
            std::process::abort();
        }
        limit + x
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).on_failure(coframe::pool::OnFailure::Finish).build().unwrap();
    assert!(pool.map_with(die, &2, 0..6).unwrap_err().is_worker_lost());
    let pool = builder(&scratch).workers(1).max_tasks_per_worker(2).build().unwrap();
    assert_eq!(pool.map_with(die, &100, 0..6).unwrap(), [100, 101, 102, 103, 104, 105]);
}

#[test]
fn a_shared_value_that_cannot_be_read_is_an_error_of_each_task() {
    fn rows(frame: &Frame, _: u32) -> usize {
        frame.num_rows()
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let frame = scratch.store.publish("gone", &numbers(2)).unwrap();
    scratch.store.remove("gone").unwrap();
    for _ in 0..2 {
        let text = pool.map_with(rows, &frame, [1]).unwrap_err().to_string();
        assert!(text.contains("the shared argument of its call: frame `gone"), "{text}");
    }
}
