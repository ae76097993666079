//! Queries that run again after an executor was lost.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use ballista_core::execution_plans::DistributedQueryExec;
use datafusion::{
    catalog::Session,
    common::{Result, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext, context::QueryPlanner},
    logical_expr::LogicalPlan,
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions, metrics::MetricsSet,
        stream::RecordBatchStreamAdapter,
    },
};
use datafusion_proto::protobuf::LogicalPlanNode;
use futures::{StreamExt, stream};

use crate::{cores::LOST, publish::Stage};

/// How often a query runs at most. A run can fail because of an executor that the scheduler has not missed yet.
const RUNS: u32 = 4;
/// The same if the client cannot fetch results. It may not reach the executors at all.
const RUNS_TO_FETCH: u32 = 2;
/// Pause before the third run; those before the next ones are longer.
const PAUSE: Duration = Duration::from_secs(1);

/// The error of a query that has run `number` times. Waits and returns nothing if the query should run again.
///
/// It should if results of its tasks were lost. What it computes would fail again.
pub(crate) async fn again(number: u32, error: DataFusionError) -> Result<()> {
    let most = most_runs(&error);
    if most == 1 {
        return Err(error);
    }
    if number >= most {
        return Err(error
            .context(format!("results were lost in {number} runs; check that all executors run and can be reached")));
    }
    log::warn!("the query runs again: {error}");
    tokio::time::sleep(PAUSE * (number - 1)).await;
    Ok(())
}

/// How often a query with this error may run.
fn most_runs(error: &DataFusionError) -> u32 {
    let text = error.to_string();
    // Of the scheduler: the second one is the error of a stage that could not fetch its input.
    if text.contains(LOST) || text.contains("has failed 1 times") {
        return RUNS;
    }
    // Of the client, which fetches the results.
    let is_fetch = ["Shuffle fetch partition error", "GrpcConnectionError"].iter().any(|part| text.contains(part));
    if is_fetch || has_status(error) { RUNS_TO_FETCH } else { 1 }
}

/// Whether an executor ended a stream of results.
fn has_status(error: &DataFusionError) -> bool {
    let mut next = Some(error as &(dyn Error + 'static));
    while let Some(error) = next {
        if error.is::<tonic::Status>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A planner of Ballista whose queries run again if an executor is lost.
#[derive(Debug)]
pub(crate) struct RerunPlanner(pub(crate) Arc<dyn QueryPlanner + Send + Sync>);

#[async_trait]
impl QueryPlanner for RerunPlanner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.0.create_physical_plan(logical, session).await?;
        // Others run in the client, or measure a single run (EXPLAIN ANALYZE). A table that is created has to be removed
        // between two runs.
        let is_stage = matches!(logical, LogicalPlan::Extension(node) if node.node.as_any().is::<Stage>());
        if !is_stage && plan.is::<DistributedQueryExec<LogicalPlanNode>>() {
            Ok(Arc::new(RerunExec(plan)))
        } else {
            Ok(plan)
        }
    }
}

/// Sends a query to the scheduler, and again if it failed because of a lost executor and has returned no rows.
///
/// Each run is a job, which shares neither results nor files with the one before.
#[derive(Debug)]
struct RerunExec(Arc<dyn ExecutionPlan>);

/// A query that runs, perhaps not for the first time.
struct Run {
    query: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    rows: SendableRecordBatchStream,
    number: u32,
    has_rows: bool,
}

impl Run {
    async fn next(mut self) -> Result<Option<(arrow::array::RecordBatch, Self)>> {
        loop {
            let error = match self.rows.next().await {
                None => return Ok(None),
                Some(Ok(batch)) => {
                    self.has_rows |= batch.num_rows() > 0;
                    return Ok(Some((batch, self)));
                }
                Some(Err(error)) => error,
            };
            if self.has_rows && most_runs(&error) > 1 {
                return Err(error.context("rows were returned already, so only you can run the query again"));
            }
            again(self.number, error).await?;
            self.number += 1;
            self.rows = self.query.execute(0, self.context.clone())?;
        }
    }
}

impl DisplayAs for RerunExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(format, f)
    }
}

impl ExecutionPlan for RerunExec {
    fn name(&self) -> &'static str {
        "RerunExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.0.execute(partition, context.clone())?;
        let run = Run { query: self.0.clone(), context, rows, number: 1, has_rows: false };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::try_unfold(run, Run::next))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.0.metrics()
    }
}

#[cfg(test)]
mod tests {
    use arrow::error::ArrowError;
    use ballista_core::error::BallistaError;

    use super::*;

    #[test]
    fn only_a_query_whose_results_were_lost_runs_again() {
        let execution = |text: &str| DataFusionError::Execution(text.to_owned());
        let lost = execution(&format!("Job 7 failed: the executor n0#1 {LOST}; run the query again"));
        let stage =
            "Job failed due to stage 2 failed: Stage 2 has failed 1 times, most recent failure reason: \"no file\"";
        for error in [lost, execution(stage)] {
            assert_eq!(most_runs(&error), RUNS, "{error}");
        }
        let status = ArrowError::from_external_error(Box::new(tonic::Status::unavailable("the transport is closed")));
        let fetch = BallistaError::FetchFailed("n0#1".to_owned(), 1, 2, "no file".to_owned()).into_datafusion();
        for error in
            [DataFusionError::ArrowError(Box::new(status), None), fetch, execution("GrpcConnectionError(\"x\")")]
        {
            assert_eq!(most_runs(&error), RUNS_TO_FETCH, "{error}");
        }
        for error in [execution("Job 7 failed: DivideByZero"), execution("Job 7 failed: Cancelled")] {
            assert_eq!(most_runs(&error), 1, "{error}");
        }
    }
}
