//! `CREATE TABLE .. AS`: the executors write the rows, each of them once.

use std::time::{Duration, Instant};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use coframe_ballista::{create_table, create_table_until, drop_table};
use datafusion::{
    common::Result,
    logical_expr::{DdlStatement, LogicalPlan},
    prelude::SessionContext,
};

use crate::cluster::{Cluster, Setup, mirror, one_process, run, text};

const ROWS: i64 = 20_000;
const LIMIT: Duration = Duration::from_secs(30);

fn numbers(of: std::ops::Range<i64>) -> RecordBatch {
    let half = of.clone().map(|n| (n % 2 == 0).then_some(n / 2)).collect::<Int64Array>();
    let n = of.collect::<Int64Array>();
    RecordBatch::try_from_iter_with_nullable([
        ("n", std::sync::Arc::new(n) as _, false),
        ("half", std::sync::Arc::new(half) as _, true),
    ])
    .unwrap()
}

/// A table `t` on two nodes, and a small one, `few`, on the second.
fn split(vcores: usize) -> Cluster {
    let cluster = Cluster::start(&Setup { vcores, ..Setup::default() });
    cluster.publish(0, "t", &[numbers(0..ROWS / 2)], 500);
    cluster.publish(1, "t", &[numbers(ROWS / 2..ROWS)], 500);
    cluster.publish(1, "few", &[numbers(0..100)], 10);
    cluster
}

fn here() -> SessionContext {
    one_process(&[("t", vec![numbers(0..ROWS)]), ("few", vec![numbers(0..100)])])
}

/// Runs a `CREATE TABLE`, at most 30 seconds.
async fn create(context: &SessionContext, statement: &str) -> Result<()> {
    let plan = context.state().create_logical_plan(statement).await?;
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = plan else { panic!("{statement} is {plan}") };
    tokio::time::timeout(LIMIT, create_table(context, &table)).await.expect("the end of the statement in 30 seconds")
}

/// Runs a `DROP TABLE`.
async fn drop(context: &SessionContext, statement: &str) -> Result<()> {
    let plan = context.state().create_logical_plan(statement).await?;
    let LogicalPlan::Ddl(DdlStatement::DropTable(table)) = plan else { panic!("{statement} is {plan}") };
    drop_table(context, &table).await
}

