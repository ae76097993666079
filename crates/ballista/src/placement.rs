//! Which executor scans which partition: one whose node has the frames, if it will be free.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use ballista_core::{
    JobId,
    config::BallistaConfig,
    serde::{
        protobuf::{AvailableVcores, job_status::Status},
        scheduler::TaskKey,
    },
};
use ballista_scheduler::{
    cluster::{BoundTask, DistributionPolicy},
    state::{
        execution_graph::{TaskDescription, create_task_info},
        execution_stage::RunningStage,
        task_manager::JobInfoCache,
    },
};
use datafusion::{
    common::Result,
    datasource::physical_plan::FileGroup,
    physical_expr::Distribution,
    physical_plan::{ExecutionPlan, union::UnionExec},
};

use crate::source::scan_of;

/// Sends each partition to a node that has its frames.
///
/// The executors of a node have ids that start with its name and `#`. A partition without frames, or whose nodes have no
/// executor, goes to any executor.
///
/// A partition waits for a busy node only while this node has a running task. Ballista asks again when a task ends, when a
/// job arrives and when an executor is lost, and at no other time. So a job never waits for a node that is gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NearData;

/// The nodes that have the frames of an input partition of a stage; none if any node does.
fn homes(plan: &Arc<dyn ExecutionPlan>, partition: usize) -> Vec<String> {
    if let Some((config, source)) = scan_of(plan.as_ref()) {
        let files = config.file_groups.get(partition).map_or(&[][..], FileGroup::files);
        let first = source.parts_of(files).next();
        return first.map(|part| part.nodes().into_iter().map(str::to_owned).collect()).unwrap_or_default();
    }
    if plan.is::<UnionExec>() {
        let mut partition = partition;
        for child in plan.children() {
            let count = child.properties().output_partitioning().partition_count();
            if partition < count {
                return homes(child, partition);
            }
            partition -= count;
        }
        return Vec::new();
    }
    // A child that each task reads whole, as the build side of a join, does not depend on the partition. It decides only
    // if no other child does.
    let required = plan.input_distribution_requirements();
    let whole: Vec<bool> =
        required.per_child_distributions().map(|of| matches!(of, Distribution::SinglePartition)).collect();
    let of_children = |is_whole: bool| {
        let children = plan.children().into_iter().enumerate();
        let chosen = children.filter(|(at, _)| whole.get(*at).copied().unwrap_or(false) == is_whole);
        let mut found = chosen.map(|(_, child)| homes(child, if is_whole { 0 } else { partition }));
        found.find(|homes| !homes.is_empty())
    };
    of_children(false).or_else(|| of_children(true)).unwrap_or_default()
}

/// Whether the stage computes one partition of all its input, which only one task can do. Ballista's own function for this
/// is private.
fn collapses(stage: &Arc<dyn ExecutionPlan>) -> bool {
    fn below(plan: &Arc<dyn ExecutionPlan>) -> bool {
        if plan.name().contains("ShuffleReader") {
            return false;
        }
        plan.properties().output_partitioning().partition_count() == 1
            || matches!(plan.children().as_slice(), [child] if below(child))
    }
    matches!(stage.children().as_slice(), [child] if below(child))
}

/// The node of an executor.
fn node_of(executor: &str) -> &str {
    executor.split_once('#').map_or(executor, |(node, _)| node)
}

/// What is free, and what will be.
struct Round<'a> {
    budgets: Vec<&'a mut AvailableVcores>,
    /// Nodes with a free executor when the round started.
    free: HashSet<String>,
    /// Nodes with a running task.
    busy: HashSet<String>,
}

