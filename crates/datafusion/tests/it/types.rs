//! Every type that a frame can have.

use coframe::{PublishOptions, StringLayout};

use crate::common::{conformance, context, inside, mem_table, run, scratch, table, text};

/// Queries on a table `t` with a column `c`; those that a type does not allow fail on both sides.
const QUERIES: [&str; 8] = [
    "SELECT * FROM t",
    "SELECT count(*) FROM t",
    "SELECT \"c\" FROM t WHERE \"c\" IS NOT NULL",
    "SELECT count(\"c\") FROM t",
    "SELECT min(\"c\"), max(\"c\") FROM t",
    "SELECT \"c\", count(*) FROM t GROUP BY \"c\"",
    "SELECT a.\"c\" FROM t a JOIN t b ON a.\"c\" = b.\"c\"",
    "SELECT \"c\" FROM t ORDER BY \"c\" LIMIT 3",
];

#[tokio::test]
async fn every_type_of_the_conformance_set_gives_the_results_of_mem_table() {
    let scratch = scratch();
    let (mut compared, mut failed) = (0, 0);
    for (name, path) in conformance() {
        // Batches of two rows; and one batch that is cut into pieces of three rows.
        for (batch_rows, cut_rows, statistics, all) in [(2, 8192, true, &[1, 2, 7, 16][..]), (1 << 20, 3, false, &[2])]
        {
            let options = PublishOptions::new().batch_rows(batch_rows).statistics(statistics);
            let frame = scratch.store.import_with(&name, &path, &options).unwrap();
            // One for all queries: a context takes longer to make than most of them take to run.
            let memory = context(1, cut_rows, mem_table(&frame));
            let contexts: Vec<_> =
                all.iter().map(|&partitions| (partitions, context(partitions, cut_rows, table(&frame)))).collect();
            for field in frame.schema().fields() {
                for query in QUERIES {
                    let query = query.replace("\"c\"", &format!("\"{}\"", field.name()));
                    let expected = run(&memory, &query).await;
                    for (partitions, context) in &contexts {
                        let found = run(context, &query).await;
                        match (&found, &expected) {
                            (Ok(found), Ok(expected)) => {
                                let (found, expected) = (text(found, false), text(expected, false));
                                assert_eq!(found, expected, "{name}: {query} in {partitions} partitions");
                                compared += 1;
                            }
                            (Err(_), Err(_)) => failed += 1,
                            (found, expected) => {
                                panic!("{name}: {query} in {partitions} partitions: {found:?}, expected {expected:?}")
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 1000 && failed < compared / 4, "{compared} compared, {failed} failed on both sides");
}

#[tokio::test]
async fn every_buffer_of_a_scan_is_inside_the_map() {
    let scratch = scratch();
    let mut buffers = 0;
    for (name, path) in conformance() {
        for layout in [StringLayout::Keep, StringLayout::View, StringLayout::Offset] {
            let options = PublishOptions::new().batch_rows(2).layout(layout);
            let frame = scratch.store.import_with(&name, &path, &options).unwrap();
            let batches = run(&context(2, 8192, table(&frame)), "SELECT * FROM t").await.unwrap();
            for batch in &batches {
                let (found, outside) = inside(batch, &frame);
                assert_eq!(outside, 0, "{name} in layout {layout:?}");
                buffers += found;
            }
            let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
            assert_eq!(rows, frame.num_rows(), "{name}");
        }
    }
    assert!(buffers > 1000, "only {buffers} buffers");
}
