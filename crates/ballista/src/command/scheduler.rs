//! `scheduler`: plans queries and sends tasks to executors.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ballista_core::utils::default_session_builder;
use ballista_scheduler::{
    cluster::BallistaCluster,
    config::{SchedulerConfig, TaskDistributionPolicy},
    scheduler_process::{create_scheduler, start_grpc_service_with_listener},
};
use clap::{Args, ValueEnum};
use coframe_ballista::{CheckedPlanner, ClusterLogicalCodec, ClusterPhysicalCodec, CountedCores, Executors, NearData};
use datafusion::{
    common::Result,
    execution::{SessionState, SessionStateBuilder},
    prelude::SessionConfig,
};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpSocket;

use crate::{check_address, external, stopped};

/// Run the scheduler
///
/// Opens no frame and keeps no data. Stops at SIGTERM; queries that run then fail.
#[derive(Args)]
pub(crate) struct Scheduler {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    bind: IpAddr,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 50050)]
    port: u16,
    /// Name or address by which executors and clients reach it
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST")]
    host: String,
    /// Which executor gets a partition: one whose node has the frames, or any
    #[arg(long, value_enum, default_value_t = Placement::Near)]
    placement: Placement,
    /// Seconds without a sign of life after which an executor is lost and its tasks run elsewhere
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    executor_timeout: u64,
    /// Allow an address that other machines can reach: every program that connects runs any query as this user
    #[arg(long)]
    insecure: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Placement {
    /// A node that has the frames
    Near,
    /// The executor with most free cores
    Bias,
    /// One after the other
    RoundRobin,
}

impl Scheduler {
    pub(crate) fn run(&self) -> Result<()> {
        check_address(self.bind, self.insecure)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.serve())
    }

    async fn serve(&self) -> Result<()> {
        let socket = if self.bind.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it. Without, small answers wait for the acknowledgement of the one before.
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::new(self.bind, self.port))?;
        let listener = socket.listen(1024)?;
        let address = listener.local_addr()?;
        let executors = Executors::default();
        let config = self.config(address.port(), &executors);
        config.validate().map_err(external)?;
        let cluster = BallistaCluster::new_from_config(&config).await.map_err(external)?;
        let (cores, failed) = CountedCores::new(cluster.cluster_state(), cluster.job_state(), executors);
        let cluster = BallistaCluster::new(Arc::new(cores), cluster.job_state());
        let scheduler = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config));
        let scheduler = scheduler.await.map_err(external)?;
        tokio::spawn(failed.cancel_at(scheduler.clone()));
        eprintln!("coframe-cluster: scheduler at {address}");
        tokio::select! {
            served = start_grpc_service_with_listener(listener, scheduler) => served.map_err(external),
            stopped = stopped() => stopped,
        }
    }

    fn config(&self, port: u16, executors: &Executors) -> SchedulerConfig {
        let (executors, patience) = (executors.clone(), Duration::from_secs(self.executor_timeout));
        let distribution = match self.placement {
            Placement::Near => TaskDistributionPolicy::Custom(Arc::new(NearData)),
            Placement::Bias => TaskDistributionPolicy::Bias,
            Placement::RoundRobin => TaskDistributionPolicy::RoundRobin,
        };
        SchedulerConfig {
            external_host: self.host.clone(),
            bind_host: self.bind.to_string(),
            bind_port: port,
            task_distribution: distribution,
            executor_timeout_seconds: self.executor_timeout,
            expire_dead_executor_interval_seconds: 1,
            no_executors_grace_period_seconds: self.executor_timeout,
            // A stage that starts again keeps the results of its first run, so rows could be doubled.
            stage_max_failures: 1,
            override_logical_codec: Some(Arc::new(ClusterLogicalCodec::default())),
            override_physical_codec: Some(Arc::new(ClusterPhysicalCodec::default())),
            override_session_builder: Some(Arc::new(move |config| {
                checked_session(config, CheckedPlanner::new(executors.clone(), patience))
            })),
            ..SchedulerConfig::default()
        }
    }
}

/// A session of Ballista whose plans are checked.
fn checked_session(config: SessionConfig, planner: CheckedPlanner) -> Result<SessionState> {
    let state = default_session_builder(config)?;
    let session = state.session_id().to_owned();
    let checked = SessionStateBuilder::new_from_existing(state).with_session_id(session);
    Ok(checked.with_query_planner(Arc::new(planner)).build())
}
