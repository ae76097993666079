//! A cluster of processes that ends with its test.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::File,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use coframe::{PublishOptions, Store};
use coframe_ballista::{connect, session_config};
use coframe_flight::{PullOptions, Remote, Server, ServerOptions};
use datafusion::{
    common::Result,
    datasource::MemTable,
    prelude::{SessionConfig, SessionContext},
};
use tempfile::TempDir;

/// How long a process may take to start or to stop, and a query to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to start a cluster.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) vcores: usize,
    /// Of the last node.
    pub(crate) last_vcores: Option<usize>,
    pub(crate) nodes: usize,
    pub(crate) placement: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { vcores: 1, last_vcores: None, nodes: 2, placement: "near" }
    }
}

/// A scheduler, and a node for each store.
pub(crate) struct Cluster {
    pub(crate) scheduler: Child,
    pub(crate) executors: Vec<Child>,
    pub(crate) stores: Vec<Store>,
    pub(crate) nodes: Vec<String>,
    pub(crate) address: String,
    pub(crate) directory: TempDir,
    logs: Vec<PathBuf>,
    /// How much of each log `reads` has returned.
    seen: Mutex<BTreeMap<PathBuf, usize>>,
}

/// One read of a scan: which node read which rows of which frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Read {
    pub(crate) node: String,
    pub(crate) is_local: bool,
    pub(crate) frame: String,
    pub(crate) rows: (usize, usize),
    pub(crate) bytes: u64,
}

impl Cluster {
    pub(crate) fn start(setup: &Setup) -> Self {
        let directory = tempfile::Builder::new().prefix("coframe-test-").tempdir_in("/dev/shm").unwrap();
        let stores: Vec<Store> =
            (0..setup.nodes).map(|node| Store::open_at(directory.path().join(format!("n{node}"))).unwrap()).collect();
        let ports = free_ports(1 + setup.nodes);
        let address = format!("127.0.0.1:{}", ports[0]);
        let placement = ["--placement", setup.placement, "--executor-timeout", "6"];
        let scheduler = spawn(&["scheduler", "--port", &ports[0].to_string()], &placement, &directory, "scheduler.log");
        wait_for(&address);
        let mut cluster = Self {
            scheduler,
            executors: Vec::new(),
            stores,
            nodes: ports[1..].iter().map(|port| format!("127.0.0.1:{port}")).collect(),
            address,
            directory,
            logs: Vec::new(),
            seen: Mutex::default(),
        };
        for node in 0..setup.nodes {
            let last = setup.last_vcores.filter(|_| node + 1 == setup.nodes);
            cluster.start_executor(node, last.unwrap_or(setup.vcores));
        }
        cluster.nodes.iter().for_each(|address| wait_for(address));
        cluster
    }

    /// Starts the executor of a node, without waiting for it.
    pub(crate) fn start_executor(&mut self, node: usize, vcores: usize) {
        self.start_named(&format!("n{node}"), node, vcores);
    }

    /// As `start_executor`, with another name of the node.
    pub(crate) fn start_named(&mut self, name: &str, node: usize, vcores: usize) {
        let log = format!("n{node}-{}.log", self.logs.len());
        let port = self.nodes[node].rsplit_once(':').unwrap().1.to_owned();
        let work = self.directory.path().join(format!("work{node}"));
        let arguments = ["executor", "--node", name, "--scheduler", &self.address, "--port", &port];
        let more = [
            "--vcores".to_owned(),
            vcores.to_string(),
            "--store".to_owned(),
            self.stores[node].path().to_string_lossy().into_owned(),
            "--work-dir".to_owned(),
            work.to_string_lossy().into_owned(),
            "--heartbeat".to_owned(),
            "1".to_owned(),
        ];
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let executor = spawn(&arguments, &more, &self.directory, &log);
        self.logs.push(self.directory.path().join(log));
        self.executors.push(executor);
    }

    pub(crate) fn config(partitions: usize) -> SessionConfig {
        session_config().with_target_partitions(partitions)
    }

    pub(crate) async fn session(&self, config: SessionConfig) -> SessionContext {
        connect(&self.address, &self.nodes, config).await.unwrap()
    }

    /// Publishes rows on a node, in batches of `batch_rows`.
    pub(crate) fn publish(&self, node: usize, name: &str, batches: &[RecordBatch], batch_rows: usize) {
        let options = PublishOptions::new().statistics(true).batch_rows(batch_rows);
        let mut writer = self.stores[node].writer_with(name, batches[0].schema(), &options).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        writer.publish().unwrap();
    }

    /// What the executors read since the last call, in order of frames and rows.
    pub(crate) fn reads(&self) -> Vec<Read> {
        let mut reads = Vec::new();
        let mut seen = self.seen.lock().unwrap();
        for log in &self.logs {
            let text = std::fs::read_to_string(log).unwrap();
            let seen = seen.entry(log.clone()).or_default();
            // The process may be writing the last line.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            reads.extend(text[*seen..whole].lines().filter_map(read));
            *seen = whole;
        }
        reads.sort_by(|one, other| (&one.frame, one.rows).cmp(&(&other.frame, other.rows)));
        reads
    }

