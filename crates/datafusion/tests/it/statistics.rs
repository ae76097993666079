//! What a scan knows of its rows before it reads them, and which plans follow from it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StringViewArray};
use coframe::{Frame, PublishOptions};
use datafusion::{
    common::{Statistics, stats::Precision},
    physical_plan::{
        ExecutionPlan, displayable,
        statistics::{StatisticsArgs, StatisticsContext},
    },
    prelude::{SessionConfig, SessionContext},
};

use crate::common::{context, mem_table, mixed, plan, run, scratch, table, text};

fn statistics(plan: &Arc<dyn ExecutionPlan>) -> Arc<Statistics> {
    StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).unwrap()
}

fn bytes(statistics: &Statistics) -> f64 {
    *statistics.total_byte_size.get_value().unwrap() as f64
}

#[tokio::test]
async fn the_bytes_of_a_scan_are_those_of_its_columns() {
    let scratch = scratch();
    let options = PublishOptions::new().batch_rows(1000).statistics(true);
    let frame = scratch.store.publish_with("t", &mixed(0..40_000), &options).unwrap();
    for columns in ["id", "flag", "text", "words", "id, text", "id, words, list", "category", "*"] {
        let query = format!("SELECT {columns} FROM t");
        let found = bytes(&statistics(&plan(&context(2, 8192, table(&frame)), &query).await));
        let expected = bytes(&statistics(&plan(&context(2, 8192, mem_table(&frame)), &query).await));
        let ratio = found / expected;
        // `MemTable` counts structures of arrays, too, which weigh most where the values weigh least. Its blocks of long
        // strings are full by half or more, and those of an estimate by half.
        let most = if columns.contains("words") || columns == "*" { 1.7 } else { 1.05 };
        assert!((0.75..most).contains(&ratio) || columns == "flag", "{columns}: {found} of {expected} bytes");
        assert!(found > 0.0);
    }
    // A part of a batch weighs its share.
    let whole = scratch.store.publish("t", &mixed(0..40_000)).unwrap();
    for columns in ["id", "text", "words", "id, text, words, list, flag, category"] {
        let query = format!("SELECT {columns} FROM t");
        let all = bytes(&statistics(&plan(&context(2, 8192, table(&whole)), &query).await));
        let tenth = table(&whole.slice(20_000..24_000).unwrap());
        let share = bytes(&statistics(&plan(&context(2, 8192, tenth), &query).await)) / all;
        assert!((0.09..0.11).contains(&share), "{columns}: {share}");
        let first = bytes(&statistics(&plan(&context(2, 8192, table(&whole)), &format!("{query} LIMIT 4000")).await));
        assert!((0.09..0.11).contains(&(first / all)), "{columns}: {first} of {all} bytes in the first tenth");
    }
}

/// Two frames: `few` has 1000 rows with long comments, `many` has 50 000 short ones.
fn two(scratch: &crate::common::Scratch) -> [(&'static str, Frame); 2] {
    let options = PublishOptions::new().batch_rows(8192).statistics(true);
    let few = || 0..1000_i64;
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from_iter_values(few()))),
        ("word", Arc::new(StringViewArray::from_iter_values(few().map(|id| format!("a long word {id}"))))),
        ("comment", Arc::new(StringArray::from_iter_values(few().map(|_| "comment ".repeat(1000))))),
    ];
    let few = scratch.store.publish_with("few", &RecordBatch::try_from_iter(columns).unwrap(), &options).unwrap();
    let many = || 0..50_000_i64;
    let columns: [(&str, ArrayRef); 2] = [
        ("key", Arc::new(Int64Array::from_iter_values(many().map(|row| row % 1000)))),
        ("other", Arc::new(StringViewArray::from_iter_values(many().map(|row| format!("another word {row}"))))),
    ];
    let many = scratch.store.publish_with("many", &RecordBatch::try_from_iter(columns).unwrap(), &options).unwrap();
    [("few", few), ("many", many)]
}

#[tokio::test]
async fn a_join_keeps_the_side_in_memory_whose_selected_columns_are_smaller() {
    let scratch = scratch();
    let frames = two(&scratch);
    let [frames_context, memory] = [(); 2].map(|()| {
        let config = SessionConfig::new().with_target_partitions(2);
        SessionContext::new_with_config(config)
    });
    for (name, frame) in &frames {
        frames_context.register_table(*name, Arc::new(table(frame))).unwrap();
        memory.register_table(*name, Arc::new(mem_table(frame))).unwrap();
    }
    for tables in ["few, many", "many, few"] {
        let query = format!("SELECT word, other FROM {tables} WHERE id = key AND other LIKE '%word%'");
        let shown = displayable(plan(&frames_context, &query).await.as_ref()).indent(false).to_string();
        let (first, _) = shown.split_once("many@").expect(&shown);
        assert!(first.contains("few@"), "{shown}");
        let (found, expected) = (run(&frames_context, &query).await.unwrap(), run(&memory, &query).await.unwrap());
        assert_eq!(text(&found, false), text(&expected, false));
    }
}

#[tokio::test]
async fn counts_of_rows_are_exact_and_sizes_are_estimates() {
    let scratch = scratch();
    let frame = scratch.store.publish("t", &mixed(0..5000)).unwrap();
    for (part, rows) in [(frame.clone(), 5000), (frame.slice(17..1234).unwrap(), 1217), (frame.slice(9..9).unwrap(), 0)]
    {
        let found = statistics(&plan(&context(3, 512, table(&part)), "SELECT * FROM t").await);
        assert_eq!(found.num_rows, Precision::Exact(rows));
        assert!(matches!(found.total_byte_size, Precision::Inexact(bytes) if (bytes > 0) == (rows > 0)), "{found:?}");
    }
}
