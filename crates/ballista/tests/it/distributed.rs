//! The same queries without a scheduler: the client plans, and sends a task to each node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coframe::Store;
use coframe_ballista::{Node, connect_directly};
use coframe_flight::RemoteOptions;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::{
    answers::{QUERIES, ROWS, publish_tpch, rows, with_t},
    cluster::{Cluster, Setup, one_process, run, text},
    tpch,
};

/// A session whose process is a node of its cluster without executors.
async fn direct(cluster: &Cluster, partitions: usize) -> (SessionContext, Arc<Node>, Store) {
    let store = Store::open_at(cluster.directory.path().join("client")).unwrap();
    let node = Arc::new(Node::new("client", "", store.clone(), RemoteOptions::new()));
    let config = SessionConfig::new().with_target_partitions(partitions);
    (connect_directly(&cluster.nodes, node.clone(), config).await.unwrap(), node, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_without_a_scheduler_equal_one_process() {
    let one = one_process(&[("t", vec![rows(0..ROWS)])]);
    let cluster = with_t(&Setup::default());
    for partitions in [1, 2, 7, 16] {
        let (context, node, store) = direct(&cluster, partitions).await;
        for query in QUERIES {
            let expected = text(&run(&one, query).await.unwrap());
            let found = run(&context, query).await;
            let found = found.map_or_else(|error| error.to_string(), |rows| text(&rows));
            assert_eq!(found, expected, "{query}\n{partitions} partitions");
            if !store.names().unwrap().is_empty() {
                eprintln!("the client pulled, {partitions} partitions: {query}");
                node.remove_mirrors();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tpch_without_a_scheduler_equals_one_process() {
    let tables: Vec<_> = tpch::tables(0.01, 1 << 20).into_iter().map(|table| (table.name, table.batches)).collect();
    let one = one_process(&tables);
    let mut expected = Vec::new();
    for query in tpch::queries() {
        expected.push(text(&run(&one, query).await.unwrap()));
    }
    let cluster = Cluster::start(&Setup { vcores: 2, ..Setup::default() });
    publish_tpch(&cluster, &tables);
    for partitions in [1, 2, 7, 16] {
        let (context, node, store) = direct(&cluster, partitions).await;
        let through = cluster.session(Cluster::config(partitions)).await;
        let (mut took, mut ballista) = (Duration::ZERO, Duration::ZERO);
        for (at, (query, expected)) in tpch::queries().iter().zip(&expected).enumerate() {
            let start = Instant::now();
            let found = run(&context, query).await;
            took += start.elapsed();
            let found = found.map_or_else(|error| error.to_string(), |rows| text(&rows));
            assert_eq!(&found, expected, "q{} with {partitions} partitions", at + 1);
            let start = Instant::now();
            run(&through, query).await.unwrap();
            ballista += start.elapsed();
            if !store.names().unwrap().is_empty() {
                eprintln!("the client pulled, {partitions} partitions: q{}", at + 1);
                node.remove_mirrors();
            }
        }
        eprintln!("22 queries at {partitions} partitions: direct {took:?}, Ballista {ballista:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_is_a_named_error_and_no_hang() {
    let mut cluster = with_t(&Setup::default());
    let (context, _, _) = direct(&cluster, 4).await;
    let planned = context.sql("SELECT sum(id) FROM t").await.unwrap();
    let slow = context
        .sql("SELECT count(*) FROM t a CROSS JOIN (SELECT id FROM t WHERE id < 600) b WHERE a.id * b.id % 7 = 3");
    let running = tokio::spawn(slow.await.unwrap().collect());
    let start = Instant::now();
    while cluster.reads().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.executors[1].kill().unwrap();
    cluster.executors[1].wait().unwrap();
    let limit = Duration::from_secs(30);
    let start = Instant::now();
    let error = tokio::time::timeout(limit, running).await.expect("an error in 30 s").unwrap().unwrap_err();
    eprintln!("killed while it ran: {:?}: {error}", start.elapsed());
    let error =
        tokio::time::timeout(limit, planned.collect()).await.expect("an error in 30 s").unwrap_err().to_string();
    eprintln!("killed before: {error}");
    assert!(error.contains(&cluster.nodes[1]), "{error}");
}
