//! Statements that publish.

use std::{sync::Arc, time::Duration};

use coframe::PublishOptions;
use coframe_datafusion::{FrameFormat, FrameTable, StoreCatalog};
use datafusion::{
    arrow::datatypes::SchemaRef,
    catalog::streaming::StreamingTable,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
    prelude::SessionContext,
};
use futures::StreamExt;

use crate::{
    common::{run, scratch, text},
    store::{numbers, of_store, one},
};

#[tokio::test]
async fn inserts_publish_the_next_version() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    scratch.store.publish_with("t", &numbers(0..3), &PublishOptions::new().keep(5)).unwrap();
    assert_eq!(one(&context, "INSERT INTO t VALUES (10), (11)").await, "2");
    assert_eq!(one(&context, "SELECT sum(x) FROM t").await, "24");
    assert_eq!(one(&context, "INSERT INTO t SELECT x + 100 FROM t").await, "5");
    assert_eq!(one(&context, "SELECT count(*) FROM t").await, "10");
    assert_eq!(one(&context, "INSERT OVERWRITE t SELECT x FROM t WHERE x >= 110").await, "2");
    let frame = scratch.store.open("t").unwrap();
    assert_eq!((frame.num_rows(), frame.version()), (2, 4));
    assert!(frame.statistics().unwrap().is_some());
    for refused in ["INSERT INTO \"t@4\" VALUES (1)", "INSERT INTO missing VALUES (1)", "DELETE FROM t", "DROP TABLE t"]
    {
        assert!(run(&context, refused).await.is_err(), "{refused}");
    }
    assert_eq!(scratch.store.open("t").unwrap().version(), 4);
}

#[tokio::test]
async fn an_append_to_a_version_that_is_not_the_latest_changes_nothing() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    scratch.store.publish("t", &numbers(0..3)).unwrap();
    let planned = context.sql("INSERT INTO t VALUES (10)").await.unwrap();
    scratch.store.publish("t", &numbers(0..4)).unwrap();
    let error = planned.collect().await.unwrap_err();
    assert!(error.to_string().contains("`t`"), "{error}");
    assert_eq!(scratch.store.open("t").unwrap().num_rows(), 4);
}

#[tokio::test]
async fn a_table_of_a_query_is_published() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    scratch.store.publish("t", &numbers(0..1000)).unwrap();
    run(&context, "CREATE TABLE late AS SELECT x * 2 AS y, cast(x AS varchar) AS s FROM t WHERE x > 900")
        .await
        .unwrap();
    let late = scratch.store.open("late").unwrap();
    assert_eq!((late.num_rows(), late.schema().field(0).name().as_str()), (99, "y"));
    assert!(
        run(&context, "CREATE TABLE late AS SELECT 1 AS y").await.unwrap_err().to_string().contains("already exists")
    );
    run(&context, "CREATE TABLE IF NOT EXISTS late AS SELECT 1 AS y").await.unwrap();
    assert!(run(&context, "CREATE OR REPLACE TABLE late AS SELECT 1 AS y").await.is_err());
    assert!(run(&context, "CREATE TABLE broken AS SELECT 1 / (x - 5) AS y FROM t").await.is_err());
    assert_eq!(scratch.store.open("late").unwrap().num_rows(), 99);
    assert_eq!(scratch.store.names().unwrap().len(), 2);
}

