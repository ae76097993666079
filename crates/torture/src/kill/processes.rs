//! The processes of one episode: started, stopped, killed and waited for.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, pidfd_send_signal, wait},
};

use super::{LIMIT, Tally, progress};
use crate::{Result, ensure, random::Random, roles};

/// Steps of the library at which a process can be made to die, by role.
fn steps(role: &str) -> &'static [&'static str] {
    match role {
        "publisher" => &[
            "write",
            "before-seal",
            "sealed",
            "numbered",
            "recorded",
            "linked",
            "before-switch",
            "switched",
            "name-swept",
            "remove-recorded",
            "remove-unlinked",
            "sweep-locked",
            "list",
        ],
        "reader" => &["looked-up", "list"],
        "sweeper" => &["sweep-locked", "list", "session-file", "session-emptied", "session-ended"],
        "session" => &["session-file", "session-emptied", "session-ended", "linked", "switched", "dict-made"],
        "map" => &["dict-made"],
        "server" => &["serving", "looked-up", "list", "write", "sealed", "linked", "before-switch", "switched"],
        "puller" => &[
            "pulling",
            "pulling",
            "pulling",
            "write",
            "before-seal",
            "sealed",
            "numbered",
            "linked",
            "before-switch",
            "switched",
            "name-swept",
            "sweep-locked",
        ],
        _ => &[],
    }
}

struct Child {
    pid: Pid,
    /// Whether it may die by itself, at a named step.
    at_step: bool,
    /// Whether the driver has sent SIGKILL.
    killed: bool,
    /// When the driver lets it run again.
    stopped_until: Option<Instant>,
}

pub(super) struct Processes<'a> {
    directory: &'a Path,
    /// By the index of the role.
    children: BTreeMap<usize, Child>,
    /// Workers that the driver has stopped, and until when.
    stopped: Vec<(Pid, Instant)>,
    pub(super) tally: Tally,
}

/// How all processes are ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Kill,
    Request,
}

impl<'a> Processes<'a> {
    pub(super) fn new(directory: &'a Path) -> Self {
        Self { directory, children: BTreeMap::new(), stopped: Vec::new(), tally: Tally::default() }
    }

    /// Starts the roles that do not run; some of them will die or stop at a named step.
    pub(super) fn start_missing(&mut self, random: &mut Random) -> Result<()> {
        for (index, role) in roles::ROLES.into_iter().enumerate() {
            if self.children.contains_key(&index) {
                continue;
            }
            let seed = random.next();
            let mut command = Command::new("/proc/self/exe");
            command.args(["role", role]).stdin(Stdio::null());
            command.env(roles::DIRECTORY, self.directory).env(roles::SEED, seed.to_string());
            command.env("COFRAME_STORE", self.directory.join("store"));
            let at_step = !steps(role).is_empty() && random.one_in(3);
            if at_step {
                let action = if random.one_in(12) { "stop" } else { "kill" };
                command.env("COFRAME_FAILPOINT", format!("{action}:{}", random.pick(steps(role))));
            }
            // Not waited for through this handle: `reap` waits for all children, and for orphans.
            let pid = Pid::from_child(&command.spawn()?);
            self.children.insert(index, Child { pid, at_step, killed: false, stopped_until: None });
        }
        Ok(())
    }

