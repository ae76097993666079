//! What statistics save, and the order of sorted frames.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use coframe::{Frame, PublishOptions};
use datafusion::physical_plan::displayable;

use crate::common::{Scratch, context, measured, mem_table, mixed, plan, run, scratch, table, text};

fn recorded() -> PublishOptions {
    PublishOptions::new().batch_rows(100).statistics(true)
}

/// 100 batches of 100 rows with ascending ids.
fn hundred(scratch: &Scratch) -> Frame {
    scratch.store.publish_with("t", &mixed(0..10_000), &recorded()).unwrap()
}

#[tokio::test]
async fn batches_that_no_row_of_can_match_are_not_read() {
    let scratch = scratch();
    let frame = hundred(&scratch);
    for partitions in [1, 2, 7] {
        let context = context(partitions, 8192, table(&frame));
        let expected = crate::common::context(1, 8192, mem_table(&frame));
        for (condition, read) in [
            ("id = 4321", 1),
            ("id BETWEEN 250 AND 449", 3),
            ("id IN (3, 9999)", 2),
            ("id < 0", 0),
            ("words IS NULL AND id >= 9900", 1),
            ("id >= 200 AND value < 150.0", 1),
            ("text = 'row 250'", 100),
        ] {
            let query = format!("SELECT id, words FROM t WHERE {condition}");
            let (rows, found) = measured(&context, &query, "batches_read").await;
            let (_, pruned) = measured(&context, &query, "batches_pruned").await;
            assert_eq!(text(&rows, false), text(&run(&expected, &query).await.unwrap(), false), "{query}");
            // Strings of these batches overlap in ways that are not counted here.
            if read < 100 {
                assert_eq!((found, pruned), (read, 100 - read), "{query} in {partitions} partitions");
            }
        }
    }
}

#[tokio::test]
async fn a_dynamic_filter_skips_batches_while_the_query_runs() {
    let scratch = scratch();
    let frame = hundred(&scratch);
    let (rows, read) =
        measured(&context(1, 8192, table(&frame)), "SELECT id FROM t ORDER BY id LIMIT 5", "batches_read").await;
    assert_eq!(text(&rows, true)[2..], ["| 0  |", "| 1  |", "| 2  |", "| 3  |", "| 4  |"]);
    assert!(read < 10, "{read} of 100 batches were read");
}

#[tokio::test]
async fn counts_and_bounds_are_answered_without_reading_a_value() {
    let scratch = scratch();
    let frame = hundred(&scratch);
    let with_nulls = "SELECT count(*), count(value), count(words), min(id), max(id), min(value), max(value) FROM t";
    for partitions in [1, 7] {
        let context = context(partitions, 8192, table(&frame));
        let shown = displayable(plan(&context, with_nulls).await.as_ref()).indent(false).to_string();
        assert!(!shown.contains("DataSourceExec"), "{shown}");
        let expected = run(&crate::common::context(1, 8192, mem_table(&frame)), with_nulls).await.unwrap();
        assert_eq!(text(&run(&context, with_nulls).await.unwrap(), true), text(&expected, true));
        // A filter leaves them to the engine.
        let query = "SELECT count(*), min(id) FROM t WHERE value > 100";
        let expected = run(&crate::common::context(1, 8192, mem_table(&frame)), query).await.unwrap();
        assert_eq!(text(&run(&context, query).await.unwrap(), true), text(&expected, true));
    }
}

#[tokio::test]
async fn bounds_that_are_not_known_are_computed() {
    let scratch = scratch();
    let floats = |values: Vec<Option<f64>>| {
        RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(values)) as ArrayRef)]).unwrap()
    };
    let options = PublishOptions::new().batch_rows(2).statistics(true);
    for (at, rows) in [
        vec![Some(1.0), Some(f64::NAN), Some(2.0), Some(3.0)],
        vec![None, None, Some(-0.0), Some(0.0)],
        vec![None, None, None, None],
        vec![Some(f64::NEG_INFINITY), Some(0.0), Some(-0.0), None],
    ]
    .into_iter()
    .enumerate()
    {
        let frame = scratch.store.publish_with("x", &floats(rows), &options).unwrap();
        for query in [
            "SELECT min(x), max(x), count(x), count(*) FROM t",
            "SELECT x FROM t WHERE x > 2.5",
            "SELECT x FROM t WHERE x = 0.0",
            "SELECT x FROM t WHERE x <= -0.0",
            "SELECT count(*) FROM t WHERE x IS NULL",
            "SELECT count(*) FROM t WHERE x <> 3.0",
        ] {
            let found = run(&context(2, 8192, table(&frame)), query).await.unwrap();
            let expected = run(&context(1, 8192, mem_table(&frame)), query).await.unwrap();
            assert_eq!(text(&found, false), text(&expected, false), "{query} of case {at}");
        }
    }
    let long = "x".repeat(100);
    let strings = RecordBatch::try_from_iter([(
        "x",
        Arc::new(arrow::array::StringArray::from(vec![format!("{long}b"), format!("{long}a")])) as ArrayRef,
    )])
    .unwrap();
    let frame = scratch.store.publish_with("x", &strings, &options).unwrap();
    let found = run(&context(2, 8192, table(&frame)), "SELECT max(x) FROM t").await.unwrap();
    assert!(text(&found, true)[2].contains(&format!("{long}b")));
}

