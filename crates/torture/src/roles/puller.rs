//! Pulls frames of the store into another one, which two pullers share, and pushes and reads through the server.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use coframe::Store;
use coframe_flight::{Error, PullOptions, ReadOptions, Remote, RemoteOptions, Stat};
use rustix::process::{Signal, getpid, kill_process};

use super::{Context, Held, Role, server, signal_at};
use crate::{
    Result,
    content::{self, KEPT, LARGE, MIRROR, REMOVED},
    ensure,
};

/// What pullers report.
pub(crate) const RESUMED: &str = "resumed";
pub(crate) const PUSHED: &str = "pushed";
pub(crate) const UNANSWERED: &str = "unanswered";

/// No call takes as long: a server answers, is gone, or is stopped for a fraction of a second.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a call waits for an answer, and how long a pull tries again. Some are shorter than a stop.
const DEADLINES: [Duration; 3] = [Duration::from_millis(40), Duration::from_millis(400), Duration::from_secs(4)];
const RETRIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(40), Duration::from_millis(400)];
/// The most microseconds of a pull after which a puller dies.
const PULL: u64 = 6000;

/// The store that all pullers of a run share.
pub(crate) fn mirrors(directory: &Path) -> Result<Store> {
    Ok(Store::open_at(directory.join("mirrors"))?)
}

pub(super) struct Puller {
    mirrors: Store,
    remote: Option<Remote>,
    held: Held,
    /// The highest remote version of each name that this process saw.
    seen: BTreeMap<&'static str, u64>,
    /// The signal that it sends to itself in a pull.
    end: Option<Signal>,
}

impl Puller {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let (mirrors, end) = (mirrors(directory)?, signal_at("pulling"));
        Ok(Self { mirrors, remote: None, held: Held::default(), seen: BTreeMap::new(), end })
    }
}

impl Role for Puller {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        if self.remote.is_none() || context.random.one_in(32) {
            self.connect(context)?;
        }
        let Some(remote) = self.remote.clone() else { return Ok(()) };
        let (kept, removed) = (*context.random.pick(&KEPT), *context.random.pick(&REMOVED));
        match context.random.below(20) {
            0..8 => self.pull(context, &remote, LARGE),
            8..12 => self.pull(context, &remote, kept),
            12 => self.pull(context, &remote, removed),
            13 => self.pull(context, &remote, MIRROR),
            14 => self.push(context, &remote, kept),
            15 => self.read(context, &remote, kept),
            16 => self.list(context, &remote),
            17 => self.wait(context, &remote, kept),
            18 => self.remove(context, &remote, removed),
            _ => self.sweep(context),
        }
    }
}

impl Puller {
    fn connect(&mut self, context: &mut Context) -> Result<()> {
        self.remote = None;
        let Some(url) = server::url(&context.directory) else {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(());
        };
        let options = RemoteOptions::new().ranges(1 + context.random.below(4) as usize)?;
        let options = options.deadline(*context.random.pick(&DEADLINES)).retry(*context.random.pick(&RETRIES));
        let options = options.checksums(!context.random.one_in(3));
        self.remote = self.call(context, false, || Remote::connect_with(&url, &options))?;
        if self.remote.is_none() {
            std::thread::sleep(Duration::from_micros(context.random.below(2000)));
        }
        Ok(())
    }

