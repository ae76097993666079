//! Results that are frames, on their way through several tasks.

use coframe::{Frame, Handle, polars::prelude::*, pool::Published};

use crate::{common::scratch, pool::builder};

fn numbers(rows: i64) -> DataFrame {
    df!("x" => (0..rows).collect::<Vec<i64>>()).unwrap()
}

fn publish(rows: i64) -> coframe::Result<Published> {
    Published::new(&numbers(rows))
}

fn same(published: Published) -> Published {
    published
}

fn rows(published: Published) -> usize {
    published.frame().num_rows()
}

#[test]
fn a_published_frame_that_a_task_received_and_returns_arrives() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let names = || pool.session().names().unwrap().len();
    let mut published = pool.try_map(publish, [3, 4]).unwrap();
    for _ in 0..3 {
        published = pool.map(same, published).unwrap();
    }
    assert_eq!(published.iter().map(|part| part.frame().num_rows()).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(names(), 2);
    drop(published);
    assert_eq!(names(), 0);
}

#[test]
fn a_published_frame_and_the_copy_that_a_task_returned_share_their_owner() {
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let original = pool.try_submit(publish, &5).unwrap().wait().unwrap();
    let copy = pool.submit(same, &original).unwrap().wait().unwrap();
    drop(copy);
    assert_eq!(pool.map(rows, [original]).unwrap(), [5]);
    assert!(pool.session().names().unwrap().is_empty());
}

#[test]
fn a_task_returns_parts_of_its_argument_and_new_frames_in_one_result() {
    fn mixed((first, second): (Published, Published)) -> (Published, Option<Published>, Frame) {
        let frame = second.frame().clone();
        (Published::new(&numbers(1)).unwrap(), Some(first), frame)
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let names = || pool.session().names().unwrap().len();
    let mut published = pool.try_map(publish, [6, 7]).unwrap();
    let second = published.pop().unwrap();
    let argument = (published.pop().unwrap(), second);
    let (own, first, frame) = pool.map(mixed, [argument]).unwrap().remove(0);
    // The second one lost its owner, but its frame has its memory.
    assert_eq!(
        (own.frame().num_rows(), first.as_ref().unwrap().frame().num_rows(), frame.to_polars().unwrap().height()),
        (1, 6, 7)
    );
    assert_eq!(names(), 2);
    drop((own, first));
    assert_eq!(names(), 0);
}

#[test]
fn a_frame_that_several_results_name_has_one_owner() {
    fn cached(_: u32) -> Handle {
        static CACHE: std::sync::OnceLock<Published> = std::sync::OnceLock::new();
        CACHE.get_or_init(|| publish(9).unwrap()).frame().handle()
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let handles = pool.map(cached, [0, 1]).unwrap();
    assert_eq!(handles[0], handles[1]);
    assert_eq!(handles[1].open().unwrap().num_rows(), 9);
    // It goes with the worker whose static it is.
    let published = pool.try_map(publish, [2]).unwrap();
    let pid = pool.worker_ids()[0];
    crate::common::kill(i32::try_from(pid).unwrap());
    assert_eq!(pool.try_map(publish, [3]).unwrap()[0].frame().num_rows(), 3);
    assert!(handles[0].open().unwrap_err().is_not_found());
    assert_eq!(pool.map(rows, published).unwrap(), [2]);
}

#[test]
fn frames_of_a_worker_that_died_in_its_task_are_freed() {
    fn publish_and_die(rows: i64) -> coframe::Result<Published> {
        let kept = publish(rows)?;
        if rows > 10 {
            std::process::abort();
        }
        Ok(kept)
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let kept = pool.try_map(publish_and_die, [1, 2]).unwrap();
    assert!(pool.try_map(publish_and_die, [11]).unwrap_err().is_worker_lost());
    // The next worker runs, so the dead one was buried.
    assert_eq!(pool.try_map(publish_and_die, [3]).unwrap()[0].frame().num_rows(), 3);
    assert_eq!(pool.session().names().unwrap().len(), 2);
    assert_eq!(pool.map(rows, kept).unwrap(), [1, 2]);
}

#[test]
fn a_reader_that_panics_leaves_no_owner_to_later_readings() {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    struct Unreadable(Published);

    impl Serialize for Unreadable {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Unreadable {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let read = Published::deserialize(deserializer)?;
            panic!("a frame of {} rows", read.frame().num_rows());
        }
    }

    fn unreadable(rows: i64) -> Unreadable {
        Unreadable(publish(rows).unwrap())
    }

    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let frame = pool.session().publish("x", &numbers(4)).unwrap();
    let task = pool.submit(unreadable, &8).unwrap();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.wait().map(drop))).is_err());
    assert_eq!(pool.session().names().unwrap().len(), 1);
    // Read outside of a pool it is without an owner, which would remove the name.
    let text = serde_json::to_string(&frame.handle()).unwrap();
    drop(serde_json::from_str::<Published>(&text).unwrap());
    assert!(pool.session().exists("x").unwrap());
}
