//! A store under random `kill -9`, STOP and CONT.
//!
//! A run consists of episodes, each with a new store and a separate seed; an episode of phases. In a phase all roles
//! run, and the driver kills and stops them. Then it ends them, all by SIGKILL or all by request, and checks what is
//! left (`checks`). A failure prints the seed of its episode. The seed repeats every choice of the driver and of the
//! roles, but not the moment at which the kernel runs which process, so a rare failure may need several runs.

mod checks;
mod episode;
mod frames;
mod mirrors;
mod processes;

use std::{
    fmt,
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{Result, random::mixed};

/// About this number of kills share a store.
const KILLS_OF_EPISODE: u64 = 100;
/// No check and no wait takes as long, on a busy machine either.
const LIMIT: Duration = Duration::from_mins(1);

/// What a run did.
#[derive(Default)]
struct Tally {
    episodes: u64,
    phases: u64,
    /// Processes that SIGKILL ended.
    kills: u64,
    /// Those of them that died at a named step.
    at_steps: u64,
    /// Those of them that were workers of a pool.
    workers: u64,
    stops: u64,
    /// Mirrors that pullers reported.
    pulls: u64,
    /// Pulls that returned a frame, and had found bytes of an interrupted pull.
    resumed: u64,
    /// Interrupted pulls whose bytes the driver changed.
    damaged: u64,
    /// Calls of pullers that no server answered.
    unanswered: u64,
    /// Frames that pullers published through a server.
    pushes: u64,
    /// Reports of processes that were compared with what is left.
    reports: u64,
    /// Frames whose values the driver compared.
    frames: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.episodes += other.episodes;
        self.phases += other.phases;
        self.kills += other.kills;
        self.at_steps += other.at_steps;
        self.workers += other.workers;
        self.stops += other.stops;
        self.pulls += other.pulls;
        self.resumed += other.resumed;
        self.damaged += other.damaged;
        self.unanswered += other.unanswered;
        self.pushes += other.pushes;
        self.reports += other.reports;
        self.frames += other.frames;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { episodes, phases, kills, at_steps, workers, stops, reports, frames, .. } = self;
        let Self { pulls, resumed, damaged, unanswered, pushes, .. } = self;
        write!(f, "{kills} kills ({at_steps} at named steps, {workers} of workers), {stops} stops, ")?;
        write!(
            f,
            "{episodes} stores, {phases} checks of all invariants, {reports} reports, {frames} frames compared, "
        )?;
        write!(
            f,
            "{pulls} pulls ({resumed} resumed; {damaged} damaged), {pushes} pushes, {unanswered} calls unanswered"
        )
    }
}

/// Runs episodes until the given number of processes were killed.
pub(crate) fn run(kills: u64, seed: u64) -> Result<()> {
    println!("coframe-torture kill --kills {kills} --seed {seed}");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    watch();
    let start = Instant::now();
    let mut tally = Tally::default();
    while tally.kills < kills {
        let episode = if tally.episodes == 0 { seed } else { mixed(seed ^ tally.episodes) >> 16 };
        let target = KILLS_OF_EPISODE.min(kills - tally.kills);
        SEED.store(episode, Ordering::Relaxed);
        let done = episode::run(episode, target).map_err(|error| {
            format!(
                "{error}\nto repeat it: coframe-torture kill --kills {target} --seed {episode}\nuntil then: {tally}"
            )
        })?;
        tally += done;
        if tally.episodes.is_multiple_of(10) {
            println!("{:6.1?} {tally}", start.elapsed());
        }
    }
    println!("held after {:.1?}: {tally}", start.elapsed());
    Ok(())
}

static SEED: AtomicU64 = AtomicU64::new(0);
/// Counts what the driver does, for `watch`.
static PROGRESS: AtomicU64 = AtomicU64::new(0);

fn progress() {
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

/// Ends the process if the driver itself hangs, in a call on the store. Its children die with it.
fn watch() {
    std::thread::spawn(|| {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = PROGRESS.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > LIMIT + LIMIT {
                let seed = SEED.load(Ordering::Relaxed);
                eprintln!("a call on the store hangs\nto repeat it: coframe-torture kill --seed {seed}");
                std::process::exit(3);
            }
        }
    });
}
