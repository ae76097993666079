//! Queries without a scheduler: the client plans, and sends a task to each node, with `datafusion-distributed`.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    datasource::{
        physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder},
        source::DataSourceExec,
    },
    execution::{SessionStateBuilder, runtime_env::RuntimeEnv},
    physical_plan::ExecutionPlan,
    prelude::{SessionConfig, SessionContext},
};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExt, DistributedLeafExec, RouteTasksEvent,
    RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse, SessionStateBuilderExt, Worker,
    WorkerQueryContext, WorkerResolver,
};
use url::Url;

use crate::{
    client::ClusterCatalog,
    codec::ClusterPhysicalCodec,
    node::Node,
    part::{Part, external},
    source::{ClusterSource, scan_of},
};

/// Connects to one executor of each node, `host:port`, without a scheduler.
///
/// `local` is the node of this process. It reads the frames of the parts of a plan that cannot be distributed, and for
/// this it pulls those that its store does not have.
///
/// # Errors
///
/// If a node does not answer.
pub async fn connect_directly(nodes: &[String], local: Arc<Node>, config: SessionConfig) -> Result<SessionContext> {
    let catalog = ClusterCatalog::connect_from(nodes, Some(local.clone())).await?;
    let url = |address: &String| Url::parse(&format!("http://{address}")).map_err(external);
    let urls: Vec<Url> = nodes.iter().map(url).collect::<Result<_>>()?;
    let workers = Workers(catalog.node_names().await?.into_iter().zip(urls).collect());
    let (counted, shared, routed) = (workers.clone(), workers.clone(), workers.clone());
    let config =
        config.with_default_catalog_and_schema("coframe", "public").with_create_default_catalog_and_schema(false);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_distributed_planner()
        .with_distributed_worker_resolver(workers)
        .with_distributed_user_codec(ClusterPhysicalCodec::of_node(local))
        .with_distributed_broadcast_joins(true)?
        // Else each child of a UNION runs whole on one node.
        .with_distributed_children_isolator_unions(false)?
        .with_distributed_desired_task_count_handler(move |event: DesiredTaskCountEvent<'_>| counted.count(event.plan))
        .with_distributed_scale_up_leaf_node_handler(move |event: ScaleUpLeafNodeEvent<'_>| {
            shared.share(event.plan, event.task_count)
        })
        .with_distributed_route_tasks_handler(move |event: RouteTasksEvent<'_>| {
            routed.route(event.plan, event.task_count)
        });
    let context = SessionContext::new_with_state(state.build());
    context.register_catalog("coframe", Arc::new(catalog));
    Ok(context)
}

/// Runs tasks of [`connect_directly`] on a node.
#[must_use]
pub fn worker(node: Arc<Node>, runtime: Arc<RuntimeEnv>) -> Worker {
    let build = move |context: WorkerQueryContext| {
        let codec = ClusterPhysicalCodec::of_node(node.clone());
        async move { Ok(context.builder.with_distributed_user_codec(codec).build()) }
    };
    Worker::from_session_builder(build).with_runtime_env(runtime)
}

/// The nodes, with the addresses of their executors. Task N of a stage with a scan runs on node N.
#[derive(Clone)]
struct Workers(Arc<[(String, Url)]>);

impl WorkerResolver for Workers {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.iter().map(|(_, url)| url.clone()).collect())
    }
}

impl Workers {
    /// One task for each node.
    fn count(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<Result<DesiredTaskCountEventResponse>> {
        scan_of(plan.as_ref()).map(|_| Ok(DesiredTaskCountEventResponse::desired(self.0.len())))
    }

    /// A scan for each task, of the partitions whose frames its node has.
    fn share(&self, plan: &Arc<dyn ExecutionPlan>, tasks: usize) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
        let (config, source) = scan_of(plan.as_ref())?;
        let mut shares: Vec<Vec<FileGroup>> = vec![Vec::new(); tasks];
        for group in &config.file_groups {
            let mut homes = self.homes(source, group).into_iter().filter(|task| *task < tasks).peekable();
            let is_near = homes.peek().is_some();
            let far = (0..tasks).filter(|_| !is_near);
            if let Some(task) = homes.chain(far).min_by_key(|task| shares[*task].len()) {
                shares[task].push(group.clone());
            }
        }
        // All tasks have as many partitions, some without rows.
        let most = shares.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let scan = |mut groups: Vec<FileGroup>| {
            groups.resize(most, FileGroup::new(Vec::new()));
            DataSourceExec::from_data_source(of_groups(config, groups)) as Arc<dyn ExecutionPlan>
        };
        let leaf = DistributedLeafExec::try_new(plan.clone(), shares.into_iter().map(scan));
        Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
    }

    /// The positions of the nodes that have the frames of a partition.
    fn homes(&self, source: &ClusterSource, group: &FileGroup) -> Vec<usize> {
        let nodes = source.parts_of(group.files()).next().map(Part::nodes).unwrap_or_default();
        (0..self.0.len()).filter(|at| nodes.contains(&self.0[*at].0.as_str())).collect()
    }

    /// The node of each task of a stage with a scan.
    fn route(&self, plan: &Arc<dyn ExecutionPlan>, tasks: usize) -> Option<Result<RouteTasksEventResponse>> {
        let mut has_scan = false;
        let found = plan.apply(|node| {
            has_scan |= node
                .downcast_ref::<DistributedLeafExec>()
                .is_some_and(|leaf| scan_of(leaf.original().as_ref()).is_some());
            Ok(if has_scan { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        if let Err(error) = found {
            return Some(Err(error));
        }
        let urls = self.0.iter().take(tasks).map(|(_, url)| url.clone()).collect();
        (has_scan && tasks <= self.0.len()).then(|| Ok(RouteTasksEventResponse::new(urls)))
    }
}

/// A part of a scan. What is known of all its rows is not exact for a part.
fn of_groups(config: &FileScanConfig, groups: Vec<FileGroup>) -> FileScanConfig {
    let statistics = config.statistics().to_inexact();
    FileScanConfigBuilder::from(config.clone()).with_file_groups(groups).with_statistics(statistics).build()
}
