//! Frames that cannot be read: errors that name them, and never a panic.

use std::os::unix::fs::{FileExt, PermissionsExt};

use coframe::PublishOptions;
use coframe_datafusion::FrameTable;

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