#[tokio::test]
async fn a_sorted_frame_is_not_sorted_again() {
    let scratch = scratch();
    let days = |rows: Vec<i64>| {
        let other = rows.iter().map(|row| row % 3).collect::<Int64Array>();
        let columns: [(&str, ArrayRef); 2] = [("day", Arc::new(Int64Array::from(rows))), ("other", Arc::new(other))];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let up = scratch.store.publish_with("up", &days((0..10_000).collect()), &recorded().sorted("day", false)).unwrap();
    let down = scratch
        .store
        .publish_with("down", &days((0..10_000).rev().collect()), &recorded().sorted("day", true))
        .unwrap();
    for (frame, sorted, unsorted) in [(&up, "day", "day DESC"), (&down, "day DESC", "day")] {
        for partitions in [1, 2, 7] {
            let context = context(partitions, 512, table(frame));
            let expected = crate::common::context(1, 512, mem_table(frame));
            for (order, has_sort) in [(sorted, false), (unsorted, true), ("other", true)] {
                let query = format!("SELECT day FROM t ORDER BY {order}, day");
                let shown = displayable(plan(&context, &query).await.as_ref()).indent(false).to_string();
                assert_eq!(shown.contains("SortExec"), has_sort, "{query}: {shown}");
                let rows = run(&context, &query).await.unwrap();
                assert_eq!(text(&rows, true), text(&run(&expected, &query).await.unwrap(), true), "{query}");
            }
            let query = format!("SELECT day, other FROM t WHERE other = 1 ORDER BY {sorted} LIMIT 7");
            assert_eq!(
                text(&run(&context, &query).await.unwrap(), true),
                text(&run(&expected, &query).await.unwrap(), true)
            );
        }
    }
    // Polars holds -0.0 and 0.0 to be equal, and a frame of its may have them in any order.
    let floats = RecordBatch::try_from_iter([("x", Arc::new(Float64Array::from(vec![-0.0, 0.0, 1.0])) as ArrayRef)]);
    let floats = scratch.store.publish_with("floats", &floats.unwrap(), &recorded().sorted("x", false)).unwrap();
    assert_eq!(floats.sorted_columns().len(), 1);
    let shown = displayable(plan(&context(1, 512, table(&floats)), "SELECT x FROM t ORDER BY x").await.as_ref())
        .indent(false)
        .to_string();
    assert!(shown.contains("SortExec"), "{shown}");
    // Each of two frames is sorted; the table is not.
    let both = coframe_datafusion::FrameTable::of_frames([up.clone(), up]).unwrap();
    let shown = displayable(plan(&context(1, 512, both), "SELECT day FROM t ORDER BY day").await.as_ref())
        .indent(false)
        .to_string();
    assert!(shown.contains("SortExec"), "{shown}");
}

/// Bytes of a frame's map that this process has touched, in pages that the kernel mapped around them too.
fn touched(frame: &Frame) -> usize {
    let path = frame.path();
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
    let rss = lines.find(|line| line.starts_with("Rss:")).unwrap();
    rss.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn one_batch_of_a_hundred_touches_a_hundredth_of_the_bytes() {
    let scratch = scratch();
    let column = |factor: i64| Arc::new((0..3_000_000_i64).map(|row| row * factor).collect::<Int64Array>()) as ArrayRef;
    let rows =
        RecordBatch::try_from_iter([("id", column(1)), ("a", column(2)), ("b", column(3)), ("c", column(4))]).unwrap();
    scratch.store.publish_with("t", &rows, &recorded().batch_rows(30_000)).unwrap();
    drop(rows);
    let frame = scratch.store.open("t").unwrap();
    let context = context(1, 8192, table(&frame));
    let opened = touched(&frame);
    let found = run(&context, "SELECT sum(id), sum(a), sum(b), sum(c) FROM t WHERE id BETWEEN 1500000 AND 1529999")
        .await
        .unwrap();
    let read = touched(&frame) - opened;
    assert_eq!(text(&found, true).len(), 3);
    let share = read as f64 / frame.size_bytes() as f64;
    println!("{read} of {} bytes touched by the query: {:.2} %", frame.size_bytes(), share * 100.0);
    assert!((0.005..0.03).contains(&share), "{share}");
}