    /// Waits for processes that have ended. One that ended by itself has failed, except where it was told to.
    pub(super) fn reap(&mut self, may_end: bool) -> Result<()> {
        progress();
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let found = self.children.iter().find(|(_, child)| child.pid == pid).map(|(index, _)| *index);
            let Some(child) = found.and_then(|index| self.children.remove(&index)) else {
                check_orphan(pid, status)?;
                continue;
            };
            let role = roles::ROLES[found.unwrap_or(0)];
            if status.terminating_signal() == Some(Signal::KILL.as_raw()) && (child.killed || child.at_step) {
                self.tally.kills += 1;
                self.tally.at_steps += u64::from(!child.killed);
            } else {
                let good = may_end && status.exit_status() == Some(0);
                ensure!(good, "the {role} {pid} ended by itself: {}", described(status));
            }
        }
    }

    /// Lets those run again whose time has come, and those that stopped themselves, at random.
    pub(super) fn resume(&mut self, random: &mut Random) -> Result<()> {
        let now = Instant::now();
        for child in self.children.values_mut() {
            let is_due = child.stopped_until.is_some_and(|until| until <= now);
            if is_due || (child.at_step && child.stopped_until.is_none() && random.one_in(16)) {
                child.stopped_until = None;
                kill_process(child.pid, Signal::CONT)?;
            }
        }
        let directory = self.directory;
        self.stopped.retain(|(pid, until)| {
            if *until <= now {
                send(directory, *pid, Signal::CONT);
            }
            *until > now
        });
        Ok(())
    }

    /// Sends SIGKILL or SIGSTOP to a random process.
    pub(super) fn hit(&mut self, random: &mut Random) -> Result<()> {
        let stop = random.one_in(5).then(|| Instant::now() + std::time::Duration::from_millis(1 + random.below(60)));
        if random.one_in(8) {
            self.hit_worker(stop, random);
            return Ok(());
        }
        let index = random.below(roles::ROLES.len() as u64) as usize;
        let Some(child) = self.children.get_mut(&index) else { return Ok(()) };
        if let Some(until) = stop {
            child.stopped_until = Some(until);
            self.tally.stops += 1;
            kill_process(child.pid, Signal::STOP)?;
        } else if !child.killed {
            child.killed = true;
            kill_process(child.pid, Signal::KILL)?;
        }
        Ok(())
    }

    fn hit_worker(&mut self, stop: Option<Instant>, random: &mut Random) {
        let workers: Vec<Pid> =
            marked(self.directory).into_iter().filter(|pid| self.children.values().all(|c| c.pid != *pid)).collect();
        if workers.is_empty() {
            return;
        }
        let pid = *random.pick(&workers);
        match stop {
            Some(until) if send(self.directory, pid, Signal::STOP) => {
                self.stopped.push((pid, until));
                self.tally.stops += 1;
            }
            None if send(self.directory, pid, Signal::KILL) => {
                self.tally.kills += 1;
                self.tally.workers += 1;
            }
            _ => {}
        }
    }

    /// Ends all processes. Workers of a pool are left to themselves: they end with the process of the pool.
    pub(super) fn end(&mut self, how: End, random: &mut Random) -> Result<()> {
        let stop = self.directory.join("stop");
        match how {
            End::Request => fs::write(&stop, "")?,
            End::Kill => {
                for child in self.children.values_mut().filter(|child| !child.killed) {
                    child.killed = true;
                    kill_process(child.pid, Signal::KILL)?;
                }
            }
        }
        let start = Instant::now();
        loop {
            self.reap(how == End::Request)?;
            let left = marked(self.directory);
            if self.children.is_empty() && left.is_empty() {
                break;
            }
            // Those that stop themselves at a step do so again and again.
            for child in self.children.values() {
                let _ = kill_process(child.pid, Signal::CONT);
            }
            for pid in &left {
                send(self.directory, *pid, Signal::CONT);
            }
            let names: Vec<&str> = self.children.keys().map(|index| roles::ROLES[*index]).collect();
            ensure!(start.elapsed() < LIMIT, "hang: {names:?} ({left:?}) did not end: {}", stacks(&left));
            std::thread::sleep(std::time::Duration::from_micros(500 + random.below(500)));
        }
        self.stopped.clear();
        if how == End::Request {
            fs::remove_file(stop)?;
        }
        Ok(())
    }
}

impl Drop for Processes<'_> {
    /// After a failure: leaves nothing that runs, so that the directory can be removed.
    fn drop(&mut self) {
        for _ in 0..1000 {
            let left = marked(self.directory);
            if left.is_empty() {
                return;
            }
            for pid in left {
                send(self.directory, pid, Signal::KILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// A worker whose parent died ends by itself; it must not crash.
fn check_orphan(pid: Pid, status: WaitStatus) -> Result<()> {
    let signal = status.terminating_signal();
    ensure!(signal.is_none_or(|signal| signal == Signal::KILL.as_raw()), "worker {pid}: {}", described(status));
    Ok(())
}

fn described(status: WaitStatus) -> String {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => format!("signal {signal}"),
        (_, code) => format!("exit status {}", code.unwrap_or(-1)),
    }
}

/// Processes of this run, workers of pools included: they inherit an entry in their environment.
pub(super) fn marked(directory: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    let mut marked: Vec<Pid> = pids.filter(|pid| is_marked(*pid, directory)).collect();
    marked.sort_by_key(|pid| pid.as_raw_nonzero());
    marked
}

fn is_marked(pid: Pid, directory: &Path) -> bool {
    let mut mark = OsString::from(roles::DIRECTORY);
    mark.push("=");
    mark.push(directory);
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_encoded_bytes())
}

/// Sends a signal to a process of this run, and to no other that got its id meanwhile.
fn send(directory: &Path, pid: Pid, signal: Signal) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    is_marked(pid, directory) && pidfd_send_signal(process, signal).is_ok()
}

/// Where processes wait in the kernel, for the message of a hang.
fn stacks(pids: &[Pid]) -> String {
    let lines = pids.iter().map(|pid| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let state = read("status").lines().find(|line| line.starts_with("State")).unwrap_or_default().to_owned();
        format!("{pid} {state} {} {}", read("wchan"), read("syscall").trim())
    });
    lines.collect::<Vec<_>>().join("; ")
}
