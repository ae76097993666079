//! How many cores each executor has free, counted from the tasks that run.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
    scheduler_server::SchedulerServer,
    state::task_manager::JobInfoCache,
};
use datafusion::common::exec_err;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::{sync::mpsc, time::Instant};

/// Part of the error of a query that had a task on an executor that was lost.
pub(crate) const LOST: &str = "was lost while the query ran";

/// How often a query without executors looks for one.
const POLL: Duration = Duration::from_millis(50);

/// The executors that are connected to a scheduler, and the number of cores of each.
#[derive(Clone, Debug, Default)]
pub struct Executors(Arc<Mutex<HashMap<String, u32>>>);

impl Executors {
    fn locked(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        locked(&self.0)
    }

    /// Waits until an executor is connected.
    ///
    /// # Errors
    ///
    /// If none is after `most`.
    pub(crate) async fn wait(&self, most: Duration) -> datafusion::common::Result<()> {
        let start = Instant::now();
        while self.locked().is_empty() {
            if start.elapsed() >= most {
                return exec_err!(
                    "no executor has been connected to the scheduler for {most:?}; \
                     start one with `coframe-cluster executor`, and run the query again"
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// Counts the free cores of executors before it places tasks, and ends queries that an executor's loss could make wrong.
///
/// Ballista keeps the number of free cores, and adds those of a task when the task ends. It finds out how many these are in
/// the stage of the task. If a stage starts again, Ballista finds nothing for the tasks of its first run. Their cores are
/// lost, and jobs hang if none is left. Therefore the free cores are all cores, without those of the tasks that run.
///
/// If an executor is lost, every query that had a task on it fails, and the client runs it again
/// ([`connect`](crate::connect)). Ballista would start only the stages again whose results it lost. If one of them reads
/// another one, it runs whole, and the stage that reads it gets the new results in addition to those that other executors
/// still have: rows are counted twice, without an error. Tasks of the first run can also replace the files of the second
/// one, because both runs name them alike. A query that runs again is another job, with other files.
pub struct CountedCores {
    inner: Arc<dyn ClusterState>,
    jobs: Arc<dyn JobState>,
    executors: Executors,
    /// Executors that were lost since tasks were placed.
    lost: Mutex<Vec<String>>,
    /// The executors that got tasks of each query that runs.
    used: Mutex<HashMap<JobId, HashSet<String>>>,
    /// Queries that failed because of a lost executor, until the scheduler has ended them.
    failed: Mutex<HashSet<JobId>>,
    to_cancel: mpsc::UnboundedSender<JobId>,
}

/// Queries that [`CountedCores`] found to have failed, for [`FailedQueries::cancel_at`].
pub struct FailedQueries(mpsc::UnboundedReceiver<JobId>);

impl FailedQueries {
    /// Lets a scheduler end the tasks of each query that fails, and remove its files. Runs until it is dropped.
    pub async fn cancel_at(mut self, scheduler: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>) {
        while let Some(job) = self.0.recv().await {
            if let Err(error) = scheduler.cancel_job(job.clone()).await {
                log::error!("the tasks of the failed query {job} continue: {error}");
            }
        }
    }
}

impl CountedCores {
    /// Everything else remains in `inner`. Queries that fail are recorded in `jobs`, and the scheduler has to end them.
    /// `executors` gets those that are connected.
    #[must_use]
    pub fn new(inner: Arc<dyn ClusterState>, jobs: Arc<dyn JobState>, executors: Executors) -> (Self, FailedQueries) {
        let (to_cancel, failed) = mpsc::unbounded_channel();
        let cores = Self {
            inner,
            jobs,
            executors,
            lost: Mutex::default(),
            used: Mutex::default(),
            failed: Mutex::default(),
            to_cancel,
        };
        (cores, FailedQueries(failed))
    }

    /// Fails the queries that had a task on an executor that was lost since the last call.
    async fn fail(&self, jobs: &HashMap<JobId, JobInfoCache>) {
        let lost = std::mem::take(&mut *locked(&self.lost));
        let is_lost = |job: &JobId| {
            let used = locked(&self.used);
            used.get(job).and_then(|used| lost.iter().find(|lost| used.contains(*lost)).cloned())
        };
        for (id, job) in jobs {
            let Some(executor) = is_lost(id) else { continue };
            let mut graph = job.execution_graph.write().await;
            // It needs no more tasks.
            if graph.is_successful() {
                continue;
            }
            graph.fail_job(format!("the executor {executor} {LOST}; run the query again"));
            // Before the scheduler ends the query, which would give another reason.
            if let Err(error) = self.jobs.save_job(id, &graph).await {
                log::error!(
                    "the client of the query {id} does not learn that the executor {executor} was lost: {error}"
                );
            }
            locked(&self.failed).insert(id.clone());
            // Fails only when the scheduler stops.
            let _ = self.to_cancel.send(id.clone());
        }
    }

    /// The queries that run and did not fail. Forgets all others.
    fn running(&self, jobs: &HashMap<JobId, JobInfoCache>) -> Arc<HashMap<JobId, JobInfoCache>> {
        locked(&self.used).retain(|job, _| jobs.contains_key(job));
        let mut failed = locked(&self.failed);
        failed.retain(|job| jobs.contains_key(job));
        let running = jobs.iter().filter(|(job, _)| !failed.contains(*job));
        Arc::new(running.map(|(id, job)| (id.clone(), job.clone())).collect())
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
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
async fn busy(jobs: &HashMap<JobId, JobInfoCache>) -> HashMap<String, u32> {
    let mut busy = HashMap::new();
    for job in jobs.values() {
        let graph = job.execution_graph.read().await;
        for task in graph.running_tasks() {
            let cores = graph.task_vcores(task.stage_id, task.task_id).unwrap_or(0);
            *busy.entry(task.executor_id).or_default() += cores;
        }
    }
    busy
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
        self.fail(&active_jobs).await;
        let jobs = self.running(&active_jobs);
        let busy = busy(&jobs).await;
        let mut free = self.executors.locked().clone();
        for (executor, cores) in &mut free {
            *cores = cores.saturating_sub(busy.get(executor).copied().unwrap_or(0));
        }
        // A policy sees only executors with a free core, so each gets one before the count.
        self.inner.unbind_tasks(free.keys().map(|executor| (executor.clone(), 1)).collect()).await?;
        let recount = TaskDistributionPolicy::Custom(Arc::new(Recount(free)));
        self.inner.bind_schedulable_tasks(recount, jobs.clone(), None).await?;
        let bound = self.inner.bind_schedulable_tasks(distribution, jobs, executors).await?;
        let mut used = locked(&self.used);
        for (executor, task) in &bound {
            used.entry(task.key.job_id.clone()).or_default().insert(executor.clone());
        }
        drop(used);
        Ok(bound)
    }

    /// Does nothing: the next count finds that the tasks do not run.
    async fn unbind_tasks(&self, _: Vec<ExecutorSlot>) -> Result<()> {
        Ok(())
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, spec: ExecutorData) -> Result<()> {
        let (executor, cores) = (spec.executor_id.clone(), spec.total_vcores);
        self.inner.register_executor(metadata, spec).await?;
        self.executors.locked().insert(executor, cores);
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
        self.executors.locked().remove(executor_id);
        locked(&self.lost).push(executor_id.to_owned());
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