impl Round<'_> {
    /// The budget for a partition with these homes, if it should start now.
    fn budget(&mut self, homes: &[String]) -> Option<&mut AvailableVcores> {
        let is_home = |executor: &str| homes.iter().any(|home| home == node_of(executor));
        let is_coming = homes.iter().any(|home| self.free.contains(home) || self.busy.contains(home));
        let free = self.budgets.iter_mut().filter(|budget| budget.vcores > 0);
        // The executor with most room, so that work spreads.
        let mut found: Vec<_> = free.filter(|budget| !is_coming || is_home(&budget.executor_id)).collect();
        found.sort_by_key(|budget| std::cmp::Reverse(budget.vcores));
        found.into_iter().next().map(|budget| &mut **budget)
    }

    /// Starts what can start of a stage, and leaves the rest pending.
    fn bind(&mut self, job: &JobId, session: &str, stage: &mut RunningStage) -> Vec<BoundTask> {
        let collapse = collapses(&stage.plan);
        let most = stage.session_config.options().extensions.get::<BallistaConfig>();
        let most = most.map(BallistaConfig::max_partitions_per_task).filter(|most| *most > 0).unwrap_or(usize::MAX);
        let mut slices: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
        let pending = stage.pending.next_slice(usize::MAX);
        if collapse {
            let homes = pending.first().map(|first| homes(&stage.plan, *first)).unwrap_or_default();
            slices.push((homes, pending));
        } else {
            for partition in pending {
                let homes = homes(&stage.plan, partition);
                match slices.iter_mut().find(|(of, _)| *of == homes) {
                    Some((_, partitions)) => partitions.push(partition),
                    None => slices.push((homes, vec![partition])),
                }
            }
        }
        let (mut bound, mut left) = (Vec::new(), Vec::new());
        for (homes, mut partitions) in slices {
            while !partitions.is_empty() {
                let Some(budget) = self.budget(&homes) else { break };
                let count =
                    if collapse { partitions.len() } else { partitions.len().min(budget.vcores as usize).min(most) };
                let slice: Vec<usize> = partitions.drain(..count).collect();
                // A collapse computes one partition, in one thread.
                let vcores = if collapse { 1 } else { slice.len() as u32 };
                budget.vcores -= vcores;
                bound.push(task(job, session, stage, budget.executor_id.clone(), slice, vcores));
            }
            left.extend(partitions);
        }
        stage.pending.reschedule(left);
        bound
    }
}

/// A task of a stage, recorded there as started.
fn task(
    job: &JobId,
    session: &str,
    stage: &mut RunningStage,
    executor: String,
    slice: Vec<usize>,
    vcores: u32,
) -> BoundTask {
    let task_id = stage.task_infos.len();
    let mut info = create_task_info(executor.clone(), task_id);
    info.global_input_partition_ids.clone_from(&slice);
    info.vcores_consumed = vcores;
    stage.task_infos.push(info);
    let failures = slice.iter().filter_map(|partition| stage.task_failure_numbers.get(*partition)).max();
    let description = TaskDescription {
        session_id: session.to_owned(),
        key: TaskKey { job_id: job.clone(), stage_id: stage.stage_id, task_id },
        stage_attempt_num: stage.stage_attempt_num,
        task_attempt: failures.copied().unwrap_or(0),
        global_input_partition_ids: slice,
        vcores_consumed: vcores,
        plan: stage.plan.clone(),
        session_config: stage.session_config.clone(),
    };
    (executor, description)
}

#[async_trait]
impl DistributionPolicy for NearData {
    async fn bind_tasks(
        &self,
        budgets: Vec<&mut AvailableVcores>,
        jobs: Arc<HashMap<JobId, JobInfoCache>>,
    ) -> Result<Vec<BoundTask>> {
        let free = budgets.iter().filter(|budget| budget.vcores > 0);
        let free = free.map(|budget| node_of(&budget.executor_id).to_owned()).collect();
        // Before any graph is locked for writing.
        let mut busy = HashSet::new();
        for job in jobs.values() {
            let graph = job.execution_graph.read().await;
            busy.extend(graph.running_tasks().iter().map(|task| node_of(&task.executor_id).to_owned()));
        }
        let mut round = Round { budgets, free, busy };
        let mut bound = Vec::new();
        for (id, job) in jobs.iter().filter(|(_, job)| matches!(job.status, Some(Status::Running(_)))) {
            let mut graph = job.execution_graph.write().await;
            let session = graph.session_id().to_owned();
            let mut seen = Vec::new();
            while let Some(stage) = graph.fetch_running_stage(&seen) {
                seen.push(stage.stage_id);
                bound.extend(round.bind(id, &session, stage));
            }
        }
        Ok(bound)
    }

    fn name(&self) -> &'static str {
        "near-data"
    }
}
