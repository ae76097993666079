//! `executor`: runs tasks next to the store of its node.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::{
    error::BallistaError,
    utils::{GrpcServerConfig, create_grpc_server, create_grpc_server_incoming},
};
use ballista_executor::{
    executor_process::{ExecutorProcessConfig, start_executor_process},
    shutdown::Shutdown,
};
use clap::Args;
use coframe::Store;
use coframe_ballista::{ClusterLogicalCodec, ClusterPhysicalCodec, Node, NodeService, worker};
use coframe_flight::{RemoteOptions, Server, ServerOptions, Tokens};
use datafusion::{
    common::{Result, config_err},
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
};
use datafusion_distributed::Worker;

use crate::{check_address, external, shuffle::ShuffleDirectory, stopped};

/// How long streams to other nodes may continue after the executor stopped.
const GRACE: Duration = Duration::from_secs(5);

/// Run an executor, next to the store of this machine
///
/// Takes three ports: for shuffles (--port), for tasks (--port + 1) and for the store, from which other nodes pull frames
/// (--port + 2). At SIGTERM it finishes its tasks, then removes its shuffle files and the mirrors that it pulled.
#[derive(Args)]
pub(crate) struct Executor {
    /// Name of the node; the same for all executors of a machine
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Scheduler, host and port
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "HOST:PORT")]
    scheduler: String,
    /// Run without a scheduler, for `sql --direct` only
    #[arg(long, conflicts_with = "scheduler")]
    no_scheduler: bool,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    bind: IpAddr,
    /// Name or address by which the other machines reach it
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST")]
    host: String,
    /// First of its three ports
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// Store; default: that of this user
    #[arg(long, value_name = "DIRECTORY", env = "COFRAME_STORE")]
    store: Option<PathBuf>,
    /// Partitions that it computes at a time; 0: as many as cores
    #[arg(long, default_value_t = 0, value_name = "N")]
    vcores: usize,
    /// Directory for shuffle files; default: that of temporary files
    #[arg(long, value_name = "DIRECTORY")]
    work_dir: Option<PathBuf>,
    /// Bytes of memory for sorts, joins and aggregations, before they spill to disk; default: 70 % of the memory
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// Seconds between signs of life
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    heartbeat: u64,
    /// Seconds that a pull waits for another node
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pull_deadline: u64,
    /// Tokens for the port of the store, as `coframe serve --tokens` reads them
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Certificate chain (PEM) for the port of the store
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Token for the stores of the other nodes
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authority (PEM) of the certificates of the other nodes
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Keep the mirrors of other nodes' frames, at the start and at the end
    #[arg(long)]
    keep_mirrors: bool,
    /// Allow an address that other machines can reach: every program that connects runs any task as this user
    #[arg(long)]
    insecure: bool,
}

