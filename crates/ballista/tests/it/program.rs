//! `coframe-cluster sql`, as a user runs it.

use std::{
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use arrow::array::{Int64Array, RecordBatch};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, Setup};

fn numbers(of: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", std::sync::Arc::new(of.collect::<Int64Array>()) as _)]).unwrap()
}

/// Two nodes, whose executors have two and one core.
fn uneven() -> Cluster {
    let cluster = Cluster::start(&Setup { vcores: 2, last_vcores: Some(1), ..Setup::default() });
    cluster.publish(0, "t", &[numbers(0..10_000)], 500);
    cluster.publish(1, "t", &[numbers(10_000..20_000)], 500);
    cluster
}

fn sql(cluster: &Cluster, statement: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_coframe-cluster"))
        .args(["sql", "--scheduler", &cluster.address, "--nodes", &cluster.nodes.join(","), statement])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(program: Child) -> (bool, String, String) {
    let Output { status, stdout, stderr } = program.wait_with_output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_query_has_as_many_partitions_as_the_executors_have_cores() {
    let cluster = uneven();
    let (is_right, rows, errors) = end(sql(&cluster, "SELECT sum(n) FROM t"));
    assert!(is_right && rows.contains("199990000"), "{rows}{errors}");
    assert_eq!(cluster.reads().len(), 4, "each node has half of three partitions, rounded up");
}

#[test]
fn a_table_is_created_read_and_dropped_by_its_name() {
    let cluster = uneven();
    let statements = "CREATE TABLE made AS SELECT n + 1 AS m FROM t; SELECT sum(m) FROM made; DROP TABLE made";
    let (is_right, rows, errors) = end(sql(&cluster, statements));
    assert!(is_right && rows.contains("200010000"), "{rows}{errors}");
    for store in &cluster.stores {
        assert_eq!(store.names().unwrap().len(), 1, "{:?}", store.names());
    }
    let (is_right, _, errors) = end(sql(&cluster, "DROP TABLE t"));
    assert!(!is_right && errors.contains("coframe rm t") && errors.lines().count() == 1, "{errors}");
}

#[test]
fn an_interrupt_removes_what_a_statement_wrote() {
    let cluster = uneven();
    let slow = "CREATE TABLE made AS SELECT a.n FROM t a CROSS JOIN (SELECT n FROM t WHERE n < 600) b \
                WHERE a.n * b.n % 7919 = 3 UNION ALL SELECT n FROM t";
    let program = sql(&cluster, slow);
    let hidden = || {
        let names = cluster.stores.iter().flat_map(|store| store.names().unwrap());
        names.filter(|name| name.as_str() != "t").map(|name| name.to_string()).collect::<Vec<_>>()
    };
    let start = Instant::now();
    while hidden().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "no task wrote a frame");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&program), Signal::INT).unwrap();
    let (is_right, _, errors) = end(program);
    assert!(!is_right && errors.contains("`CREATE TABLE made` was interrupted"), "{errors}");
    std::thread::sleep(Duration::from_secs(3));
    let start = Instant::now();
    while !hidden().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", hidden());
        std::thread::sleep(Duration::from_millis(50));
    }
}
