//! The program `coframe-flight`: serves a store, pulls and pushes frames, and reads from a remote store.

mod look;
mod serve;

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use coframe::Store;
use coframe_flight::{Error, PullOptions, Remote, RemoteOptions, Result};

/// Frames of coframe on other machines.
#[derive(Parser)]
#[command(name = "coframe-flight", version, max_term_width = 110)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
struct Common {
    #[expect(clippy::doc_markdown, reason = "this is the text of the help")]
    /// Directory of the local store [env: COFRAME_STORE] [default: /dev/shm/coframe-<uid>]
    #[arg(long, global = true, value_name = "PATH")]
    store: Option<PathBuf>,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    /// Server to read from, http://HOST:PORT or https://HOST:PORT
    #[arg(long, global = true, value_name = "URL")]
    remote: Option<String>,

    /// File with the token for the server, which only you can read
    #[arg(long, global = true, value_name = "FILE", env = "COFRAME_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Authority (PEM) that signed the server's certificate; default: the authorities that this machine trusts
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Client certificate (PEM), for servers that ask for one
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// Key of the client certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// Ranges of a frame that a pull fetches at a time, each over a separate connection: 1 to 64
    #[arg(long, global = true, value_name = "N", value_parser = ranges)]
    ranges: Option<usize>,

    /// Another machine with the frame, to which the server may refer a pull; repeatable
    #[arg(long, global = true, value_name = "URL")]
    peer: Vec<String>,

    /// URL at which other machines reach a server of the local store, so that later pulls are referred to it
    #[arg(long, global = true, value_name = "URL")]
    serves: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Pull(Pull),
    Push(Push),
    #[command(visible_alias = "list")]
    Ls(look::Ls),
    Show(look::Show),
    Head(look::Head),
    Wait(look::Wait),
    Doctor(look::Doctor),
}

/// Copy a frame of a server into the local store
#[derive(Args)]
struct Pull {
    /// Server, http://HOST:PORT or https://HOST:PORT
    url: String,
    /// Name of the frame on the server
    name: String,
    /// Version on the server; default: the latest
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Name in the local store; default: the same
    #[arg(long = "as", value_name = "NAME")]
    into: Option<String>,
}

/// Publish a frame of the local store on a server
#[derive(Args)]
struct Push {
    /// Server, http://HOST:PORT or https://HOST:PORT
    url: String,
    /// Name of the frame in the local store
    name: String,
    /// Name on the server; default: the same
    #[arg(long = "as", value_name = "NAME")]
    into: Option<String>,
}

impl Common {
    fn store(&self) -> Result<Store> {
        Ok(Store::open_at(self.store.clone().unwrap_or_else(Store::default_path))?)
    }

    fn connect(&self, url: &str) -> Result<Remote> {
        let mut options = RemoteOptions::new();
        if let Some(path) = &self.token_file {
            options = options.token_file(path)?;
        }
        if let Some(path) = &self.ca {
            options = options.authority(serve::file(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            options = options.identity(serve::file(cert)?, serve::file(key)?);
        }
        if let Some(ranges) = self.ranges {
            options = options.ranges(ranges)?;
        }
        for peer in &self.peer {
            options = options.peer(peer)?;
        }
        if let Some(url) = &self.serves {
            options = options.serves(url)?;
        }
        Remote::connect_with(url, &options)
    }

    /// The server of `--remote`.
    fn remote(&self) -> Result<Remote> {
        match &self.remote {
            Some(url) => self.connect(url),
            None => Err(usage("no server is given; pass --remote URL")),
        }
    }
}

fn ranges(text: &str) -> std::result::Result<usize, String> {
    let ranges = text.parse().map_err(|_| "expected a number from 1 to 64".to_owned())?;
    RemoteOptions::new().ranges(ranges).map(|_| ranges).map_err(|error| error.to_string())
}

fn usage(text: &str) -> Error {
    // Clap reports what it knows of; this is the rest.
    clap::Error::raw(clap::error::ErrorKind::MissingRequiredArgument, format!("{text}\n")).exit()
}

impl Pull {
    fn run(&self, common: &Common) -> Result<String> {
        let (store, remote) = (common.store()?, common.connect(&self.url)?);
        let mut options = PullOptions::new();
        if let Some(version) = self.version {
            options = options.version(version);
        }
        if let Some(name) = &self.into {
            options = options.name(name)?;
        }
        let frame = remote.pull_with(&store, &self.name, &options)?;
        Ok(if common.json {
            look::line(&serde_json::json!({
                "name": frame.name().as_str(),
                "version": frame.version(),
                "handle": frame.handle().to_string(),
                "bytes": frame.size_bytes(),
            }))
        } else {
            format!("{}\n", frame.handle())
        })
    }
}

impl Push {
    fn run(&self, common: &Common) -> Result<String> {
        let (store, remote) = (common.store()?, common.connect(&self.url)?);
        let frame = store.open(&self.name)?;
        let name = self.into.as_deref().unwrap_or(&self.name);
        let version = remote.push(&frame, name)?;
        Ok(if common.json {
            look::line(&serde_json::json!({ "name": name, "version": version }))
        } else {
            format!("{name}@{version} of {}\n", remote.url())
        })
    }
}

fn main() -> ExitCode {
    let Arguments { common, command } = Arguments::parse();
    let done = match command {
        Command::Serve(command) => command.run(&common),
        Command::Pull(command) => command.run(&common),
        Command::Push(command) => command.run(&common),
        Command::Ls(command) => command.run(&common),
        Command::Show(command) => command.run(&common),
        Command::Head(command) => command.run(&common),
        Command::Wait(command) => command.run(&common),
        Command::Doctor(command) => command.run(&common),
    };
    match done {
        Ok(text) => {
            use std::io::Write as _;
            // A reader that has closed its pipe is not an error.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut line = String::new();
            for c in error.to_string().chars() {
                // One line without control characters, whatever a server put into its answer.
                let _ = if c.is_control() { write!(line, " ") } else { write!(line, "{c}") };
            }
            eprintln!("coframe: {line}");
            ExitCode::from(if error.is_not_found() { 3 } else { 1 })
        }
    }
}
