//! The processes of a store, each in a loop until it is killed or told to end.

mod cells;
mod map;
mod pool;
mod publisher;
mod puller;
mod reader;
mod server;
mod session;
mod sweeper;

pub(crate) use cells::{COUNT, LATEST, LOCK, PERMITS, raise, read_latest};
pub(crate) use map::{MAP, Map, create as create_map, sequence, transfer};
pub(crate) use puller::{PUSHED, RESUMED, UNANSWERED, mirrors};

use std::path::PathBuf;

use coframe::{Frame, Store};
use rustix::process::Signal;

use crate::{
    Result,
    content::{KEPT, check},
    ensure,
    ledger::Writer,
    random::Random,
};

/// The roles, in the order in which the driver starts and chooses them; some run twice.
pub(crate) const ROLES: [&str; 13] = [
    "publisher",
    "reader",
    "sweeper",
    "session",
    "pool",
    "cells",
    "map",
    "publisher",
    "cells",
    "session",
    "server",
    "puller",
    "puller",
];

/// The directory of a run: the store, that of mirrors, the ledger, the URL of the server, and a file that ends all roles.
pub(crate) const DIRECTORY: &str = "COFRAME_TORTURE_DIRECTORY";
/// Seed of one process.
pub(crate) const SEED: &str = "COFRAME_TORTURE_SEED";

/// A frame is dropped when a process holds more.
const HELD: usize = 5;

struct Context {
    directory: PathBuf,
    store: Store,
    ledger: Writer,
    random: Random,
}

trait Role {
    fn step(&mut self, context: &mut Context) -> Result<()>;
}

/// Runs a role until the file `stop` exists. An error is something that coframe promised, and that did not hold.
pub(crate) fn run(role: &str) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).ok_or("a role runs only as a child of `kill`")?);
    let seed = std::env::var(SEED)?.parse()?;
    let store = Store::open_at(directory.join("store"))?;
    let (stop, ledger) = (directory.join("stop"), Writer::open(&directory.join("ledger"))?);
    let mut context = Context { directory, store, ledger, random: Random::new(seed) };
    let mut work: Box<dyn Role> = match role {
        "publisher" => Box::<publisher::Publisher>::default(),
        "reader" => Box::<reader::Reader>::default(),
        "sweeper" => Box::new(sweeper::Sweeper),
        "session" => Box::<session::Owner>::default(),
        "pool" => Box::<pool::Parent>::default(),
        "cells" => Box::new(cells::Cells::open(&context.store)?),
        "map" => Box::new(map::Maps::open(&context.store)?),
        "server" => Box::<server::Serving>::default(),
        "puller" => Box::new(puller::Puller::open(&context.directory)?),
        _ => return Err(format!("unknown role `{role}`").into()),
    };
    while !stop.exists() {
        work.step(&mut context).map_err(|error| format!("{role}: {error}"))?;
    }
    Ok(())
}

/// The signal that this process sends to itself at a step of its role, as the library does at its named steps.
fn signal_at(step: &str) -> Option<Signal> {
    let chosen = std::env::var("COFRAME_FAILPOINT").ok()?;
    match chosen.split_once(':')? {
        ("kill", chosen) if chosen == step => Some(Signal::KILL),
        ("stop", chosen) if chosen == step => Some(Signal::STOP),
        _ => None,
    }
}

/// Frames in use.
#[derive(Default)]
struct Held(Vec<Frame>);

impl Held {
    /// Keeps a frame, and checks one that is kept: its values, and that its file still has its name.
    fn add(&mut self, frame: Frame, random: &mut Random) -> Result<()> {
        self.0.push(frame);
        self.check(random)?;
        while self.0.len() > HELD {
            self.0.remove(random.below(self.0.len() as u64) as usize);
        }
        Ok(())
    }

    fn check(&self, random: &mut Random) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let frame = random.pick(&self.0);
        check(frame)?;
        if KEPT.contains(&frame.name().as_str()) {
            let handle = frame.handle();
            ensure!(frame.path().exists(), "`{}@{}` was removed while in use", frame.name(), frame.version());
            let again = handle.open().map_err(|e| format!("a frame in use does not open by its handle: {e}"))?;
            ensure!(again.segment_id() == frame.segment_id(), "the handle opened another segment");
        }
        Ok(())
    }
}
