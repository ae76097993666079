//! `serve`: serves the store of this machine to other machines.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use coframe_flight::{Error, Result, Server, ServerOptions, Tokens};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{Common, look};

/// How long streams may continue after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Serve the frames of the store over Arrow Flight
///
/// Listens on 127.0.0.1 by default, where every user of this machine can connect. An address that other machines can reach
/// needs --cert, --key and --tokens, or --insecure. SIGHUP reads the tokens again; SIGTERM gives streams ten seconds to end.
#[derive(Args)]
pub(crate) struct Serve {
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8815", value_name = "ADDRESS")]
    address: SocketAddr,
    /// Let callers publish and remove frames
    #[arg(long)]
    write: bool,
    /// File with lines `read TOKEN` and `write TOKEN`, which only you can read
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Accept only clients with a certificate of this authority (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
    /// Allow an address that other machines can reach without TLS or tokens
    #[arg(long)]
    insecure: bool,
    /// Seconds after which a client that reads nothing is disconnected
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle: u64,
    /// Stop when standard input ends, for example when the program that started this one ends
    #[arg(long)]
    until_input_ends: bool,
    /// Address that answers GET /metrics with counts for Prometheus
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Most connections at a time
    #[arg(long, default_value_t = 1024, value_name = "N")]
    max_connections: usize,
}

pub(crate) fn file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| coframe_flight::Error::reading(path, e))
}

impl Serve {
    pub(crate) fn run(&self, common: &Common) -> Result<String> {
        let store = common.store()?;
        let mut options = ServerOptions::new()
            .address(self.address)
            .write(self.write)
            .insecure(self.insecure)
            .idle(Duration::from_secs(self.idle.max(1)))
            .max_connections(self.max_connections);
        if let Some(path) = &self.tokens {
            options = options.tokens(Tokens::read(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.identity(file(cert)?, file(key)?);
        }
        if let Some(path) = &self.client_ca {
            options = options.client_ca(file(path)?);
        }
        if let Some(address) = self.metrics {
            options = options.metrics(address);
        }
        let server = Server::start(&store, &options)?;
        if common.json {
            // Before it waits, so that a program can read the port.
            print!("{}", look::line(&serde_json::json!({ "url": server.url(), "metrics": server.metrics_address() })));
            let _ = std::io::Write::flush(&mut std::io::stdout());
        }
        eprintln!("coframe: serving {} at {}", store.path().display(), server.url());
        self.wait(&server)?;
        eprintln!("coframe: stopping");
        if !server.stop(GRACE) {
            eprintln!("coframe: some streams were cut");
        }
        Ok(String::new())
    }

    /// Until SIGTERM or SIGINT, or the end of standard input.
    fn wait(&self, server: &Server) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::reading("the signals".as_ref(), e))?;
        runtime.block_on(async {
            let listen = |kind| signal(kind).map_err(|e| Error::reading("the signals".as_ref(), e));
            let mut hangup = listen(SignalKind::hangup())?;
            let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
            let mut ended = self.end_of_input();
            loop {
                tokio::select! {
                    _ = &mut ended => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                    _ = interrupt.recv() => return Ok(()),
                    _ = hangup.recv() => self.reload(server),
                }
            }
        })
    }

    /// Answers when standard input ends, if that stops the server; else never.
    fn end_of_input(&self) -> oneshot::Receiver<Infallible> {
        let (keeps, ended) = oneshot::channel();
        if self.until_input_ends {
            std::thread::spawn(move || {
                // An error ends it as well.
                let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                drop(keeps);
            });
        } else {
            std::mem::forget(keeps);
        }
        ended
    }

    /// Keeps the old tokens if the file cannot be read.
    fn reload(&self, server: &Server) {
        let Some(path) = &self.tokens else { return };
        match Tokens::read(path).and_then(|tokens| server.set_tokens(tokens)) {
            Ok(()) => eprintln!("coframe: read the tokens again"),
            Err(error) => eprintln!("coframe: the old tokens stay: {error}"),
        }
    }
}
