//! The 22 queries of TPC-H on frames.

use std::sync::Arc;

use coframe::PublishOptions;
use coframe_datafusion::FrameTable;
use datafusion::{
    datasource::MemTable,
    physical_plan::displayable,
    prelude::{SessionConfig, SessionContext},
};

use crate::{
    common::{plan, run, scratch, text},
    tpch::{queries, tables},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queries_of_tpch_give_the_results_of_mem_table() {
    let scratch = scratch();
    let tables = tables(0.01, 1 << 20);
    let context = |partitions: usize| {
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions).with_batch_size(1024))
    };
    let expected = context(1);
    let contexts = [1, 2, 7, 16].map(context);
    for table in &tables {
        let memory = MemTable::try_new(table.schema.clone(), vec![table.batches.clone()]).unwrap();
        expected.register_table(table.name, Arc::new(memory)).unwrap();
        let options = PublishOptions::new().statistics(true).batch_rows(4000);
        let frame = scratch.store.publish_with(table.name, &table.batches, &options).unwrap();
        for context in &contexts {
            context.register_table(table.name, Arc::new(FrameTable::new(frame.clone()).unwrap())).unwrap();
        }
    }
    let mut rows = 0;
    for (at, query) in queries().into_iter().enumerate() {
        let expected = text(&run(&expected, query).await.unwrap(), true);
        rows += expected.len();
        for (context, partitions) in contexts.iter().zip([1, 2, 7, 16]) {
            let found = text(&run(context, query).await.unwrap(), true);
            assert_eq!(found, expected, "query {} in {partitions} partitions", at + 1);
        }
    }
    assert!(rows > 300, "{rows} rows of results");
    // `lineitem` has more bytes than `orders`, but fewer in the columns and rows of query 12.
    let shown = displayable(plan(&contexts[1], queries()[11]).await.as_ref()).indent(false).to_string();
    let (kept, _) = shown.split_once("orders@").expect("a scan of orders");
    assert!(kept.contains("lineitem@"), "{shown}");
}
