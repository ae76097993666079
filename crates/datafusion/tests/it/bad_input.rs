//! Frames that cannot be read: errors that name them, and never a panic.

use std::{
    os::unix::fs::{FileExt, PermissionsExt},
    time::Duration,
};

use coframe::PublishOptions;
use coframe_datafusion::FrameTable;
use futures::StreamExt;

use crate::{
    common::{context, mixed, run, scratch, table},
    store::{numbers, of_store},
};

#[tokio::test]
async fn a_damaged_segment_is_an_error_with_the_name_of_the_frame() {
    let scratch = scratch();
    let frame = scratch.store.publish("damaged", &mixed(0..1000)).unwrap();
    let (path, size) = (frame.path(), frame.size_bytes() as u64);
    drop(frame);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let context = of_store(&scratch.store);
    // The end of the magic, the header of the first message, and the footer; read as a file of coframe, and as any other.
    for (place, mode) in [(size - 4, 0o400), (70, 0o400), (size - 60, 0o400), (size - 60, 0o600)] {
        let mut good = [0; 3];
        file.read_exact_at(&mut good, place).unwrap();
        file.write_all_at(&good.map(|byte| byte ^ 0x5A), place).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = run(&context, "SELECT * FROM damaged").await.unwrap_err().to_string();
        assert!(error.contains("`damaged"), "{error}");
        file.write_all_at(&good, place).unwrap();
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(run(&context, "SELECT * FROM damaged").await.unwrap()[0].num_rows(), 1000);
}

#[tokio::test]
async fn a_segment_that_others_can_write_to_is_an_error_with_its_name() {
    let scratch = scratch();
    let path = scratch.store.publish("shared", &numbers(0..3)).unwrap().path();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let error = run(&of_store(&scratch.store), "SELECT * FROM shared").await.unwrap_err().to_string();
    assert!(error.contains("shared"), "{error}");
}

/// Only root can give a file away: elsewhere the check of the mode above is the nearest to it.
#[tokio::test]
async fn a_segment_of_another_user_is_an_error_with_its_name() {
    let scratch = scratch();
    let path = scratch.store.publish("theirs", &numbers(0..3)).unwrap().path();
    let given = std::os::unix::fs::chown(&path, Some(65_534), None);
    let found = run(&of_store(&scratch.store), "SELECT * FROM theirs").await;
    match given {
        Ok(()) => {
            let error = found.unwrap_err().to_string();
            assert!(error.contains("theirs") && error.contains("65534"), "{error}");
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            assert_eq!(found.unwrap()[0].num_rows(), 3);
        }
    }
}

#[tokio::test]
async fn rows_that_do_not_fit_the_frame_are_an_error_with_its_name() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    scratch.store.publish("t", &numbers(0..3)).unwrap();
    for refused in [
        "INSERT INTO t VALUES ('no number')",
        "INSERT INTO t (y) VALUES (1)",
        "INSERT INTO t VALUES (1, 2)",
        "INSERT INTO t VALUES (NULL)",
    ] {
        assert!(run(&context, refused).await.is_err(), "{refused}");
    }
    assert_eq!(scratch.store.open("t").unwrap().version(), 1);
}

#[tokio::test]
async fn a_frame_outlives_its_name_and_its_store() {
    let scratch = scratch();
    let frame = scratch.store.publish_with("t", &mixed(0..1000), &PublishOptions::new().batch_rows(100)).unwrap();
    let context = context(2, 64, table(&frame));
    let planned = context.sql("SELECT sum(id) AS total FROM t").await.unwrap();
    scratch.store.remove("t").unwrap();
    drop((scratch, frame));
    assert_eq!(planned.collect().await.unwrap()[0].num_rows(), 1);
    assert!(FrameTable::of_frames([]).is_err());
}

/// Whether this process has a map of a file.
fn is_mapped(path: &std::path::Path) -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(path.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_is_cancelled_in_the_middle_unmaps_its_frame() {
    let scratch = scratch();
    let options = PublishOptions::new().batch_rows(100).statistics(true);
    drop(scratch.store.publish_with("t", &mixed(0..100_000), &options).unwrap());
    // A map has the name of its file only after an open.
    let frame = scratch.store.open("t").unwrap();
    let path = frame.path();
    let context = context(3, 64, table(&frame));
    drop(frame);
    for query in ["SELECT * FROM t", "SELECT text, max(words) FROM t GROUP BY text", "SELECT * FROM t ORDER BY words"] {
        let mut rows = context.sql(query).await.unwrap().execute_stream().await.unwrap();
        if query == "SELECT * FROM t" {
            assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
        } else {
            // Some tasks run already when the query is dropped.
            assert!(tokio::time::timeout(Duration::from_millis(2), rows.next()).await.is_err(), "{query} ended");
        }
        assert!(is_mapped(&path));
    }
    drop(context);
    // Tasks of the queries end at their next batch.
    for _ in 0..1000 {
        if !is_mapped(&path) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!is_mapped(&path), "a map is left");
    scratch.store.remove("t").unwrap();
    assert_eq!(scratch.files(), [""; 0]);
}

#[tokio::test]
async fn a_schema_that_changed_after_the_plan_changes_neither_the_query_nor_the_frame() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    scratch.store.publish("t", &numbers(0..3)).unwrap();
    let query = context.sql("SELECT x + 1 AS y FROM t").await.unwrap();
    let insert = context.sql("INSERT INTO t SELECT x FROM t").await.unwrap();
    let latest = scratch.store.publish("t", &mixed(0..7)).unwrap();
    assert_eq!(query.collect().await.unwrap().iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 3);
    let error = insert.collect().await.unwrap_err().to_string();
    assert!(error.contains("`t`"), "{error}");
    let found = scratch.store.open("t").unwrap();
    assert_eq!((found.version(), found.num_columns()), (latest.version(), 7));
}
