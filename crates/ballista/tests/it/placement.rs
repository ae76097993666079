//! Where partitions are read.

use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch};

use crate::cluster::{Cluster, Read, Setup, mirror, run, text};

fn numbers(of: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", std::sync::Arc::new(of.collect::<Int64Array>()) as _)]).unwrap()
}

/// A table `t` of 20 000 rows on two nodes.
fn split(setup: &Setup) -> Cluster {
    let cluster = Cluster::start(setup);
    cluster.publish(0, "t", &[numbers(0..10_000)], 500);
    cluster.publish(1, "t", &[numbers(10_000..20_000)], 500);
    cluster
}

const SUM: &str = "SELECT sum(n) FROM t";

fn local(reads: &[Read]) -> (u64, u64) {
    let of = |reads: &mut dyn Iterator<Item = &Read>| reads.map(|read| read.bytes).sum();
    (of(&mut reads.iter().filter(|read| read.is_local)), of(&mut reads.iter()))
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_read_on_the_nodes_of_their_frames() {
    let queries = [
        SUM,
        "SELECT n % 10 AS k, count(*) FROM t GROUP BY n % 10",
        "SELECT sum(n) FROM (SELECT n FROM t UNION ALL SELECT n FROM t WHERE n > 5)",
        "SELECT count(*) FROM t a JOIN t b ON a.n = b.n",
    ];
    for vcores in [1, 2] {
        let cluster = split(&Setup { vcores, ..Setup::default() });
        for partitions in [1, 2, 7, 16] {
            let context = cluster.session(Cluster::config(partitions)).await;
            for query in queries {
                cluster.reads();
                run(&context, query).await.unwrap();
                let reads = cluster.reads();
                let (here, all) = local(&reads);
                assert!(all > 0 && here == all, "{query} with {partitions} partitions: {reads:?}");
            }
        }
        assert_eq!(cluster.mirrors(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_at_a_time_all_end_with_the_right_answer() {
    let cluster = split(&Setup::default());
    let context = cluster.session(Cluster::config(7)).await;
    let jobs: Vec<_> = (0..12)
        .map(|_| {
            tokio::spawn({
                let context = context.clone();
                async move { run(&context, SUM).await }
            })
        })
        .collect();
    for job in jobs {
        assert!(text(&job.await.unwrap().unwrap()).contains("199990000"));
    }
    let reads = cluster.reads();
    assert!(!reads.is_empty() && reads.iter().all(|read| read.is_local), "{reads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_name_with_different_stores_are_an_error() {
    let mut cluster = split(&Setup::default());
    cluster.executors[1].kill().unwrap();
    cluster.executors[1].wait().unwrap();
    // The executor of the second store takes the name of the first.
    cluster.start_named("n0", 1, 1);
    cluster.wait_for_node(1);
    let context = cluster.session(Cluster::config(7)).await;
    let error = run(&context, SUM).await.unwrap_err().to_string();
    assert!(error.contains("two executors of the node `n0` have different frames `t`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_another_node_is_pulled_once_and_the_answer_is_right() {
    let cluster = split(&Setup { placement: "round-robin", ..Setup::default() });
    let context = cluster.session(Cluster::config(16)).await;
    assert!(text(&run(&context, SUM).await.unwrap()).contains("199990000"));
    let reads = cluster.reads();
    let (here, all) = local(&reads);
    eprintln!("without placement, {:.0} % of the bytes were local", here as f64 / all as f64 * 100.0);
    for _ in 0..2 {
        assert!(text(&run(&context, SUM).await.unwrap()).contains("199990000"));
    }
    assert!(reads.iter().any(|read| !read.is_local), "round robin reads some elsewhere: {reads:?}");
    for store in &cluster.stores {
        let mirrors = store.names().unwrap().into_iter().filter(|name| name.as_str().starts_with("_cluster.")).count();
        assert!(mirrors <= 1, "{:?}", store.names());
        let versions: usize = store.names().unwrap().iter().map(|name| store.versions(name).unwrap().len()).sum();
        assert!(versions <= 2, "one of the node, and one mirror");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_never_waits_for_a_node_without_an_executor() {
    let mut cluster = split(&Setup::default());
    let context = cluster.session(Cluster::config(7)).await;
    // Planned while both nodes run, and read by one: the store of the other is served by this process.
    let table = context.table("t").await.unwrap();
    cluster.executors[1].kill().unwrap();
    cluster.executors[1].wait().unwrap();
    let port = cluster.nodes[1].rsplit_once(':').unwrap().1.parse::<u16>().unwrap() + 2;
    let store = cluster.stores[1].clone();
    let server = std::thread::spawn(move || {
        let options = coframe_flight::ServerOptions::new().address(([127, 0, 0, 1], port).into());
        coframe_flight::Server::start(&store, &options).unwrap()
    });
    let server = server.join().unwrap();
    let start = Instant::now();
    let counted =
        table.aggregate(vec![], vec![datafusion::functions_aggregate::expr_fn::sum(datafusion::prelude::col("n"))]);
    let limit = std::time::Duration::from_secs(30);
    let found = tokio::time::timeout(limit, counted.unwrap().collect()).await.expect("an answer in 30 s").unwrap();
    assert!(text(&found).contains("199990000"), "{}", text(&found));
    eprintln!("with a node gone: {:?}", start.elapsed());
    assert!(cluster.reads().iter().any(|read| !read.is_local && read.node == "n0"));
    std::thread::spawn(move || server.stop(std::time::Duration::from_secs(1))).join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_with_a_mirror_is_read_on_both_nodes_and_its_rows_once() {
    let cluster = Cluster::start(&Setup::default());
    cluster.publish(0, "t", &[numbers(0..20_000)], 500);
    mirror(&cluster.stores[0], "t", &cluster.stores[1], "t");
    let context = cluster.session(Cluster::config(16)).await;
    assert!(text(&run(&context, SUM).await.unwrap()).contains("199990000"));
    let reads = cluster.reads();
    assert!(!reads.is_empty() && reads.iter().all(|read| read.is_local), "{reads:?}");
    for node in ["n0", "n1"] {
        assert!(reads.iter().any(|read| read.node == node), "{reads:?}");
    }
    // A newer version of the origin makes the mirror stale, and then it is neither read nor left out silently.
    cluster.publish(0, "t", &[numbers(0..10)], 500);
    let error = run(&context, SUM).await.unwrap_err().to_string();
    assert!(error.contains("of node `n1` is a mirror of a version of `t` that no other node has"), "{error}");
}
