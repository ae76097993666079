//! Every query returns what DataFusion returns in one process.

use std::collections::BTreeMap;

use arrow::array::{Int64Array, RecordBatch, StringArray, StringViewArray};
use ballista::prelude::SessionConfigExt;

use crate::{
    cluster::{Cluster, Read, Setup, mirror, one_process, run, text},
    tpch,
};

pub(crate) const ROWS: i64 = 100_000;

/// id, k = id % 97, v = id * 3 or null, s, and sv, a text that is longer than a view.
pub(crate) fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let column = |of: fn(i64) -> Option<i64>| ids.clone().map(of).collect::<Int64Array>();
    RecordBatch::try_from_iter_with_nullable([
        ("id", std::sync::Arc::new(column(Some)) as _, false),
        ("k", std::sync::Arc::new(column(|id| Some(id % 97))) as _, false),
        ("v", std::sync::Arc::new(column(|id| (id % 11 != 0).then_some(id * 3))) as _, true),
        (
            "s",
            std::sync::Arc::new(ids.clone().map(|id| Some(format!("name {}", id % 13))).collect::<StringArray>()) as _,
            true,
        ),
        (
            "sv",
            std::sync::Arc::new(
                ids.clone()
                    .map(|id| Some(format!("a text of more than twelve bytes {}", id % 7)))
                    .collect::<StringViewArray>(),
            ) as _,
            true,
        ),
    ])
    .unwrap()
}

/// Each kind of query in which Ballista has returned wrong rows, or could.
pub(crate) const QUERIES: [&str; 28] = [
    "SELECT count(*) FROM t",
    "SELECT sum(v), min(id), max(id), count(v), avg(k) FROM t",
    "SELECT k, count(*), sum(v) FROM t GROUP BY k ORDER BY k",
    "SELECT s, sv, count(*) FROM t GROUP BY s, sv ORDER BY s, sv",
    "SELECT count(*), min(id), max(id) FROM t WHERE id >= 30000 AND id < 40000",
    "SELECT id, s, sv FROM t WHERE k = 5 AND id < 2000 ORDER BY id",
    "SELECT id * 2 + k AS x, sv FROM t WHERE id BETWEEN 49990 AND 50010 ORDER BY x",
    "SELECT count(*) FROM (SELECT id FROM t LIMIT 10)",
    "SELECT count(*) FROM (SELECT id FROM t WHERE k = 3 LIMIT 10)",
    "SELECT id, v FROM t ORDER BY id DESC LIMIT 5",
    "SELECT id FROM t ORDER BY id LIMIT 5 OFFSET 49998",
    "SELECT count(*), sum(id) FROM (SELECT id FROM t UNION ALL SELECT id FROM t)",
    "SELECT k, count(*) FROM (SELECT k FROM t WHERE id < 500 UNION ALL SELECT k FROM t WHERE id >= 99000 \
     UNION ALL SELECT id AS k FROM t WHERE id < 3) GROUP BY k ORDER BY k",
    "SELECT count(*) FROM (SELECT k FROM t UNION SELECT id FROM t)",
    "SELECT sum(id), sum(n) FROM (SELECT id, 1 AS n FROM t WHERE id < 3 UNION ALL SELECT * FROM (VALUES (7, 2)))",
    "SELECT count(*), sum(a.id) FROM t a JOIN t b ON a.id = b.id WHERE b.k < 50",
    "SELECT a.k, count(*) FROM t a JOIN t b ON a.k = b.k WHERE a.id < 970 AND b.id < 1940 GROUP BY a.k ORDER BY a.k",
    "SELECT count(*), count(b.id) FROM t a LEFT JOIN (SELECT * FROM t WHERE id < 1000) b ON a.id = b.id",
    "SELECT count(*), count(a.id), count(b.id) FROM (SELECT * FROM t WHERE id < 700) a \
     FULL JOIN (SELECT * FROM t WHERE id > 300 AND id < 1000) b ON a.id = b.id",
    "SELECT count(*) FROM t WHERE id IN (SELECT id * 2 FROM t)",
    "SELECT count(*) FROM t WHERE id NOT IN (SELECT id * 2 FROM t)",
    "SELECT count(*) FROM t WHERE v > (SELECT avg(v) FROM t)",
    "SELECT k, sum(v) x FROM t GROUP BY k HAVING sum(v) > (SELECT sum(v) / 97 FROM t) ORDER BY k",
    "SELECT count(*), sum(a.id) FROM (SELECT id FROM t WHERE id < 40) a CROSS JOIN (SELECT id FROM t WHERE id < 300) b",
    "SELECT sum(r) FROM (SELECT row_number() OVER (PARTITION BY k ORDER BY id) r FROM t)",
    "SELECT count(DISTINCT k), count(DISTINCT s) FROM t",
    "SELECT count(*) FROM (SELECT k FROM t INTERSECT SELECT id FROM t)",
    "WITH q AS (SELECT k, count(*) c FROM t GROUP BY k) SELECT count(*) FROM q a JOIN q b ON a.c = b.c AND a.k < b.k",
];

