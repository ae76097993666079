//! Names of a store as tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use coframe::{PublishOptions, Store};
use coframe_datafusion::StoreCatalog;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::common::{run, scratch, text};

pub(crate) fn numbers(rows: impl IntoIterator<Item = i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from_iter_values(rows)) as ArrayRef)]).unwrap()
}

/// A context whose tables are the names of a store.
pub(crate) fn of_store(store: &Store) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(3)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema("coframe", "public")
        .with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    context.register_catalog("coframe", Arc::new(StoreCatalog::new(store.clone())));
    context
}

pub(crate) async fn one(context: &SessionContext, query: &str) -> String {
    let rows = text(&run(context, query).await.unwrap(), true);
    rows[2].trim_matches('|').trim().to_owned()
}

#[tokio::test]
async fn every_name_is_a_table_also_by_version_and_when_published_later() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    assert!(run(&context, "SELECT * FROM t").await.unwrap_err().to_string().contains("not found"));
    let keep = PublishOptions::new().keep(1);
    let first = scratch.store.publish_with("t", &numbers(0..3), &keep).unwrap().version();
    scratch.store.publish_with("t", &numbers(0..5), &keep).unwrap();
    scratch.store.publish("Other-name", &numbers(0..1)).unwrap();
    assert_eq!(one(&context, "SELECT count(*) FROM t").await, "5");
    assert_eq!(one(&context, &format!("SELECT count(*) FROM \"t@{first}\"")).await, "3");
    assert_eq!(one(&context, "SELECT count(*) FROM coframe.public.\"Other-name\"").await, "1");
    assert_eq!(
        one(&context, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'").await,
        "2"
    );
    for missing in ["u", "\"t@99\"", "\"../t\"", "\"t@x\""] {
        let error = run(&context, &format!("SELECT * FROM {missing}")).await.unwrap_err().to_string();
        assert!(error.contains("not found"), "{missing}: {error}");
    }
}

#[tokio::test]
async fn a_statement_keeps_the_versions_that_it_was_planned_with() {
    let scratch = scratch();
    let context = of_store(&scratch.store);
    scratch.store.publish("t", &numbers(0..3)).unwrap();
    let planned = context.sql("SELECT count(*) AS n, min(b.x) AS low FROM t a JOIN t b ON a.x = b.x").await.unwrap();
    scratch.store.publish("t", &numbers(100..200)).unwrap();
    let before = text(&planned.clone().collect().await.unwrap(), true);
    assert!(before[2].contains("| 3 | 0   |"), "{before:?}");
    scratch.store.remove("t").unwrap();
    assert_eq!(text(&planned.collect().await.unwrap(), true), before);
    assert!(run(&context, "SELECT * FROM t").await.is_err());
}
