//! Processes that are killed: the right answer or a named error within 30 seconds, and nothing stays.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use arrow::array::{Int64Array, RecordBatch};
use datafusion::{common::Result, dataframe::DataFrame, prelude::SessionContext};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, Setup, mirror, one_process, text};

const LIMIT: Duration = Duration::from_secs(30);
const ROWS: i64 = 20_000;
const SUM: &str = "SELECT sum(n) FROM t";

fn numbers(of: std::ops::Range<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", std::sync::Arc::new(of.collect::<Int64Array>()) as _)]).unwrap()
}

/// A table `t` on two nodes, each of which has a mirror of the part of the other.
fn mirrored(vcores: usize) -> Cluster {
    let cluster = Cluster::start(&Setup { vcores, ..Setup::default() });
    cluster.publish(0, "t", &[numbers(0..ROWS / 2)], 500);
    cluster.publish(1, "t", &[numbers(ROWS / 2..ROWS)], 500);
    for (from, to) in [(0, 1), (1, 0)] {
        let id = cluster.stores[from].open("t").unwrap().segment_id().unwrap();
        mirror(&cluster.stores[from], "t", &cluster.stores[to], &format!("_cluster.{id:032x}"));
    }
    cluster
}

fn kill(process: &mut Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

fn terminate(process: &mut Child) {
    kill_process(Pid::from_child(process), Signal::TERM).unwrap();
    let start = Instant::now();
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            assert!(status.success(), "{status:?}, signal {:?}", status.signal());
            return;
        }
        assert!(start.elapsed() < LIMIT, "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn collect(frame: DataFrame) -> Result<Vec<RecordBatch>> {
    tokio::time::timeout(LIMIT, frame.collect()).await.expect("an answer or an error in 30 seconds")
}

/// A scan that takes about a second: each row is compared with 200 others.
const SLOW_SCAN: &str = "SELECT count(*) FROM t a CROSS JOIN (SELECT n FROM t WHERE n < 200) b WHERE a.n * b.n % 7 = 3";
/// Groups that are ready in milliseconds, and seconds of work on them.
const SLOW_END: &str = "SELECT count(*) FROM (SELECT n % 6000 AS k, count(*) AS c FROM t GROUP BY n % 6000) a \
                        CROSS JOIN (SELECT n % 2000 AS k, count(*) AS c FROM t GROUP BY n % 2000) b \
                        WHERE a.k * b.k % 7 = a.c";

async fn right(query: &str) -> String {
    let one = one_process(&[("t", vec![numbers(0..ROWS)])]);
    text(&one.sql(query).await.unwrap().collect().await.unwrap())
}

/// Starts a query, calls `strike` once `when` holds, and returns the answer.
async fn struck(
    context: &SessionContext,
    query: &str,
    when: impl Fn() -> bool,
    strike: impl FnOnce(),
) -> (Result<Vec<RecordBatch>>, Duration) {
    let frame = context.sql(query).await.unwrap();
    let running = tokio::spawn(frame.collect());
    let start = Instant::now();
    while !when() {
        assert!(!running.is_finished(), "it ended too early for this test");
        assert!(start.elapsed() < LIMIT, "it did not come so far");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    strike();
    let start = Instant::now();
    let answer = tokio::time::timeout(LIMIT, running).await.expect("an answer or an error in 30 seconds");
    (answer.unwrap(), start.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_killed_in_the_scan_costs_time_and_no_rows() {
    let mut cluster = mirrored(1);
    let context = cluster.session(Cluster::config(4)).await;
    let mut victim = cluster.executors.remove(1);
    let has_read = || cluster.reads().iter().any(|read| read.node == "n1");
    let (answer, took) = struck(&context, SLOW_SCAN, has_read, || kill(&mut victim)).await;
    eprintln!("killed in the scan: {took:?}");
    assert_eq!(text(&answer.unwrap()), right(SLOW_SCAN).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_killed_after_its_shuffle_costs_time_and_no_rows() {
    // With one core nothing else can take the place of one that is lost.
    for vcores in [1, 6] {
        let mut cluster = mirrored(vcores);
        let context = cluster.session(Cluster::config(4)).await;
        let next = context.sql("SELECT sum(n) FROM t WHERE n > -1").await.unwrap();
        let mut victim = cluster.executors.remove(1);
        let has_read_all = cluster.have_read(2 * ROWS as usize);
        let strike = || {
            std::thread::sleep(Duration::from_millis(400));
            kill(&mut victim);
        };
        let (answer, took) = struck(&context, SLOW_END, has_read_all, strike).await;
        eprintln!("killed after the shuffle, {vcores} vcores: {took:?}");
        assert_eq!(text(&answer.unwrap()), right(SLOW_END).await);
        assert!(text(&collect(next).await.unwrap()).contains("199990000"), "the cores are free again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_killed_when_most_rows_are_computed_doubles_none() {
    let mut cluster = mirrored(1);
    let context = cluster.session(Cluster::config(16)).await;
    let query = "SELECT a.n, b.n AS m FROM t a CROSS JOIN (SELECT n FROM t WHERE n < 300) b WHERE a.n * b.n % 7919 = 3";
    let mut victim = cluster.executors.remove(1);
    let has_read_most = cluster.have_read(ROWS as usize * 3 / 2);
    let (answer, took) = struck(&context, query, has_read_most, || kill(&mut victim)).await;
    eprintln!("killed when most rows are computed: {took:?}");
    let found: usize = answer.unwrap().iter().map(RecordBatch::num_rows).sum();
    let one = one_process(&[("t", vec![numbers(0..ROWS)])]);
    assert_eq!(found, one.sql(query).await.unwrap().count().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_scheduler_a_client_gets_an_error_and_executors_still_stop() {
    let mut cluster = mirrored(1);
    let context = cluster.session(Cluster::config(4)).await;
    let seen = cluster.reads().len();
    let pid = Pid::from_child(&cluster.scheduler);
    let strike = || kill_process(pid, Signal::KILL).unwrap();
    let (answer, took) = struck(&context, SLOW_SCAN, || cluster.reads().len() > seen, strike).await;
    eprintln!("scheduler killed: {took:?}: {}", answer.unwrap_err());
    cluster.scheduler.wait().unwrap();
    let start = Instant::now();
    assert!(collect(context.sql(SUM).await.unwrap()).await.is_err());
    assert!(start.elapsed() < LIMIT);
    cluster.executors.iter_mut().for_each(terminate);
    assert_eq!(cluster.shuffles(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_executors_a_query_is_an_error_and_another_executor_runs_the_next_one() {
    let mut cluster = mirrored(1);
    let context = cluster.session(Cluster::config(4)).await;
    let (next, after) = (context.sql(SUM).await.unwrap(), context.sql(SUM).await.unwrap());
    let seen = cluster.reads().len();
    let mut victims = std::mem::take(&mut cluster.executors);
    let has_read = || cluster.reads().len() > seen;
    let (answer, took) = struck(&context, SLOW_SCAN, has_read, || victims.iter_mut().for_each(kill)).await;
    let error = answer.unwrap_err().to_string();
    eprintln!("all executors killed: {took:?}: {error}");
    assert!(error.contains("executor"), "{error}");
    // Its plan exists, so it does not ask the nodes.
    let error = collect(next).await.unwrap_err().to_string();
    assert!(error.contains("no executor has been connected to the scheduler"), "{error}");
    // One that arrives in time is not late.
    let late = tokio::spawn(collect(after));
    tokio::time::sleep(Duration::from_millis(500)).await;
    (0..2).for_each(|node| cluster.start_executor(node, 1));
    assert!(text(&late.await.unwrap().unwrap()).contains("199990000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_gone_is_replaced_by_a_mirror_and_named_without_one() {
    let mut cluster = mirrored(1);
    let context = cluster.session(Cluster::config(4)).await;
    let with_mirror = context.sql(SUM).await.unwrap();
    cluster.publish(1, "alone", &[numbers(0..100)], 10);
    let without = context.sql("SELECT sum(n) FROM alone").await.unwrap();
    kill(&mut cluster.executors[1]);
    let answer = collect(with_mirror).await.unwrap();
    assert!(text(&answer).contains("199990000"), "{}", text(&answer));
    let error = collect(without).await.unwrap_err().to_string();
    assert!(error.contains("`alone@") && error.contains("node `n1`"), "{error}");
    // A statement that starts now asks the node, and does not leave out its rows.
    let error = context.sql(SUM).await.unwrap_err().to_string();
    assert!(error.contains(&cluster.nodes[1]), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_asked_to_stop_leave_no_file() {
    let mut cluster = Cluster::start(&Setup { placement: "round-robin", ..Setup::default() });
    cluster.publish(0, "t", &[numbers(0..ROWS / 2)], 500);
    cluster.publish(1, "t", &[numbers(ROWS / 2..ROWS)], 500);
    let context = cluster.session(Cluster::config(16)).await;
    collect(context.sql("SELECT n % 10, count(*) FROM t GROUP BY n % 10").await.unwrap()).await.unwrap();
    assert!(cluster.shuffles().len() == 2 && !cluster.mirrors().is_empty());
    // One is killed; its successor removes what it left.
    kill(&mut cluster.executors[0]);
    cluster.start_executor(0, 1);
    let mut last = cluster.executors.pop().unwrap();
    cluster.wait_for_node(0);
    terminate(&mut last);
    terminate(&mut cluster.executors[1]);
    terminate(&mut cluster.scheduler);
    assert_eq!(cluster.shuffles(), Vec::<String>::new());
    assert_eq!(cluster.mirrors(), Vec::<String>::new());
}

/// Removes all files, and leaves the directories, as a program does that cleans up.
fn remove_files(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            remove_files(&entry.path());
        } else {
            // A task may have removed it.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffle_files_that_are_removed_cost_time_and_no_rows() {
    let cluster = mirrored(1);
    let context = cluster.session(Cluster::config(4)).await;
    let has_read_all = cluster.have_read(2 * ROWS as usize);
    // Of the four tasks of the last stage two run, and two still have to read their input. With twice the groups they do on
    // an idle machine too.
    let query = SLOW_END.replace("n % 2000", "n % 4000");
    let strike = || {
        std::thread::sleep(Duration::from_millis(400));
        cluster.shuffles().iter().for_each(|directory| remove_files(directory.as_ref()));
    };
    let (answer, took) = struck(&context, &query, has_read_all, strike).await;
    eprintln!("shuffle files removed: {took:?}");
    assert_eq!(text(&answer.unwrap()), right(&query).await);
    assert!(!cluster.reads().is_empty(), "the query ran again");
}
