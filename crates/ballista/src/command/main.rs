//! `coframe-cluster`: a scheduler, an executor, or SQL on them.

mod executor;
mod logger;
mod scheduler;
mod shuffle;
mod sql;

use std::{net::IpAddr, process::ExitCode};

use clap::{Parser, Subcommand};
use datafusion::{
    common::{Result, config_err},
    error::DataFusionError,
};
use tokio::signal::unix::{SignalKind, signal};

/// SQL over the frames of many machines
///
/// One machine runs `scheduler`, each machine with frames runs `executor`, and `sql` runs anywhere. All listen on 127.0.0.1
/// unless --bind is set. docs/CLUSTER.md is the guide.
#[derive(Parser)]
#[command(name = "coframe-cluster", version)]
struct Cluster {
    /// Which records to write to standard error: error, warn, info, or TARGET=LEVEL for a module
    #[arg(long, global = true, env = "COFRAME_LOG", default_value = "warn", value_name = "LEVEL")]
    log: String,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    Scheduler(scheduler::Scheduler),
    Executor(Box<executor::Executor>),
    Sql(sql::Sql),
}

fn main() -> ExitCode {
    let cluster = Cluster::parse();
    logger::install(&cluster.log);
    let ran = match cluster.role {
        Role::Scheduler(role) => role.run(),
        Role::Executor(role) => role.run(),
        Role::Sql(role) => role.run(),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coframe-cluster: {}", error.strip_backtrace());
            ExitCode::FAILURE
        }
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Refuses an address that other machines can reach, unless `--insecure` allows it.
fn check_address(address: IpAddr, insecure: bool) -> Result<()> {
    if address.is_loopback() || insecure {
        return Ok(());
    }
    config_err!(
        "other machines can reach the address {address}, and Ballista has neither TLS nor passwords: a program \
         that connects runs any query and reads any file of this user; use a private network and --insecure, or 127.0.0.1"
    )
}

/// Until SIGTERM or SIGINT.
async fn stopped() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
