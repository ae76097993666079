//! What a scan reads, and what its batches weigh.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    datatypes::Int64Type,
};
use coframe::PublishOptions;
use coframe_datafusion::{FrameSource, FrameTable};
use datafusion::{
    catalog::TableProvider,
    common::utils::memory::get_record_batch_memory_size,
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder},
        source::DataSourceExec,
    },
    execution::object_store::ObjectStoreUrl,
    physical_plan::{ExecutionPlan, collect, collect_partitioned, displayable},
    prelude::{col, lit},
};

use crate::common::{context, inside, mem_table, mixed, plan, run, scratch, table, text};

/// Bytes that the rows of a column take by themselves: what a copy of them would.
fn bytes(array: &ArrayRef) -> usize {
    if let Some(views) = array.as_string_view_opt() {
        let long = views.iter().flatten().filter(|text| text.len() > 12).map(str::len).sum::<usize>();
        return views.len() * 16 + long + array.nulls().map_or(0, |_| views.len().div_ceil(8));
    }
    array.to_data().get_slice_memory_size().unwrap()
}

#[tokio::test]
async fn batches_that_are_cut_weigh_no_more_than_their_rows() {
    let scratch = scratch();
    // One batch of 40 000 rows, which DataFusion wants in pieces of 8192.
    let frame = scratch.store.publish("t", &mixed(0..40_000)).unwrap();
    assert_eq!(frame.batches().len(), 1);
    for partitions in [1, 2, 7] {
        let found = run(&context(partitions, 8192, table(&frame)), "SELECT * FROM t").await.unwrap();
        let expected = run(&context(1, 8192, mem_table(&frame)), "SELECT * FROM t").await.unwrap();
        assert_eq!(text(&found, false), text(&expected, false));
        for batch in &found {
            assert!(batch.num_rows() <= 8192);
            let (weight, rows) =
                (get_record_batch_memory_size(batch), batch.columns().iter().map(bytes).sum::<usize>());
            assert!(
                weight * 100 <= rows * 105,
                "a batch of {} rows weighs {weight}, its columns {rows}",
                batch.num_rows()
            );
            // Offsets of strings and lists, and views, were written again: everything else is shared.
            let (_, outside) = inside(batch, &frame);
            assert!(outside <= batch.num_rows() * (4 + 4 + 16) + 8, "{outside} bytes outside of the map");
        }
        assert!(found.len() >= 5);
    }
}

#[tokio::test]
async fn small_batches_and_columns_of_fixed_width_are_never_copied() {
    let scratch = scratch();
    let frame = scratch.store.publish_with("t", &mixed(0..40_000), &PublishOptions::new().batch_rows(8000)).unwrap();
    for batch in run(&context(3, 8192, table(&frame)), "SELECT * FROM t").await.unwrap() {
        assert_eq!(inside(&batch, &frame).1, 0);
        let (weight, rows) = (get_record_batch_memory_size(&batch), batch.columns().iter().map(bytes).sum::<usize>());
        assert!(weight * 100 <= rows * 105, "a batch of {} rows weighs {weight}, its columns {rows}", batch.num_rows());
    }
    let frame = scratch.store.publish("t", &mixed(0..40_000)).unwrap();
    for batch in run(&context(3, 8192, table(&frame)), "SELECT id, value, flag, category FROM t").await.unwrap() {
        assert_eq!(inside(&batch, &frame).1, 0);
    }
}