    /// Whether the executors have read this many rows since this function was first called.
    pub(crate) fn have_read(&self, rows: usize) -> impl Fn() -> bool {
        let read = Cell::new(0);
        move || {
            let reads = self.reads();
            read.set(read.get() + reads.iter().map(|read| read.rows.1 - read.rows.0).sum::<usize>());
            read.get() >= rows
        }
    }

    /// Directories of shuffle files.
    pub(crate) fn shuffles(&self) -> Vec<String> {
        let work = (0..self.stores.len()).map(|node| self.directory.path().join(format!("work{node}")));
        let entries = work.flat_map(|work| std::fs::read_dir(work).unwrap());
        entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
    }

    /// Mirrors that queries pulled.
    pub(crate) fn mirrors(&self) -> Vec<String> {
        let names = self.stores.iter().flat_map(|store| store.names().unwrap());
        names.map(|name| name.to_string()).filter(|name| name.starts_with("_cluster.")).collect()
    }

    /// Until the executor of a node listens.
    pub(crate) fn wait_for_node(&self, node: usize) {
        wait_for(&self.nodes[node]);
    }

    /// The records of all processes, for a test that failed.
    pub(crate) fn logs(&self) -> String {
        let mut text = std::fs::read_to_string(self.directory.path().join("scheduler.log")).unwrap_or_default();
        self.logs.iter().for_each(|log| text += &std::fs::read_to_string(log).unwrap_or_default());
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.executors.iter_mut().chain([&mut self.scheduler]) {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// `INFO coframe_cluster::reads: local node=n0 frame=t@1 id=.. rows=0..7 bytes=9`
fn read(line: &str) -> Option<Read> {
    let rest = line.split_once("coframe_cluster::reads: ")?.1;
    let (place, rest) = rest.split_once(' ')?;
    let fields: BTreeMap<&str, &str> = rest.split(' ').filter_map(|field| field.split_once('=')).collect();
    let rows = fields.get("rows")?.split_once("..")?;
    Some(Read {
        node: (*fields.get("node")?).to_owned(),
        is_local: place == "local",
        frame: format!("{} {}", fields.get("frame")?, fields.get("id")?),
        rows: (rows.0.parse().ok()?, rows.1.parse().ok()?),
        bytes: fields.get("bytes")?.parse().ok()?,
    })
}

fn spawn(arguments: &[&str], more: &[&str], directory: &TempDir, log: &str) -> Child {
    let log = File::options().append(true).create(true).open(directory.path().join(log)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_coframe-cluster"))
        .args(["--log", "coframe_cluster::reads=info"])
        .args(arguments)
        .args(more)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// First ports of ranges of three, which are free now.
fn free_ports(count: usize) -> Vec<u16> {
    let mut found: Vec<(u16, Vec<TcpListener>)> = Vec::new();
    while found.len() < count {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port > u16::MAX - 2 {
            continue;
        }
        let rest: Vec<_> =
            (port + 1..=port + 2).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if rest.len() == 2 {
            found.push((port, rest.into_iter().chain([first]).collect()));
        }
    }
    found.into_iter().map(|(port, _)| port).collect()
}

fn wait_for(address: &str) {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < PATIENCE, "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Pulls a frame from a store into another, under a separate name.
pub(crate) fn mirror(from: &Store, name: &str, to: &Store, copy: &str) {
    let (from, to, name, copy) = (from.clone(), to.clone(), name.to_owned(), copy.to_owned());
    let pull = move || {
        let server = Server::start(&from, &ServerOptions::new()).unwrap();
        let options = PullOptions::new().name(&copy).unwrap();
        assert!(Remote::connect(server.url()).unwrap().pull_with(&to, &name, &options).unwrap().is_mirror());
    };
    // Not on a thread of the test's runtime, because it blocks.
    std::thread::spawn(pull).join().unwrap();
}

/// A session in this process with the same rows.
pub(crate) fn one_process(tables: &[(&str, Vec<RecordBatch>)]) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(4));
    for (name, batches) in tables {
        let table = MemTable::try_new(batches[0].schema(), vec![batches.clone()]).unwrap();
        context.register_table(*name, std::sync::Arc::new(table)).unwrap();
    }
    context
}

/// The rows of a query, at most 30 seconds later.
pub(crate) async fn run(context: &SessionContext, query: &str) -> Result<Vec<RecordBatch>> {
    let ran = async { context.sql(query).await?.collect().await };
    tokio::time::timeout(PATIENCE, ran).await.unwrap_or_else(|_| panic!("no answer in {PATIENCE:?}: {query}"))
}

/// Rows as text, in order.
pub(crate) fn text(batches: &[RecordBatch]) -> String {
    let table = pretty_format_batches(batches).unwrap().to_string();
    table.lines().filter(|line| !line.starts_with('+')).collect::<Vec<_>>().join("\n")
}
