//! How many cores each executor has free, counted from the tasks that run.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use ballista_core::{
    JobId,
    error::Result,
    serde::{
        protobuf::{AvailableVcores, ExecutorHeartbeat},
        scheduler::{ExecutorData, ExecutorMetadata},
    },
};
use ballista_scheduler::{
    cluster::{BoundTask, ClusterState, ClusterStateEventStream, DistributionPolicy, ExecutorSlot, JobState},
    config::TaskDistributionPolicy,
    state::task_manager::JobInfoCache,
};

/// Counts the free cores of executors before it places tasks: all cores, without those of the tasks that run.
///
/// Ballista keeps the number of free cores, and adds those of a task when the task ends. It finds out how many these are in
/// the stage of the task. If an executor is lost, it starts stages again, and then finds nothing for the tasks of their
/// first runs. Their cores are lost, and jobs hang if none is left.
///
/// If an executor is lost, it also starts all running queries again, from their scans. Ballista starts only the stages
/// again whose results it lost. If one of them reads another one, it runs whole, and the stage that reads it gets the new
/// results in addition to those that other executors still have: rows are counted twice, without an error. A query that
/// has returned rows fails instead, because they cannot be taken back.
pub struct CountedCores {
    inner: Arc<dyn ClusterState>,
    jobs: Arc<dyn JobState>,
    /// All cores of each executor.
    all: Mutex<HashMap<String, u32>>,
    /// Executors that were lost since tasks were placed.
    lost: Mutex<Vec<String>>,
}

impl CountedCores {
    /// Everything else remains in `inner`. Queries that fail are recorded in `jobs`.
    #[must_use]
    pub fn new(inner: Arc<dyn ClusterState>, jobs: Arc<dyn JobState>) -> Self {
        Self { inner, jobs, all: Mutex::default(), lost: Mutex::default() }
    }

    fn lost(&self) -> MutexGuard<'_, Vec<String>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If an executor was lost, drops all that queries have computed on any executor.
    async fn restart(&self, jobs: &HashMap<JobId, JobInfoCache>) -> Result<()> {
        let mut executors = std::mem::take(&mut *self.lost());
        if executors.is_empty() {
            return Ok(());
        }
        let lost = executors.join(", ");
        executors.extend(self.all().keys().cloned());
        for (id, job) in jobs {
            let mut graph = job.execution_graph.write().await;
            if !graph.output_locations().is_empty() {
                graph.abort_running(format!(
                    "the executor {lost} was lost while the query returned rows, and a second run would return some of them \
                     again; run the query again"
                ));
                self.jobs.save_job(id, &graph).await?;
                continue;
            }
            for executor in &executors {
                graph.reset_stages_on_lost_executor(executor)?;
            }
        }
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places no task. Sets how many cores are free.
#[derive(Debug)]
struct Recount(HashMap<String, u32>);

#[async_trait]
impl DistributionPolicy for Recount {
    async fn bind_tasks(
        &self,
        budgets: Vec<&mut AvailableVcores>,
        _: Arc<HashMap<JobId, JobInfoCache>>,
    ) -> datafusion::common::Result<Vec<BoundTask>> {
        for budget in budgets {
            budget.vcores = self.0.get(&budget.executor_id).copied().unwrap_or(0);
        }
        Ok(Vec::new())
    }

    fn name(&self) -> &'static str {
        "recount"
    }
}

/// The cores that running tasks have, by executor.
async fn used(jobs: &HashMap<JobId, JobInfoCache>) -> HashMap<String, u32> {
    let mut used = HashMap::new();
    for job in jobs.values() {
        let graph = job.execution_graph.read().await;
        for task in graph.running_tasks() {
            let cores = graph.task_vcores(task.stage_id, task.task_id).unwrap_or(0);
            *used.entry(task.executor_id).or_default() += cores;
        }
    }
    used
}

#[async_trait]
impl ClusterState for CountedCores {
    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        self.restart(&active_jobs).await?;
        let used = used(&active_jobs).await;
        let mut free = self.all().clone();
        for (executor, cores) in &mut free {
            *cores = cores.saturating_sub(used.get(executor).copied().unwrap_or(0));
        }
        // A policy sees only executors with a free core, so each gets one before the count.
        self.inner.unbind_tasks(free.keys().map(|executor| (executor.clone(), 1)).collect()).await?;
        let recount = TaskDistributionPolicy::Custom(Arc::new(Recount(free)));
        self.inner.bind_schedulable_tasks(recount, active_jobs.clone(), None).await?;
        self.inner.bind_schedulable_tasks(distribution, active_jobs, executors).await
    }

    /// Does nothing: the next count finds that the tasks do not run.
    async fn unbind_tasks(&self, _: Vec<ExecutorSlot>) -> Result<()> {
        Ok(())
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, spec: ExecutorData) -> Result<()> {
        let (executor, cores) = (spec.executor_id.clone(), spec.total_vcores);
        self.inner.register_executor(metadata, spec).await?;
        self.all().insert(executor, cores);
        Ok(())
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.inner.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.inner.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.inner.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.inner.save_executor_heartbeat(heartbeat).await
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        self.all().remove(executor_id);
        self.lost().push(executor_id.to_owned());
        self.inner.remove_executor(executor_id).await
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.inner.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}
