//! Refuses plans that Ballista would run wrongly.
//!
//! Ballista cuts the leaves of a stage down to the partitions of a task, but only leaves that it knows. Each task runs any
//! other leaf whole, so its rows come back several times, without an error.

use std::{any::Any, sync::Arc, time::Duration};

use async_trait::async_trait;
use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec, UnresolvedShuffleExec};
use datafusion::{
    catalog::Session,
    common::{Result, not_impl_err},
    datasource::{memory::MemorySourceConfig, physical_plan::FileScanConfig, source::DataSourceExec},
    execution::context::QueryPlanner,
    logical_expr::LogicalPlan,
    physical_plan::{
        ExecutionPlan, coalesce_partitions::CoalescePartitionsExec, empty::EmptyExec, explain::ExplainExec,
        placeholder_row::PlaceholderRowExec, repartition::RepartitionExec,
        sorts::sort_preserving_merge::SortPreservingMergeExec, union::UnionExec,
    },
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner},
};

use crate::{cores::Executors, publish::StagePlanner};

/// Checks that Ballista knows how to cut each leaf of a plan.
///
/// # Errors
///
/// * If a leaf is not a scan of files (as scans of frames are), rows in memory, a constant row, or a shuffle.
/// * If a constant row (`SELECT 1`) is in a `UNION`. Ballista replaces the row in the tasks that do not return it, then
///   finds that these tasks have other metrics than the stage, and the job never ends.
pub fn check(plan: &dyn ExecutionPlan) -> Result<()> {
    check_below(plan, false)
}

fn check_below(plan: &dyn ExecutionPlan, is_in_union: bool) -> Result<()> {
    let children = plan.children();
    if children.is_empty() && !is_known(plan) {
        return not_impl_err!(
            "the query reads `{}`, which Ballista would run once for each task and return its rows several times; \
             publish the rows as a frame, or run the query in one process",
            plan.name()
        );
    }
    if is_in_union && (plan.is::<PlaceholderRowExec>() || plan.is::<EmptyExec>()) {
        return not_impl_err!(
            "the query has a constant row in a UNION, at which Ballista hangs; write it as `SELECT * FROM (VALUES (1))`"
        );
    }
    // Each of these starts a stage, in which a constant row is alone.
    let is_boundary =
        plan.is::<RepartitionExec>() || plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>();
    let is_in_union = plan.is::<UnionExec>() || is_in_union && !is_boundary;
    children.into_iter().try_for_each(|child| check_below(child.as_ref(), is_in_union))
}

fn is_known(leaf: &dyn ExecutionPlan) -> bool {
    if let Some(scan) = leaf.downcast_ref::<DataSourceExec>() {
        let source: &dyn Any = scan.data_source().as_ref();
        return source.is::<FileScanConfig>() || source.is::<MemorySourceConfig>();
    }
    leaf.is::<EmptyExec>()
        || leaf.is::<PlaceholderRowExec>()
        || leaf.is::<ExplainExec>()
        || leaf.is::<ShuffleReaderExec>()
        || leaf.is::<RangeShuffleReaderExec>()
        || leaf.is::<UnresolvedShuffleExec>()
}

/// DataFusion's planner, followed by [`check`]. For the sessions of a scheduler, so that it checks the queries of all clients.
///
/// Ballista keeps a query that arrives while no executor is connected, without a limit. This planner waits for an executor,
/// and then fails.
#[derive(Debug)]
pub struct CheckedPlanner {
    executors: Executors,
    patience: Duration,
}

impl CheckedPlanner {
    /// Plans for these executors, and waits for the first one for at most `patience`.
    #[must_use]
    pub fn new(executors: Executors, patience: Duration) -> Self {
        Self { executors, patience }
    }
}

#[async_trait]
impl QueryPlanner for CheckedPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(StagePlanner)]);
        let plan = planner.create_physical_plan(plan, session).await?;
        check(plan.as_ref())?;
        self.executors.wait(self.patience).await?;
        Ok(plan)
    }
}