/// Until a node has hidden frames.
async fn wait_for_hidden(cluster: &Cluster) {
    let start = Instant::now();
    while !left(cluster).iter().any(|frame| frame.contains(" _staged.")) {
        assert!(start.elapsed() < LIMIT, "no task wrote a frame");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Until no node has a frame that a statement wrote: tasks that still run remove theirs when they end.
async fn wait_for_none(cluster: &Cluster) {
    let start = Instant::now();
    while !left(cluster).is_empty() {
        assert!(start.elapsed() < LIMIT, "{:?}", left(cluster));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The frames of all stores, without the tables. A name with two versions is here twice.
fn left(cluster: &Cluster) -> Vec<String> {
    let mut left = Vec::new();
    for (node, store) in cluster.stores.iter().enumerate() {
        for name in store.names().unwrap() {
            if !["t", "few"].contains(&name.as_str()) {
                left.extend(store.versions(&name).unwrap().iter().map(|_| format!("n{node} {name}")));
            }
        }
    }
    left
}

const QUERIES: [&str; 7] = [
    "SELECT * FROM t",
    "SELECT n + 1 AS m, half FROM t WHERE n % 3 = 0",
    "SELECT half, count(*) AS c FROM t GROUP BY half",
    "SELECT a.n, b.half FROM t a JOIN few b ON a.n = b.n",
    "SELECT n FROM t UNION ALL SELECT n FROM few",
    "SELECT n FROM t ORDER BY n DESC LIMIT 700",
    "SELECT n, half FROM t WHERE n < 0",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_created_table_has_the_rows_of_its_query() {
    let one = here();
    for vcores in [1, 3] {
        let cluster = split(vcores);
        for partitions in [1, 2, 7, 16] {
            let context = cluster.session(Cluster::config(partitions)).await;
            for (at, query) in QUERIES.iter().enumerate() {
                let name = format!("made_{partitions}_{at}");
                create(&context, &format!("CREATE TABLE {name} AS {query}")).await.unwrap();
                let first = query.split(&[' ', ',']).nth(1).unwrap();
                let column = if first == "*" || first.contains('.') { "n" } else { first };
                let column = if at == 1 { "m" } else { column };
                let every = |table: &str| format!("SELECT * FROM {table} ORDER BY {column} NULLS FIRST");
                let found = text(&run(&context, &every(&name)).await.unwrap());
                let expected = text(&run(&one, &every(&format!("({query})"))).await.unwrap());
                assert_eq!(found, expected, "{query}\n{vcores} vcores, {partitions} partitions");
            }
        }
        let left = left(&cluster);
        assert!(left.windows(2).all(|pair| pair[0] != pair[1]), "{left:?}");
        assert!(left.iter().all(|frame| frame.contains(" made_")), "{left:?}");
        for node in ["n0", "n1"] {
            assert!(left.contains(&format!("{node} made_16_0")), "the rows stay on their nodes: {left:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_table_has_the_order_of_its_query() {
    let cluster = split(1);
    for partitions in [1, 7] {
        let context = cluster.session(Cluster::config(partitions)).await;
        let name = format!("sorted_{partitions}");
        create(&context, &format!("CREATE TABLE {name} AS SELECT n FROM t ORDER BY n DESC")).await.unwrap();
        let frames: Vec<_> = cluster.stores.iter().filter_map(|store| store.open(&name).ok()).collect();
        let [frame] = frames.as_slice() else { panic!("the rows are in {} frames", frames.len()) };
        let mut found = Vec::new();
        for batch in frame.batches() {
            found.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
        let expected: Vec<i64> = (0..ROWS).rev().collect();
        assert_eq!(found, expected, "{partitions} partitions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_exists_is_not_written() {
    let cluster = split(1);
    let context = cluster.session(Cluster::config(4)).await;
    create(&context, "CREATE TABLE IF NOT EXISTS few AS SELECT * FROM t").await.unwrap();
    for (statement, message) in [
        ("CREATE TABLE few AS SELECT * FROM t", "the table `few` exists"),
        ("CREATE OR REPLACE TABLE few AS SELECT * FROM t", "can be neither replaced nor temporary"),
        (
            "CREATE TABLE twice AS SELECT a.n, b.n FROM t a JOIN t b ON a.n = b.n",
            "two columns of `twice` have the name `n`",
        ),
        ("CREATE TABLE \"a/b\" AS SELECT * FROM t", "a/b"),
    ] {
        let error = create(&context, statement).await.unwrap_err().to_string();
        assert!(error.contains(message), "{statement}: {error}");
    }
    assert_eq!(left(&cluster), Vec::<String>::new());
    assert!(text(&run(&context, "SELECT count(*) FROM few").await.unwrap()).contains("100"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_leaves_nothing() {
    let cluster = split(1);
    let context = cluster.session(Cluster::config(16)).await;
    let error = create(&context, "CREATE TABLE bad AS SELECT 7 / (n - 19999) AS x FROM t").await.unwrap_err();
    assert!(error.to_string().contains("DivideByZero"), "{error}");
    wait_for_none(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_node_publishes_meanwhile_stays_and_the_table_is_removed() {
    let cluster = split(1);
    let context = cluster.session(Cluster::config(4)).await;
    let slow = "CREATE TABLE late AS SELECT a.n FROM t a CROSS JOIN (SELECT n FROM t WHERE n < 100) b \
                WHERE a.n * b.n % 7919 = 3";
    let creating = tokio::spawn(async move { create(&context, slow).await });
    while cluster.reads().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.publish(1, "late", &[numbers(0..3)], 10);
    let error = creating.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("late"), "{error}");
    assert_eq!(left(&cluster), ["n1 late"]);
    assert_eq!(cluster.stores[1].open("late").unwrap().num_rows(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_a_missing_part_is_an_error_and_not_fewer_rows() {
    let cluster = split(1);
    let context = cluster.session(Cluster::config(4)).await;
    create(&context, "CREATE TABLE made AS SELECT * FROM t").await.unwrap();
    cluster.stores[1].remove("made").unwrap();
    let error = run(&context, "SELECT count(*) FROM made").await.unwrap_err().to_string();
    assert!(error.contains("of 2 parts that CREATE TABLE wrote, of which 1 are here"), "{error}");
    // So is a part that another frame replaced.
    cluster.publish(1, "made", &[numbers(0..3)], 10);
    let error = run(&context, "SELECT count(*) FROM made").await.unwrap_err().to_string();
    assert!(error.contains("with 1 other frames `made`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_killed_while_it_writes_costs_no_rows_and_doubles_none() {
    let cluster = split(1);
    for (from, to) in [(0, 1), (1, 0)] {
        let id = cluster.stores[from].open("t").unwrap().segment_id().unwrap();
        mirror(&cluster.stores[from], "t", &cluster.stores[to], &format!("_cluster.{id:032x}"));
    }
    let mut cluster = cluster;
    let context = cluster.session(Cluster::config(16)).await;
    let slow = "CREATE TABLE made AS SELECT a.n, b.n AS m FROM t a CROSS JOIN (SELECT n FROM t WHERE n < 60) b \
                WHERE a.n * b.n % 7919 = 3";
    let creating = tokio::spawn({
        let context = context.clone();
        async move { create(&context, slow).await }
    });
    // Until the second node has written some partitions.
    let start = Instant::now();
    let hidden = |cluster: &Cluster| left(cluster).iter().filter(|frame| frame.starts_with("n1 _staged.")).count();
    while hidden(&cluster) < 2 {
        assert!(start.elapsed() < LIMIT && !creating.is_finished(), "{:?}", left(&cluster));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.executors[1].kill().unwrap();
    cluster.executors[1].wait().unwrap();
    // Its node cannot publish any more, so the statement fails unless its rows were written again on the other node.
    let created = creating.await.unwrap();
    cluster.start_executor(1, 1);
    cluster.wait_for_node(1);
    let context = cluster.session(Cluster::config(16)).await;
    match created {
        Ok(()) => {
            let query = slow.replace("CREATE TABLE made AS ", "");
            let query = query.replace("a.n, b.n AS m", "count(*), sum(a.n), sum(b.n)");
            let expected = run(&here(), &query).await.unwrap();
            let found = run(&context, "SELECT count(*), sum(n), sum(m) FROM made").await.unwrap();
            let lines = |text: String| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(lines(text(&found)), lines(text(&expected)));
            assert!(!left(&cluster).iter().any(|frame| frame.contains("_staged.")), "{:?}", left(&cluster));
        }
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(&cluster.nodes[1]) || error.contains("the executor n1#"), "{error}");
            let left: Vec<_> = left(&cluster).into_iter().filter(|frame| !frame.contains(" _cluster.")).collect();
            assert_eq!(left, Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_statements_that_create_one_name_leave_the_table_of_one_or_none() {
    let cluster = split(1);
    cluster.publish(0, "small", &[numbers(0..7)], 10);
    let (one, other) = (cluster.session(Cluster::config(2)).await, cluster.session(Cluster::config(2)).await);
    for round in 0..6 {
        // The rows of the statements are on different nodes.
        let statements = ["few", "small"].map(|from| format!("CREATE TABLE made_{round} AS SELECT n FROM {from}"));
        let created = tokio::join!(create(&one, &statements[0]), create(&other, &statements[1]));
        let read = run(&one, &format!("SELECT count(*) AS c FROM made_{round}")).await;
        let made: Vec<_> =
            left(&cluster).into_iter().filter(|frame| frame.contains(&format!("made_{round}"))).collect();
        match created {
            (Ok(()), Err(error)) => {
                assert!(text(&read.unwrap()).contains("| 100 "), "{error}");
                assert_eq!(made, [format!("n1 made_{round}")]);
            }
            (Err(error), Ok(())) => {
                assert!(text(&read.unwrap()).contains("| 7 "), "{error}");
                assert_eq!(made, [format!("n0 made_{round}")]);
            }
            (Err(_), Err(_)) => {
                assert_eq!(made, Vec::<String>::new());
                create(&one, &statements[0]).await.expect("the name is free");
            }
            (Ok(()), Ok(())) => panic!("both created made_{round}; reading it: {:?}", read.map(|rows| text(&rows))),
        }
    }
    assert!(!left(&cluster).iter().any(|frame| frame.contains("_staged.")), "{:?}", left(&cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_gone_from_all_nodes() {
    let cluster = split(1);
    let context = cluster.session(Cluster::config(4)).await;
    create(&context, "CREATE TABLE made AS SELECT * FROM t").await.unwrap();
    assert_eq!(left(&cluster), ["n0 made", "n1 made"]);
    let error = drop(&context, "DROP TABLE information_schema.made").await.unwrap_err().to_string();
    assert!(error.contains("the only schema of a cluster"), "{error}");
    drop(&context, "DROP TABLE made").await.unwrap();
    assert_eq!(left(&cluster), Vec::<String>::new());
    let error = drop(&context, "DROP TABLE made").await.unwrap_err().to_string();
    assert!(error.contains("no node has a table `made`"), "{error}");
    drop(&context, "DROP TABLE IF EXISTS made").await.unwrap();
    // A table of which parts are missing cannot be read, and can be dropped.
    create(&context, "CREATE TABLE made AS SELECT * FROM t").await.unwrap();
    cluster.stores[0].remove("made").unwrap();
    drop(&context, "DROP TABLE made").await.unwrap();
    assert_eq!(left(&cluster), Vec::<String>::new());
    // One of which a program published a part is not touched.
    create(&context, "CREATE TABLE made AS SELECT * FROM few").await.unwrap();
    cluster.publish(0, "made", &[numbers(0..3)], 10);
    for (name, expected) in [("made", "`made` of node `n0`"), ("t", "`t` of node `n0`")] {
        let error = drop(&context, &format!("DROP TABLE {name}")).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("coframe rm"), "{error}");
        // As a program does that has only the session.
        assert!(context.sql(&format!("DROP TABLE {name}")).await.is_err());
    }
    assert_eq!(left(&cluster), ["n0 made", "n1 made"]);
    assert_eq!(cluster.stores[0].open("t").unwrap().num_rows(), ROWS as usize / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_statement_leaves_nothing() {
    let cluster = split(1);
    let context = cluster.session(Cluster::config(16)).await;
    let slow = "CREATE TABLE made AS SELECT a.n FROM t a CROSS JOIN (SELECT n FROM t WHERE n < 300) b \
                WHERE a.n * b.n % 7919 = 3";
    let plan = context.state().create_logical_plan(slow).await.unwrap();
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = plan else { panic!("{plan}") };
    let error = create_table_until(&context, &table, wait_for_hidden(&cluster)).await.unwrap_err().to_string();
    assert!(error.contains("`CREATE TABLE made` was interrupted"), "{error}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    wait_for_none(&cluster).await;
}