#[tokio::test]
async fn parts_and_several_frames_are_tables() {
    let scratch = scratch();
    let options = PublishOptions::new().batch_rows(1000).statistics(true);
    let first = scratch.store.publish_with("a", &mixed(0..5000), &options).unwrap();
    let second = scratch.store.publish_with("b", &mixed(5000..9000), &options).unwrap();
    let both =
        [first.clone(), second.clone()].into_iter().flat_map(|frame| frame.batches().to_vec()).collect::<Vec<_>>();
    let part = first.slice(1500..4200).unwrap().select(["words", "id"]).unwrap();
    for partitions in [1, 2, 7, 16] {
        let tables = FrameTable::of_frames([first.clone(), second.clone()]).unwrap();
        let expected = datafusion::datasource::MemTable::try_new(first.schema().clone(), vec![both.clone()]).unwrap();
        for query in
            ["SELECT * FROM t", "SELECT min(id), max(id), count(value) FROM t", "SELECT sum(id) FROM t WHERE id > 4500"]
        {
            let found = run(&context(partitions, 512, tables.clone()), query).await.unwrap();
            let expected = run(&context(1, 512, expected_table(&expected)), query).await.unwrap();
            assert_eq!(text(&found, false), text(&expected, false), "{query}");
        }
        for query in ["SELECT * FROM t", "SELECT count(*), min(id), max(words) FROM t WHERE id % 2 = 0"] {
            let found = run(&context(partitions, 8192, table(&part)), query).await.unwrap();
            let expected = run(&context(1, 8192, mem_table(&part)), query).await.unwrap();
            assert_eq!(text(&found, false), text(&expected, false), "{query}");
        }
        for batch in run(&context(partitions, 8192, table(&part)), "SELECT * FROM t").await.unwrap() {
            let (weight, rows) =
                (get_record_batch_memory_size(&batch), batch.columns().iter().map(bytes).sum::<usize>());
            assert!(weight * 100 <= rows * 105, "{} rows weigh {weight}, not {rows}", batch.num_rows());
        }
    }
}

fn expected_table(table: &datafusion::datasource::MemTable) -> datafusion::datasource::MemTable {
    let batches = table.batches.iter().map(|partition| partition.try_read().unwrap().clone()).collect();
    datafusion::datasource::MemTable::try_new(datafusion::catalog::TableProvider::schema(table), batches).unwrap()
}

#[tokio::test]
async fn a_limit_reads_no_more_batches_than_it_needs_and_count_reads_none() {
    let scratch = scratch();
    let frame = scratch.store.publish_with("t", &mixed(0..10_000), &PublishOptions::new().batch_rows(100)).unwrap();
    let context = context(4, 8192, table(&frame));
    for (query, rows, read) in
        [("SELECT id FROM t LIMIT 250", 250, 3), ("SELECT count(*) FROM t", 1, 0), ("SELECT id FROM t", 10_000, 100)]
    {
        let (batches, found) = crate::common::measured(&context, query, "batches_read").await;
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{query}");
        assert_eq!(found, read, "{query}");
    }
}

#[tokio::test]
async fn a_limit_with_a_filter_keeps_every_row_that_can_match() {
    let scratch = scratch();
    let options = PublishOptions::new().batch_rows(100).statistics(true);
    let frame = scratch.store.publish_with("t", &mixed(0..10_000), &options).unwrap();
    for partitions in [1, 7] {
        let context = context(partitions, 512, table(&frame));
        let found = run(&context, "SELECT id FROM t WHERE flag AND id > 4000 LIMIT 250").await.unwrap();
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 250);
        // An engine may pass the limit to the scan together with the filter, which is applied to the scan's rows.
        let filters = [col("flag"), col("id").gt(lit(4000_i64))];
        let scan = table(&frame).scan(&context.state(), Some(&vec![0, 2]), &filters, Some(250)).await.unwrap();
        let rows = collect_partitioned(scan, context.task_ctx()).await.unwrap().concat();
        let matching = |batch: &RecordBatch| {
            let (ids, flags) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_boolean());
            (0..batch.num_rows())
                .filter(|&row| flags.is_valid(row) && flags.value(row) && ids.value(row) > 4000)
                .count()
        };
        let matching: usize = rows.iter().map(matching).sum();
        assert!(matching >= 250, "the scan returned {matching} rows that match, in {partitions} partitions");
    }
}

#[tokio::test]
async fn an_empty_frame_and_one_without_columns_are_tables() {
    let scratch = scratch();
    let empty = scratch.store.publish("empty", &mixed(0..0)).unwrap();
    for partitions in [1, 7] {
        let context = context(partitions, 8192, table(&empty));
        assert_eq!(
            run(&context, "SELECT id FROM t WHERE id > 3")
                .await
                .unwrap()
                .iter()
                .map(RecordBatch::num_rows)
                .sum::<usize>(),
            0
        );
        let counted = text(&run(&context, "SELECT count(*), min(id) FROM t").await.unwrap(), true);
        assert!(counted[2].starts_with("| 0 "), "{counted:?}");
    }
    let frame = scratch.store.publish("t", &mixed(0..9)).unwrap().select([""; 0]).unwrap();
    assert_eq!(
        text(&run(&context(2, 2, table(&frame)), "SELECT 1 AS one, count(*) AS n FROM t").await.unwrap(), true)[2],
        "| 1   | 9 |"
    );
}

