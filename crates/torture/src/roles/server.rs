//! Serves the store to pullers.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use coframe_flight::{Server, ServerOptions};
use rustix::process::{Signal, getpid, kill_process};

use super::{Context, Role, signal_at};
use crate::{Result, ensure};

/// The file with the URL of the server. A server that was killed leaves it, so its URL does not answer.
const URL: &str = "server";
/// The most bytes after which a server dies: some pulls of the large frame.
const BYTES: u64 = 16 << 20;
/// How long a client may read nothing. The driver stops processes for about as long as the shorter limit.
const IDLE: [Duration; 2] = [Duration::from_millis(50), Duration::from_mins(1)];
/// No stop of a server takes as long.
const LIMIT: Duration = Duration::from_secs(10);

/// The URL of the server that serves now, or of the last one.
pub(super) fn url(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(URL)).ok()
}

#[derive(Default)]
pub(super) struct Serving {
    server: Option<Server>,
    /// The signal that it sends to itself, and after how many bytes.
    end: Option<(Signal, u64)>,
}

impl Role for Serving {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        let Some(server) = &self.server else {
            self.server = Some(serve(context)?);
            self.end = signal_at("serving").map(|signal| (signal, context.random.below(BYTES)));
            return Ok(());
        };
        // Often enough to find itself in the middle of a stream.
        std::thread::sleep(Duration::from_micros(100 + context.random.below(300)));
        let sent = server.stats().bytes;
        if let Some((signal, _)) = self.end.take_if(|(_, bytes)| sent >= *bytes) {
            kill_process(getpid(), signal)?;
        }
        if context.random.one_in(500)
            && let Some(server) = self.server.take()
        {
            let start = Instant::now();
            // Whether it cut streams does not matter: their pullers go on with the next server.
            let _ = server.stop(Duration::from_millis(context.random.below(20)));
            ensure!(start.elapsed() < LIMIT, "a server took {:?} to stop", start.elapsed());
        }
        Ok(())
    }
}

/// Serves on the port of the last server, so that its pullers reach this one. Takes a free port if it cannot.
fn serve(context: &mut Context) -> Result<Server> {
    let options = ServerOptions::new().write(true).idle(*context.random.pick(&IDLE));
    let last = url(&context.directory).and_then(|url| url.strip_prefix("http://")?.parse::<SocketAddr>().ok());
    if let Some(server) = last.and_then(|last| Server::start(&context.store, &options.clone().address(last)).ok()) {
        return Ok(server);
    }
    let server = Server::start(&context.store, &options)?;
    let written = context.directory.join(format!("{URL}-{}", std::process::id()));
    fs::write(&written, server.url())?;
    fs::rename(written, context.directory.join(URL))?;
    Ok(server)
}