    /// The result of a call; `None` if no server answered it, or if what it needs may be missing and is.
    fn call<T>(
        &mut self,
        context: &mut Context,
        may_be_missing: bool,
        call: impl FnOnce() -> coframe_flight::Result<T>,
    ) -> Result<Option<T>> {
        let start = Instant::now();
        let result = call();
        ensure!(start.elapsed() < LIMIT, "a call took {:?}", start.elapsed());
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_local(&error) => Err(error.into()),
            Err(error) if error.is_unreachable() || error.is_timeout() => {
                context.ledger.event(UNANSWERED)?;
                // The next server may have another port.
                if context.random.one_in(2) {
                    self.remote = None;
                }
                Ok(None)
            }
            Err(error) if may_be_missing && error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The latest version of a remote frame.
    fn stat(&mut self, context: &mut Context, remote: &Remote, name: &'static str) -> Result<Option<Stat>> {
        let may_be_missing = !KEPT.contains(&name) && name != LARGE;
        let stat = self.call(context, may_be_missing, || remote.stat(name))?;
        if let Some(stat) = &stat {
            let seen = self.seen.insert(name, stat.version).unwrap_or(0);
            ensure!(stat.version >= seen, "the remote `{name}` went from version {seen} back to {}", stat.version);
        }
        Ok(stat)
    }

    fn pull(&mut self, context: &mut Context, remote: &Remote, name: &'static str) -> Result<()> {
        let Some(stat) = self.stat(context, remote, name)? else { return Ok(()) };
        let is_resumed = is_interrupted(&self.mirrors, &stat)?;
        if name == LARGE
            && let Some(signal) = self.end.take()
        {
            send_later(signal, Duration::from_micros(context.random.below(PULL)));
        }
        let (mirrors, options) = (self.mirrors.clone(), PullOptions::new().version(stat.version));
        // Another process may remove the version meanwhile, but not that of the large frame.
        let pulled = self.call(context, name != LARGE, || remote.pull_with(&mirrors, name, &options))?;
        let Some(frame) = pulled else { return Ok(()) };
        ensure!(frame.segment_id() == stat.id, "a pull of `{name}@{}` returned another segment", stat.version);
        let token = content::check(&frame)?;
        ensure!(token == token_of(&stat)?.1, "a pull of `{name}@{}` returned another frame", stat.version);
        context.ledger.mirror(name, frame.version(), token)?;
        if is_resumed {
            context.ledger.event(RESUMED)?;
        }
        if name != LARGE {
            return self.held.add(frame, &mut context.random);
        }
        // To pull it again.
        if context.random.one_in(2) {
            self.mirrors.remove(name)?;
        }
        Ok(())
    }

    /// Publishes a frame that was pulled as a new version of its name.
    fn push(&mut self, context: &mut Context, remote: &Remote, kept: &str) -> Result<()> {
        let frame = match self.mirrors.open(kept) {
            Err(error) if error.is_not_found() => return Ok(()),
            frame => frame?,
        };
        let (name, token) = (frame.name().clone(), content::token(&frame)?);
        if let Some(version) = self.call(context, false, || remote.push(&frame, &name))? {
            context.ledger.frame(name.as_str(), version, token)?;
            context.ledger.event(PUSHED)?;
        }
        Ok(())
    }

    /// Reads rows into the memory of this process.
    fn read(&mut self, context: &mut Context, remote: &Remote, name: &'static str) -> Result<()> {
        let Some(stat) = self.stat(context, remote, name)? else { return Ok(()) };
        let options = ReadOptions::new().version(stat.version);
        let Some((_, batches)) = self.call(context, true, || remote.read(name, &options))? else { return Ok(()) };
        let (of, token) = token_of(&stat)?;
        content::compare(&format!("the remote `{name}@{}`", stat.version), &batches, &content::table(of, token)?)
    }

    fn list(&mut self, context: &mut Context, remote: &Remote) -> Result<()> {
        let Some(stats) = self.call(context, false, || remote.list())? else { return Ok(()) };
        let missing = KEPT.iter().chain([&LARGE]).find(|kept| !stats.iter().any(|stat| stat.name == **kept));
        ensure!(missing.is_none(), "{missing:?} is not listed by the server");
        Ok(())
    }

    fn wait(&mut self, context: &mut Context, remote: &Remote, name: &'static str) -> Result<()> {
        let seen = self.seen.get(name).copied().unwrap_or(0);
        let newer = self.call(context, false, || remote.wait(name, seen, Duration::from_millis(3)))?.flatten();
        ensure!(newer.is_none_or(|newer| newer > seen), "`wait` returned an old version of the remote `{name}`");
        Ok(())
    }

    fn remove(&mut self, context: &mut Context, remote: &Remote, name: &'static str) -> Result<()> {
        self.call(context, false, || remote.remove(name))?;
        self.mirrors.remove(name)?;
        Ok(())
    }

    fn sweep(&mut self, context: &mut Context) -> Result<()> {
        let problems = self.mirrors.sweep()?.problems;
        ensure!(problems.is_empty(), "a sweep of the mirrors has problems: {problems:?}");
        self.held.check(&mut context.random)
    }
}

/// Whether the store of mirrors failed, which no death of a server explains.
fn is_local(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<coframe::Error>)
}

/// The name and the token of the content of a remote frame.
fn token_of(stat: &Stat) -> Result<(&str, u64)> {
    let value = |key| stat.metadata.get(key).ok_or_else(|| format!("the remote `{}` has no `{key}`", stat.name));
    Ok((value("of")?.as_str(), value("token")?.parse()?))
}

/// Whether an earlier pull of the segment left bytes, and no process is pulling it.
fn is_interrupted(mirrors: &Store, stat: &Stat) -> Result<bool> {
    let id = stat.id.ok_or_else(|| format!("the remote `{}` has no id", stat.name))?;
    let _turn = match mirrors.mirror_turn(id, Duration::ZERO) {
        Err(error) if error.is_busy() => return Ok(false),
        turn => turn?,
    };
    Ok(mirrors.partial_mirror(id)?.map_or(Ok(0), |partial| partial.len())? > 0)
}

/// Sends this process a signal, while it pulls.
fn send_later(signal: Signal, delay: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(delay);
        kill_process(getpid(), signal)
    });
}