impl Executor {
    pub(crate) fn run(&self) -> Result<()> {
        check_address(self.bind, self.insecure)?;
        if self.node.is_empty() || self.node.contains('#') {
            return config_err!("the node `{}` cannot have this name: it must not be empty or contain `#`", self.node);
        }
        let Some((scheduler, scheduler_port)) = self.scheduler_address() else {
            return config_err!("the scheduler `{}` is not an address; expected HOST:PORT", self.scheduler);
        };
        if self.port > u16::MAX - 2 {
            return config_err!("the port {} leaves no room for two more; expected at most 65533", self.port);
        }
        let store = match &self.store {
            Some(path) => Store::open_at(path),
            None => Store::open_default(),
        };
        let store = store.map_err(external)?;
        let server = Server::start(&store, &self.server_options()?).map_err(external)?;
        let scheme = if self.cert.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}:{}", self.host, server.address().port());
        let node = Arc::new(Node::new(&self.node, url, store, self.remote_options()?));
        node.enter(self.keep_mirrors)?;
        let work_dir = self.work_dir.clone().unwrap_or_else(std::env::temp_dir);
        let shuffle = ShuffleDirectory::new(&work_dir)?;
        let worker = worker(node.clone(), self.memory(shuffle.path())?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let idle = node.clone();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                idle.release_idle();
            }
        });
        eprintln!("coframe-cluster: node {} at {}:{}", self.node, self.host, self.port);
        let ran = if self.no_scheduler {
            let work_dir = shuffle.path().to_string_lossy().into_owned();
            let service = NodeService::new(work_dir, node.clone(), self.cores());
            runtime.block_on(self.serve_directly(service, worker))
        } else {
            let config = self.config(scheduler, scheduler_port, &node, worker, &shuffle);
            runtime.block_on(start_executor_process(Arc::new(config)))
        };
        runtime.shutdown_timeout(Duration::from_secs(1));
        if let Err(error) = node.leave(self.keep_mirrors) {
            log::warn!("mirrors or hidden frames may remain in the store: {error}");
        }
        if !server.stop(GRACE) {
            log::warn!("some streams to other nodes were cut");
        }
        ran.map_err(external)
    }

    fn scheduler_address(&self) -> Option<(String, u16)> {
        let (host, port) = self.scheduler.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    }

    /// Partitions that it computes at a time.
    fn cores(&self) -> u32 {
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u32::try_from(if self.vcores == 0 { all() } else { self.vcores }).unwrap_or(u32::MAX)
    }

    fn server_options(&self) -> Result<ServerOptions> {
        let address = SocketAddr::new(self.bind, self.port + 2);
        let mut options = ServerOptions::new().address(address).insecure(self.insecure);
        if let Some(path) = &self.tokens {
            options = options.tokens(Tokens::read(path).map_err(external)?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.identity(std::fs::read(cert)?, std::fs::read(key)?);
        }
        Ok(options)
    }

    fn remote_options(&self) -> Result<RemoteOptions> {
        let limit = Duration::from_secs(self.pull_deadline.max(1));
        let mut options = RemoteOptions::new().deadline(limit).retry(limit);
        if let Some(path) = &self.token_file {
            options = options.token_file(path).map_err(external)?;
        }
        if let Some(path) = &self.authority {
            options = options.authority(std::fs::read(path)?);
        }
        Ok(options)
    }

    /// The memory of tasks that clients send directly. They spill to a directory.
    fn memory(&self, directory: &Path) -> Result<Arc<RuntimeEnv>> {
        let bytes = self.memory.map_or_else(|| machine_memory() / 10 * 7, |bytes| bytes as usize);
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![directory.to_owned()]));
        let pool = Arc::new(FairSpillPool::new(bytes));
        RuntimeEnvBuilder::new().with_memory_pool(pool).with_disk_manager_builder(disk).build_arc()
    }

    async fn serve_directly(&self, service: NodeService, worker: Worker) -> std::result::Result<(), BallistaError> {
        let address = SocketAddr::new(self.bind, self.port);
        let stopping = async {
            // Without signals the process can only be killed.
            if stopped().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        serve(service, worker, address, stopping, GrpcServerConfig::default()).await
    }

    fn config(
        &self,
        host: String,
        port: u16,
        node: &Arc<Node>,
        worker: Worker,
        shuffle: &ShuffleDirectory,
    ) -> ExecutorProcessConfig {
        let (service, cores) = (node.clone(), self.cores());
        ExecutorProcessConfig {
            // The scheduler finds the node in the id. Process ids repeat in containers.
            executor_id: format!("{}#{:08x}", self.node, RandomState::new().build_hasher().finish() as u32),
            bind_host: self.bind.to_string(),
            external_host: Some(self.host.clone()),
            port: self.port,
            grpc_port: self.port + 1,
            scheduler_host: host,
            scheduler_port: port,
            scheduler_connect_timeout_seconds: 30,
            vcores: self.cores() as usize,
            work_dir: Some(shuffle.path().to_string_lossy().into_owned()),
            memory_pool_size: self.memory,
            executor_heartbeat_interval_seconds: self.heartbeat.max(1),
            override_logical_codec: Some(Arc::new(ClusterLogicalCodec::default())),
            override_physical_codec: Some(Arc::new(ClusterPhysicalCodec::of_node(node.clone()))),
            override_arrow_flight_service: Some(Arc::new(move |work_dir, address, mut shutdown: Shutdown, config| {
                let service = NodeService::new(work_dir, service.clone(), cores);
                let stopping = async move { shutdown.recv().await };
                tokio::spawn(serve(service, worker.clone(), address, stopping, config))
            })),
            ..ExecutorProcessConfig::default()
        }
    }
}

/// Serves shuffles, descriptions of frames, and tasks that clients send directly, with `TCP_NODELAY` on each accepted socket.
async fn serve(
    service: NodeService,
    worker: Worker,
    address: SocketAddr,
    stopping: impl Future<Output = ()> + Send,
    config: GrpcServerConfig,
) -> std::result::Result<(), BallistaError> {
    let incoming = create_grpc_server_incoming(address, &config)?;
    let router = create_grpc_server(&config).add_service(FlightServiceServer::new(service));
    let router = router.add_service(worker.into_worker_server());
    router.serve_with_incoming_shutdown(incoming, stopping).await.map_err(BallistaError::TonicError)
}

/// Bytes of memory of this machine.
fn machine_memory() -> usize {
    let machine = rustix::system::sysinfo();
    usize::try_from(machine.totalram).unwrap_or(usize::MAX).saturating_mul(machine.mem_unit as usize)
}
