//! Scratch stores, contexts, and results as text.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayData, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch},
    array::{DictionaryArray, StringArray, StringViewArray},
    datatypes::Int32Type,
    util::pretty::pretty_format_batches,
};
use coframe::{Frame, Store};
use coframe_datafusion::FrameTable;
use datafusion::{
    catalog::TableProvider,
    common::Result,
    datasource::MemTable,
    physical_plan::{ExecutionPlan, collect},
    prelude::{SessionConfig, SessionContext},
};
use tempfile::TempDir;

/// A store in memory, removed with its directory.
pub(crate) struct Scratch {
    pub(crate) store: Store,
    directory: TempDir,
}

impl Scratch {
    /// Names of the files in the store, without those that each store has.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("store")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter(|name| !["store", ".home", ".swept"].contains(&name.as_str())).collect();
        names.sort();
        names
    }
}

pub(crate) fn scratch() -> Scratch {
    let directory = tempfile::Builder::new().prefix("coframe-test-").tempdir_in("/dev/shm").unwrap();
    let store = Store::open_at(directory.path().join("store")).unwrap();
    Scratch { store, directory }
}

/// A context that plans this many partitions and batches of this many rows, with a table `t`.
pub(crate) fn context(partitions: usize, batch_rows: usize, table: impl TableProvider + 'static) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch_rows);
    let context = SessionContext::new_with_config(config);
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

pub(crate) fn mem_table(frame: &Frame) -> MemTable {
    MemTable::try_new(frame.schema().clone(), vec![frame.batches().to_vec()]).unwrap()
}

pub(crate) fn table(frame: &Frame) -> FrameTable {
    FrameTable::new(frame.clone()).unwrap()
}

pub(crate) async fn run(context: &SessionContext, query: &str) -> Result<Vec<RecordBatch>> {
    context.sql(query).await?.collect().await
}

pub(crate) async fn plan(context: &SessionContext, query: &str) -> Arc<dyn ExecutionPlan> {
    context.sql(query).await.unwrap().create_physical_plan().await.unwrap()
}

/// The rows of a plan, and the sum of one of its metrics.
pub(crate) async fn measured(context: &SessionContext, query: &str, metric: &str) -> (Vec<RecordBatch>, usize) {
    let plan = plan(context, query).await;
    let rows = collect(plan.clone(), context.task_ctx()).await.unwrap();
    (rows, metric_of(&plan, metric))
}

fn metric_of(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name(name)).map_or(0, |value| value.as_usize());
    own + plan.children().into_iter().map(|child| metric_of(child, name)).sum::<usize>()
}

/// Types of the columns, and the rows as text; in order, or sorted.
pub(crate) fn text(batches: &[RecordBatch], in_order: bool) -> Vec<String> {
    let types = batches.first().map(|batch| {
        let fields = batch.schema_ref().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        fields.collect::<Vec<_>>().join(", ")
    });
    let table = pretty_format_batches(batches).unwrap().to_string();
    // Rules between the rows are as wide as the widest value of all batches.
    let mut rows: Vec<String> = table.lines().filter(|line| !line.starts_with('+')).map(str::to_owned).collect();
    if !in_order {
        rows.sort();
    }
    types.into_iter().chain(rows).collect()
}

/// The streams of the conformance set, by name.
pub(crate) fn conformance() -> Vec<(String, std::path::PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/conformance");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "arrow"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    cases.sort();
    assert!(cases.len() > 40, "only {} cases", cases.len());
    cases
}

/// Rows with an ascending id, numbers, flags, strings, views, categories and lists.
pub(crate) fn mixed(rows: std::ops::Range<i64>) -> RecordBatch {
    let ids = || rows.clone();
    let columns: [(&str, ArrayRef); 7] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids()))),
        ("value", Arc::new(ids().map(|id| (id % 11 != 0).then_some(id as f64 / 2.0)).collect::<Float64Array>())),
        ("flag", Arc::new(ids().map(|id| (id % 5 != 0).then_some(id % 3 == 0)).collect::<BooleanArray>())),
        ("text", Arc::new(ids().map(|id| Some(format!("row {}", id % 1000))).collect::<StringArray>())),
        (
            "words",
            Arc::new(
                ids()
                    .map(|id| {
                        (id % 7 != 0)
                            .then(|| format!("{}a view of more than twelve bytes {id}", "x".repeat(id as usize % 3)))
                    })
                    .collect::<StringViewArray>(),
            ),
        ),
        (
            "category",
            Arc::new(
                ids().map(|id| Some(["red", "green", "blue"][id as usize % 3])).collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>(
                ids().map(|id| (id % 13 != 0).then(|| (0..id % 4).map(move |item| Some(id + item)))),
            )),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, name != "id"))).unwrap()
}

/// Calls with every buffer of an array and of those inside of it.
pub(crate) fn each_buffer(data: &ArrayData, call: &mut dyn FnMut(&[u8])) {
    // Arrow makes an offset for an array without values.
    if data.is_empty() {
        return;
    }
    data.buffers().iter().for_each(|buffer| call(buffer.as_slice()));
    if let Some(nulls) = data.nulls() {
        call(nulls.buffer().as_slice());
    }
    data.child_data().iter().for_each(|child| each_buffer(child, call));
}

/// How many buffers of a batch are inside the map of a frame, and how many bytes are outside.
pub(crate) fn inside(batch: &RecordBatch, frame: &Frame) -> (usize, usize) {
    let map = frame.segment_bytes();
    let place = map.as_ptr_range();
    let (mut found, mut outside) = (0, 0);
    for column in batch.columns() {
        each_buffer(&column.to_data(), &mut |bytes| {
            let range = bytes.as_ptr_range();
            if bytes.is_empty() || place.start <= range.start && range.end <= place.end {
                found += 1;
            } else {
                outside += bytes.len();
            }
        });
    }
    (found, outside)
}