#[tokio::test]
async fn copy_publishes_under_the_name_of_its_target() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    let format = Arc::new(FrameFormat::new(scratch.store.clone()));
    context.state_ref().write().register_file_format(format, false).unwrap();
    scratch.store.publish("t", &numbers(0..1000)).unwrap();
    let path = scratch.store.path().join("second");
    for (statement, name) in [
        ("COPY (SELECT x FROM t WHERE x < 10) TO 'first.coframe'".to_owned(), "first"),
        (format!("COPY (SELECT x FROM t WHERE x < 10) TO '{}' STORED AS coframe", path.display()), "second"),
    ] {
        assert_eq!(one(&context, &statement).await, "10");
        assert_eq!(scratch.store.open(name).unwrap().num_rows(), 10);
    }
    for refused in [
        "COPY t TO '/tmp/elsewhere/x.coframe'",
        "COPY t TO '.hidden.coframe'",
        "COPY t TO 'x.coframe' PARTITIONED BY (x)",
        "COPY (SELECT 1 / (x - 5) AS y FROM t) TO 'x.coframe'",
    ] {
        assert!(run(&context, refused).await.is_err(), "{refused}");
    }
    assert!(!scratch.files().iter().any(|file| file.contains('x')), "{:?}", scratch.files());
}

/// Rows that arrive until `end`, and then an error, or nothing for ever.
#[derive(Debug)]
struct Rows {
    schema: SchemaRef,
    fails: bool,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = futures::stream::iter((0..50).map(|_| Ok(numbers(0..8192))));
        let end = if self.fails {
            futures::stream::once(async { datafusion::common::exec_err!("the source failed") }).boxed()
        } else {
            futures::stream::pending().boxed()
        };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows.chain(end)))
    }
}

fn with_rows(context: &SessionContext, fails: bool) -> datafusion::prelude::DataFrame {
    let schema = numbers(0..0).schema();
    let table = StreamingTable::try_new(schema.clone(), vec![Arc::new(Rows { schema, fails })]).unwrap();
    context.read_table(Arc::new(table)).unwrap()
}

/// Files of this process in the store that have no name, as drafts have none.
fn drafts(store: &coframe::Store) -> usize {
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let place = store.path().to_string_lossy().into_owned();
    links
        .filter(|link| link.to_string_lossy().starts_with(&place) && link.to_string_lossy().ends_with("(deleted)"))
        .count()
}

#[tokio::test]
async fn nothing_is_left_of_a_write_that_failed_or_was_cancelled() {
    let scratch = scratch();
    let store = &scratch.store;
    let context = of_store(store);
    store.publish("t", &numbers(0..3)).unwrap();
    let before = scratch.files();
    let options = PublishOptions::new().batch_rows(1000);

    let error = coframe_datafusion::publish(with_rows(&context, true), store, "t", &options).await.unwrap_err();
    assert!(error.to_string().contains("the source failed"), "{error}");
    assert_eq!((scratch.files(), drafts(store)), (before.clone(), 0));

    let table = FrameTable::new(store.open("t").unwrap()).unwrap().with_inserts(store.clone(), options.clone());
    context.deregister_table("t").unwrap_err();
    let plain = SessionContext::new();
    plain.register_table("t", Arc::new(table)).unwrap();
    plain.state_ref().write().register_file_format(Arc::new(FrameFormat::new(store.clone())), false).unwrap();
    plain.register_catalog("frames", Arc::new(StoreCatalog::new(store.clone())));
    let endless = with_rows(&plain, false);
    plain.register_table("endless", endless.into_view()).unwrap();
    for cancelled in [
        "",
        "INSERT INTO t SELECT x FROM endless",
        "INSERT OVERWRITE t SELECT x FROM endless",
        "COPY (SELECT x FROM endless) TO 'copied.coframe'",
        "CREATE TABLE frames.public.made AS SELECT x FROM endless",
    ] {
        let inserting = async {
            match cancelled {
                "" => drop(coframe_datafusion::publish(with_rows(&context, false), store, "t", &options).await),
                statement => run(&plain, statement).await.map(drop).unwrap(),
            }
        };
        assert!(tokio::time::timeout(Duration::from_millis(300), inserting).await.is_err(), "{cancelled} ended");
        assert_eq!(scratch.files(), before);
        // The writer's thread closes its file once it sees that the query is gone.
        for _ in 0..1000 {
            if drafts(store) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(drafts(store), 0);
    }
    assert_eq!(text(&run(&context, "SELECT count(*) FROM t").await.unwrap(), true)[2], "| 3        |");
}