#[tokio::test]
async fn frames_that_do_not_fit_together_are_refused_by_name() {
    let scratch = scratch();
    let one = scratch.store.publish("one", &mixed(0..3)).unwrap();
    let text = RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]).unwrap();
    let two = scratch.store.publish("two", &text).unwrap();
    let error = FrameTable::of_frames([one.select(["id"]).unwrap(), two.clone()]).unwrap_err().to_string();
    assert!(error.contains("`two@2` has a column `id` of type Utf8 where the table has `id` of type Int64"), "{error}");
    let error = FrameTable::of_frames([one, two.clone()]).unwrap_err().to_string();
    assert!(error.contains("`two@2` has 1 columns, the table 7"), "{error}");
    assert!(FrameTable::of_frames([]).is_err());
    let error = FrameTable::new(two.select(["id", "id"]).unwrap()).unwrap_err().to_string();
    assert!(error.contains("`two@2` has two columns with the name `id`"), "{error}");
}

/// The scan of a plan that consists of nothing else, with other files.
fn with_files(plan: &Arc<dyn ExecutionPlan>, files: Vec<PartitionedFile>) -> Arc<dyn ExecutionPlan> {
    let scan = plan.downcast_ref::<DataSourceExec>().unwrap();
    let config = scan.data_source().downcast_ref::<FileScanConfig>().unwrap();
    assert!(config.file_source().is::<FrameSource>());
    let config = FileScanConfigBuilder::from(config.clone()).with_file_groups(vec![FileGroup::new(files)]).build();
    DataSourceExec::from_data_source(config)
}

#[tokio::test]
async fn a_source_of_frames_reads_the_rows_of_its_files() {
    let scratch = scratch();
    let frames: Vec<_> = [("a", 0..100), ("b", 100..150)]
        .map(|(name, rows)| scratch.store.publish(name, &mixed(rows)).unwrap().select(["id"]).unwrap())
        .into();
    let source = FrameSource::of_frames(frames.clone(), frames[0].schema()).unwrap();
    assert!(source.file(90..110).is_none() && source.file(140..151).is_none(), "rows of two frames, or of none");
    let files = [90..100, 120..150].map(|rows| source.file(rows).unwrap());
    let url = ObjectStoreUrl::local_filesystem();
    let config = FileScanConfigBuilder::new(url, Arc::new(source)).with_file_groups(vec![FileGroup::new(files.into())]);
    let scan = DataSourceExec::from_data_source(config.build());
    let found = collect(scan, context(1, 8192, table(&frames[0])).task_ctx()).await.unwrap();
    let ids: Vec<i64> =
        found.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(ids, (90..100).chain(120..150).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_with_rows_that_its_frame_does_not_have_is_an_error() {
    let scratch = scratch();
    let frame = scratch.store.publish("t", &mixed(0..100)).unwrap();
    let context = context(1, 8192, table(&frame));
    let scan = plan(&context, "SELECT id FROM t").await;
    let shown = displayable(scan.as_ref()).indent(false).to_string();
    assert!(shown.contains("t@1.arrow:0..100") && shown.contains("file_type=coframe"), "{shown}");
    let mut file = PartitionedFile::new(String::new(), 0);
    file.object_meta.location = object_store::path::Path::from(frame.path().to_str().unwrap());
    let good = with_files(&scan, vec![file.clone().with_range(40, 50)]);
    let rows = collect(good, context.task_ctx()).await.unwrap();
    assert_eq!(
        rows[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().values(),
        &(40..50).collect::<Vec<_>>()[..]
    );
    for bad in [
        file.clone(),
        file.clone().with_range(40, 101),
        file.clone().with_range(-1, 4),
        file.clone().with_range(9, 4),
        {
            let mut file = file.clone().with_range(0, 100);
            file.object_meta.location = object_store::path::Path::from("elsewhere");
            file
        },
    ] {
        let error = collect(with_files(&scan, vec![bad]), context.task_ctx()).await.unwrap_err().to_string();
        assert!(error.contains("arrow`") || error.contains("`elsewhere`"), "{error}");
    }
}
