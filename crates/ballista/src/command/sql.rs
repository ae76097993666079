//! `sql`: runs statements on a cluster.

use std::{io::Write, path::PathBuf, sync::Arc, time::Instant};

use arrow::util::pretty::pretty_format_batches;
use clap::Args;
use coframe::Store;
use coframe_ballista::{Node, connect, connect_directly, cores, create_table_until, drop_table, session_config};
use coframe_flight::RemoteOptions;
use datafusion::{
    common::{Result, config_err, exec_err, not_impl_err},
    logical_expr::{DdlStatement, LogicalPlan},
    prelude::{SQLOptions, SessionConfig, SessionContext},
};

use tokio::{runtime::Runtime, sync::watch};

use crate::{external, stopped};

/// Run SQL on a cluster
///
/// The frames of all nodes are tables: frames of one name on several nodes are one table. Prints the rows of each
/// statement.
#[derive(Args)]
pub(crate) struct Sql {
    /// Statements; one argument can have several, with `;` between them
    #[arg(required_unless_present = "file")]
    statements: Vec<String>,
    /// Read statements from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Scheduler, host and port
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "HOST:PORT")]
    scheduler: String,
    /// Executors of the nodes, host and port each, with commas
    #[arg(long, default_value = "127.0.0.1:50051", value_delimiter = ',', value_name = "HOST:PORT,..")]
    nodes: Vec<String>,
    /// Run queries without the scheduler: this process plans them, and sends a task to each node
    #[arg(long, conflicts_with = "scheduler")]
    direct: bool,
    /// Store for the frames that this process has to read itself, with --direct; default: that of this user
    #[arg(long, value_name = "DIRECTORY", env = "COFRAME_STORE")]
    store: Option<PathBuf>,
    /// Partitions of a scan and of a shuffle; default: one for each core of the executors
    #[arg(long, value_name = "N")]
    partitions: Option<usize>,
    /// Setting of DataFusion or Ballista
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Write how long each statement took to standard error
    #[arg(long)]
    timing: bool,
}

impl Sql {
    pub(crate) fn run(&self) -> Result<()> {
        let mut text = self.statements.join(";");
        if let Some(path) = &self.file {
            text = std::fs::read_to_string(path)? + ";" + &text;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let interrupt = Interrupt::watch(&runtime);
        runtime.block_on(self.execute(&text, &interrupt))
    }

    async fn config(&self) -> Result<SessionConfig> {
        let partitions = match self.partitions {
            Some(partitions) => partitions.max(1),
            None => cores(&self.nodes).await?,
        };
        let config = if self.direct { SessionConfig::new() } else { session_config() };
        let mut config = config.with_target_partitions(partitions);
        for setting in &self.settings {
            let Some((key, value)) = setting.split_once('=') else {
                return config_err!("the setting `{setting}` has no value; expected KEY=VALUE");
            };
            config.options_mut().set(key, value)?;
        }
        Ok(config)
    }

    async fn execute(&self, text: &str, interrupt: &Interrupt) -> Result<()> {
        let config = self.config().await?;
        if !self.direct {
            let context = connect(&self.scheduler, &self.nodes, config).await?;
            return self.run_in(&context, text, interrupt).await;
        }
        let store = match &self.store {
            Some(path) => Store::open_at(path),
            None => Store::open_default(),
        };
        let node = Arc::new(Node::new("client", "", store.map_err(external)?, RemoteOptions::new()));
        let context = connect_directly(&self.nodes, node.clone(), config).await?;
        let ran = self.run_in(&context, text, interrupt).await;
        node.remove_mirrors();
        ran
    }

    async fn run_in(&self, context: &SessionContext, text: &str, interrupt: &Interrupt) -> Result<()> {
        let statements = datafusion::sql::parser::DFParser::parse_sql(text)?;
        for statement in statements {
            let start = Instant::now();
            let state = context.state();
            let plan = state.statement_to_plan(statement).await?;
            SQLOptions::new().with_allow_dml(false).verify_plan(&plan)?;
            let rows = match plan {
                LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) if self.direct => {
                    return not_impl_err!("`{}` cannot be created with --direct; use the scheduler", table.name);
                }
                LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
                    create_table_until(context, &table, interrupt.arrived()).await?;
                    Vec::new()
                }
                LogicalPlan::Ddl(DdlStatement::DropTable(table)) => {
                    drop_table(context, &table).await?;
                    Vec::new()
                }
                plan => {
                    let rows = async { context.execute_logical_plan(plan).await?.collect().await };
                    tokio::select! {
                        rows = rows => rows?,
                        () = interrupt.arrived() => return exec_err!("the statement was interrupted"),
                    }
                }
            };
            if !rows.is_empty() {
                let mut output = std::io::stdout().lock();
                writeln!(output, "{}", pretty_format_batches(&rows)?)?;
            }
            if self.timing {
                eprintln!("coframe-cluster: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(())
    }
}

/// SIGINT or SIGTERM. The first one ends the statement and removes what it wrote, the second one ends the program.
struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    fn watch(runtime: &Runtime) -> Self {
        let (arrived, interrupt) = watch::channel(false);
        runtime.spawn(async move {
            // Without handlers, signals end the program at once.
            if stopped().await.is_ok() && arrived.send(true).is_ok() && stopped().await.is_ok() {
                std::process::exit(130);
            }
        });
        Self(interrupt)
    }

    async fn arrived(&self) {
        if self.0.clone().wait_for(|arrived| *arrived).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