/// A cluster with a table `t` whose rows are on two nodes, in batches of unequal size.
pub(crate) fn with_t(setup: &Setup) -> Cluster {
    let cluster = Cluster::start(setup);
    cluster.publish(0, "t", &[rows(0..40_000)], 4_999);
    cluster.publish(1, "t", &[rows(40_000..ROWS)], 8_192);
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_ballista_could_multiply_equal_one_process() {
    let one = one_process(&[("t", vec![rows(0..ROWS)])]);
    let mut expected = Vec::new();
    for query in QUERIES {
        expected.push(text(&run(&one, query).await.unwrap()));
    }
    for vcores in [1, 3] {
        let cluster = with_t(&Setup { vcores, ..Setup::default() });
        for (partitions, adaptive) in [(1, false), (2, false), (7, false), (16, false), (7, true)] {
            let config = Cluster::config(partitions).with_ballista_adaptive_query_planner(adaptive);
            let context = cluster.session(config).await;
            for (query, expected) in QUERIES.iter().zip(&expected) {
                let found = run(&context, query).await;
                let found = found.map_or_else(|error| error.to_string(), |rows| text(&rows));
                assert_eq!(&found, expected, "{query}\n{vcores} vcores, {partitions} partitions, adaptive {adaptive}");
            }
        }
    }
}

/// How often each row of each frame was read, as ranges with their counts.
fn times(reads: &[Read]) -> BTreeMap<(String, (usize, usize)), usize> {
    let mut times = BTreeMap::new();
    for read in reads {
        *times.entry((read.frame.clone(), read.rows)).or_default() += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn every_partition_is_read_once_and_together_they_are_the_table() {
    for (vcores, partitions) in [(1, 7), (4, 7), (1, 16), (2, 2)] {
        let cluster = with_t(&Setup { vcores, ..Setup::default() });
        let context = cluster.session(Cluster::config(partitions)).await;
        for (query, scans) in [
            ("SELECT sum(id) FROM t", 1),
            ("SELECT k, sum(id) FROM t GROUP BY k", 1),
            ("SELECT sum(id) FROM (SELECT id FROM t UNION ALL SELECT id FROM t)", 2),
        ] {
            cluster.reads();
            run(&context, query).await.unwrap();
            let reads = cluster.reads();
            let times = times(&reads);
            assert!(times.values().all(|times| *times == scans), "{query} with {partitions} partitions: {times:?}");
            let rows: usize = times.keys().map(|(_, (start, end))| end - start).sum();
            assert_eq!(rows, ROWS as usize, "{times:?}");
            assert!(times.len() >= partitions.min(7), "{times:?}");
        }
        cluster.reads();
        run(&context, "SELECT count(*), min(id) FROM t").await.unwrap();
        assert_eq!(cluster.reads(), [], "statistics answer it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_22_queries_of_tpch_equal_one_process() {
    let tables: Vec<_> = tpch::tables(0.01, 1 << 20).into_iter().map(|table| (table.name, table.batches)).collect();
    let one = one_process(&tables);
    let mut expected = Vec::new();
    for query in tpch::queries() {
        expected.push(text(&run(&one, query).await.unwrap()));
    }
    for vcores in [1, 2] {
        let cluster = Cluster::start(&Setup { vcores, ..Setup::default() });
        publish_tpch(&cluster, &tables);
        for partitions in [1, 2, 7, 16] {
            let context = cluster.session(Cluster::config(partitions)).await;
            for (at, (query, expected)) in tpch::queries().iter().zip(&expected).enumerate() {
                let found = run(&context, query).await;
                let found = found.map_or_else(|error| error.to_string(), |rows| text(&rows));
                assert_eq!(&found, expected, "q{} with {partitions} partitions, {vcores} vcores", at + 1);
            }
        }
    }
}

/// The large tables in halves, `customer` and `part` on one node each, and the small ones on one node with a mirror on the
/// other.
pub(crate) fn publish_tpch(cluster: &Cluster, tables: &[(&str, Vec<RecordBatch>)]) {
    for (name, batches) in tables {
        let half = batches.len() / 2;
        match *name {
            "lineitem" | "orders" | "partsupp" if half > 0 => {
                cluster.publish(0, name, &batches[..half], 8192);
                cluster.publish(1, name, &batches[half..], 8192);
            }
            "part" => cluster.publish(1, name, batches, 8192),
            _ => cluster.publish(0, name, batches, 8192),
        }
    }
    for name in ["nation", "region", "supplier"] {
        mirror(&cluster.stores[0], name, &cluster.stores[1], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_every_task_would_run_is_refused_by_name() {
    let cluster = with_t(&Setup::default());
    let context = cluster.session(Cluster::config(4)).await;
    let query = "WITH RECURSIVE n AS (SELECT column1 AS i FROM (VALUES (1)) UNION ALL SELECT i + 1 FROM n WHERE i < 5) \
                 SELECT count(*) FROM (SELECT i FROM n UNION ALL SELECT k FROM t)";
    let error = run(&context, query).await.unwrap_err().to_string();
    assert!(error.contains("WorkTableExec") && error.contains("return its rows several times"), "{error}");
    // At this one Ballista hangs.
    let query = "SELECT sum(id) FROM (SELECT id FROM t WHERE id < 3 UNION ALL SELECT 7)";
    let error = run(&context, query).await.unwrap_err().to_string();
    assert!(error.contains("a constant row in a UNION"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_rows_and_one_of_a_single_node_are_tables() {
    let cluster = Cluster::start(&Setup::default());
    cluster.publish(1, "empty", &[rows(0..0)], 100);
    cluster.publish(1, "one", &[rows(0..10)], 100);
    let context = cluster.session(Cluster::config(7)).await;
    let count = |table: &str| format!("SELECT count(*), sum(id) FROM {table}");
    assert_eq!(text(&run(&context, &count("empty")).await.unwrap()).lines().last().unwrap().replace(' ', ""), "|0||");
    assert_eq!(text(&run(&context, &count("one")).await.unwrap()).lines().last().unwrap().replace(' ', ""), "|10|45|");
    let joined = "SELECT count(*) FROM one a LEFT JOIN empty b ON a.id = b.id";
    assert!(text(&run(&context, joined).await.unwrap()).contains("| 10 "));
    let error = run(&context, "SELECT * FROM nowhere").await.unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}
