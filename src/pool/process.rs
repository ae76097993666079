//! One worker as its pool sees it: starting it, exchanging messages with it, and what is left when it has died.

use std::{
    collections::VecDeque,
    io::IoSlice,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid},
};

use super::{
    board::Board,
    call::{Call, Queued},
    function::identity,
    lines::Lines,
    printer::{Output, Printer},
    report::{Handles, Report, failure},
    role::MARKER,
    setup::Setup,
    watch,
    wire::{Inbox, Message, Unsent, put_bytes},
};
use crate::error::{Error, Kind, Result, TaskFailure};

/// How workers are started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) setup: Setup,
    pub(super) environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// The test that calls `init`, for binaries without a `main` that does it.
    pub(super) test: Option<String>,
}

/// The phase of a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has not sent its hello yet.
    Started(Instant),
    /// It runs its initializer.
    Preparing(Instant),
    Ready,
    /// It gets no more tasks, and must end by itself soon after this.
    Leaving(Instant),
}

/// A task in a worker.
pub(super) struct Running {
    pub(super) call: Arc<Call>,
    pub(super) task: Queued,
}

/// Messages of a worker.
pub(super) enum Event {
    Ready,
    Unready(TaskFailure),
    Done { running: Running, report: Report, handles: Option<Box<Handles>>, took: u64 },
}

/// A worker process.
pub(super) struct Process {
    pid: u32,
    /// Kills and waits go through it. The id may belong to another process once other code has waited for this one, as
    /// the kernel does if SIGCHLD is ignored.
    pidfd: OwnedFd,
    socket: UnixStream,
    out: Unsent,
    inbox: Inbox,
    /// `None` once the worker was reaped.
    board: Option<Board>,
    pub(super) outputs: [Lines; 2],
    pub(super) phase: Phase,
    setup: Setup,
    /// The shared arguments that it has, by their ids, with their calls.
    commons: Vec<(u64, Weak<Call>)>,
    /// Its tasks, in order; the first one has the number `done`.
    pub(super) running: VecDeque<Running>,
    done: u64,
    /// The number of tasks that it was ever given.
    pub(super) given: u64,
    /// It reads and writes nothing more.
    hung_up: bool,
    /// The process has ended; `reap` comes next.
    pub(super) ended: bool,
    /// Why the pool killed it, and the number of the task for which it did.
    pub(super) killed: Option<(TaskFailure, u64)>,
}

impl Process {
    /// Starts a worker with a number that no other worker of its pool has or had.
    pub(super) fn start(start: &Start, number: u64, printer: &Printer) -> Result<Self> {
        let os = |action, e: std::io::Error| Error::os(action, "/proc/self/exe", e);
        let (socket, theirs) = UnixStream::pair().map_err(|e| os("make a socket for", e))?;
        let (board, descriptor) = Board::make()?;
        let marker = format!("{MARKER}{}", std::process::id());
        // Not `current_exe`: after a rebuild that is another binary.
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = std::env::args_os().next() {
            std::os::unix::process::CommandExt::arg0(&mut command, name);
        }
        if let Some(test) = &start.test {
            // A test harness takes further words as further filters, which match nothing.
            command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        }
        command.arg(marker).envs(start.environment.iter().cloned());
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| os("start a worker from", e))?;
        let pidfd = open_child(&mut child)?;
        // From here on the child must be reaped.
        let reap = || {
            kill(&pidfd);
            wait(&pidfd);
        };
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            reap();
            return Err(Error::invalid("a worker", "it has no outputs"));
        };
        let connect = || -> std::io::Result<_> {
            send_descriptor(&socket, &descriptor)?;
            socket.set_nonblocking(true)?;
            let in_test = start.test.is_some();
            let stdout = Lines::new(stdout.into(), Output::Stdout, in_test, printer.clone())?;
            Ok((stdout, Lines::new(stderr.into(), Output::Stderr, in_test, printer.clone())?))
        };
        match connect() {
            Ok((stdout, stderr)) => Ok(Self {
                pid: child.id(),
                pidfd,
                socket,
                out: Unsent::default(),
                inbox: Inbox::default(),
                board: Some(board),
                outputs: [stdout, stderr],
                phase: Phase::Started(Instant::now()),
                setup: Setup { worker: number, ..start.setup.clone() },
                commons: Vec::new(),
                running: VecDeque::new(),
                done: 0,
                given: 0,
                hung_up: false,
                ended: false,
                killed: None,
            }),
            Err(e) => {
                reap();
                Err(os("connect to a worker of", e))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns its number in the life of its pool.
    pub(super) fn number(&self) -> u64 {
        self.setup.worker
    }

    /// Returns the pidfd, which is readable when the process has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Returns the socket, until the worker has closed it.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        (!self.hung_up).then(|| self.socket.as_fd())
    }

    /// Returns whether messages wait until the socket accepts more.
    pub(super) fn is_behind(&self) -> bool {
        !self.out.is_empty()
    }

    /// Gives the worker a chunk of tasks of one call.
    pub(super) fn give(&mut self, call: &Arc<Call>, tasks: &mut Vec<Queued>) {
        if let Some(common) = &call.common
            && !self.commons.iter().any(|(id, _)| *id == common.id)
        {
            self.commons.push((common.id, Arc::downgrade(call)));
            self.out.put(Message::Common, |out| {
                out.extend_from_slice(&common.id.to_le_bytes());
                put_bytes(out, &common.bytes);
            });
        }
        self.out.put(Message::Work, |out| {
            out.extend_from_slice(&call.function.run.to_le_bytes());
            out.extend_from_slice(&call.function.target.to_le_bytes());
            out.extend_from_slice(&call.common.as_ref().map_or(0, |common| common.id).to_le_bytes());
            out.extend_from_slice(&u32::try_from(tasks.len()).unwrap_or(0).to_le_bytes());
            for task in tasks.iter() {
                put_bytes(out, &task.argument);
            }
        });
        self.given += u64::try_from(tasks.len()).unwrap_or(0);
        self.running.extend(tasks.drain(..).map(|task| Running { call: call.clone(), task }));
        self.send();
    }

    /// Makes the worker drop the shared arguments of calls that are over.
    pub(super) fn forget_commons(&mut self) {
        let is_over = |call: &Weak<Call>| call.upgrade().is_none_or(|call| call.is_abandoned());
        let over: Vec<u64> = self.commons.extract_if(.., |(_, call)| is_over(call)).map(|(id, _)| id).collect();
        for id in &over {
            self.out.put(Message::Forget, |out| out.extend_from_slice(&id.to_le_bytes()));
        }
        if !over.is_empty() {
            self.send();
        }
    }

    /// Reports to the worker that the pool holds the frames of all results so far.
    pub(super) fn release(&mut self) {
        let done = self.done;
        self.out.put(Message::Release, |out| out.extend_from_slice(&done.to_le_bytes()));
        self.send();
    }

    /// Writes what the socket accepts. An error means that the process is ending, which its pidfd reports.
    pub(super) fn send(&mut self) {
        let _ = self.out.write(&mut self.socket);
    }

    /// Reads the available messages and returns their content.
    pub(super) fn receive(&mut self, events: &mut Vec<Event>) -> Result<()> {
        loop {
            match self.inbox.read(&mut self.socket) {
                Ok(1..) => self.messages(events)?,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Ok(0) | Err(_) => {
                    // It is ending, or it only closed its socket and cannot be used any more.
                    self.hung_up = true;
                    if !matches!(self.phase, Phase::Leaving(_)) {
                        kill(&self.pidfd);
                    }
                    return Ok(());
                }
            }
        }
    }

    fn messages(&mut self, events: &mut Vec<Event>) -> Result<()> {
        while let Some((message, mut body)) = self.inbox.next()? {
            match message {
                Message::Hello => {
                    let theirs = body.text()?;
                    let ours = identity()?;
                    if theirs != ours {
                        let found = format!("it is another executable ({theirs}) than the pool ({ours})");
                        return Err(Kind::Worker { found, next: "start the program again" }.into());
                    }
                    self.outputs.iter_mut().for_each(Lines::discard_so_far);
                    if !matches!(self.phase, Phase::Leaving(_)) {
                        self.phase = Phase::Preparing(Instant::now());
                    }
                    let setup = &self.setup;
                    self.out.put(Message::Setup, |out| setup.write(out));
                }
                Message::Ready => {
                    if !matches!(self.phase, Phase::Leaving(_)) {
                        self.phase = Phase::Ready;
                    }
                    events.push(Event::Ready);
                }
                Message::Unready => events.push(Event::Unready(failure(Report::read(&mut body)?.0))),
                Message::Done => {
                    let (number, took) = (body.u64()?, body.u64()?);
                    // A worker that died while it sent has the same report on its board.
                    if number < self.done {
                        continue;
                    }
                    let (report, handles) = Report::read(&mut body)?;
                    let Some(running) = self.running.pop_front().filter(|_| number == self.done) else {
                        return Err(super::wire::garbled());
                    };
                    self.done += 1;
                    events.push(Event::Done { running, report, handles, took });
                }
                _ => return Err(super::wire::garbled()),
            }
        }
        self.send();
        Ok(())
    }

    /// Returns how long its task has been running, and the task's number.
    pub(super) fn busy_for(&self) -> Option<(Duration, u64)> {
        let begun = self.board.as_ref()?.running().filter(|begun| begun.number >= self.done)?;
        Some((Duration::from_nanos(watch::now().saturating_sub(begun.at)), begun.number))
    }

    /// Returns the call whose task runs now.
    pub(super) fn current(&self) -> Option<(&Running, u64)> {
        let number = self.board.as_ref()?.running()?.number;
        let ahead = usize::try_from(number.checked_sub(self.done)?).ok()?;
        Some((self.running.get(ahead)?, number))
    }

    /// Kills the worker; `failure` becomes the result of its task `number`.
    pub(super) fn kill(&mut self, failure: TaskFailure, number: u64) {
        if self.killed.is_none() && self.board.as_ref().is_some_and(|board| board.condemn(number)) {
            self.killed = Some((failure, number));
            // It may have ended by itself just now, which its pidfd reports.
            kill(&self.pidfd);
        }
    }

    /// Ends a worker that does not respond, even if it runs a task.
    pub(super) fn kill_stuck(&mut self) {
        kill(&self.pidfd);
    }

    /// Asks the worker to end.
    pub(super) fn dismiss(&mut self) {
        self.phase = Phase::Leaving(Instant::now());
        self.out.put(Message::Leave, |_| {});
        self.send();
    }

    /// Ends the worker now.
    pub(super) fn kill_and_reap(self) -> Exited {
        kill(&self.pidfd);
        self.reap()
    }

    /// Returns, after the process has ended, the results of its finished tasks, the task that it was running, and those
    /// that it had not started.
    pub(super) fn reap(mut self) -> Exited {
        let how = wait(&self.pidfd);
        let mut finished = Vec::new();
        let _ = self.receive(&mut finished);
        // Messages that arrived in part are complete on the board.
        self.inbox.forget_rest();
        let board = self.board.take();
        let begun = board.as_ref().and_then(Board::running).map(|begun| begun.number);
        self.inbox.append(&board.map(Board::into_leftover).unwrap_or_default());
        let _ = self.messages(&mut finished);
        self.outputs.iter_mut().for_each(Lines::finish);
        // A worker that was killed for an earlier task announced the next one without running it: see `Board::begin`.
        let killed = self.killed.take();
        let for_earlier = killed.as_ref().is_some_and(|(_, number)| *number < self.done);
        let was_running = begun == Some(self.done) && !for_earlier;
        let interrupted = if was_running { self.running.pop_front() } else { None };
        let failure = match killed {
            Some((failure, number)) if number == self.done => failure,
            _ => TaskFailure::Lost { pid: self.pid, how: how.clone() },
        };
        let unstarted = std::mem::take(&mut self.running);
        Exited { finished, interrupted, failure, unstarted, phase: self.phase, how }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(&self.pidfd);
        wait(&self.pidfd);
    }
}

/// What is left of a worker.
pub(super) struct Exited {
    pub(super) finished: Vec<Event>,
    pub(super) interrupted: Option<Running>,
    /// The failure of the interrupted task.
    pub(super) failure: TaskFailure,
    pub(super) unstarted: VecDeque<Running>,
    pub(super) phase: Phase,
    /// "was killed by signal 9 (SIGKILL)"
    pub(super) how: String,
}

/// Opens a process that was just started. From then on only this descriptor is used to wait for it.
fn open_child(child: &mut Child) -> Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let opened = pid.ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let here = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // If SIGCHLD is ignored, a child that has ended is gone, and its id may belong to another process.
    let ours = opened.and_then(|pidfd| waitid(WaitId::PidFd(pidfd.as_fd()), here).map(|_| pidfd));
    ours.map_err(|e| {
        if !matches!(e, Errno::SRCH | Errno::CHILD) {
            let _ = child.kill();
            let _ = child.wait();
        }
        Error::os("open a worker that was started from", "/proc/self/exe", e)
    })
}

fn kill(pidfd: &OwnedFd) {
    // It may have ended by itself, which the descriptor reports.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
}

/// Waits until a process has ended, and returns how it ended.
fn wait(pidfd: &OwnedFd) -> String {
    while poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None) == Err(Errno::INTR) {}
    let status = loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            status => break status.ok().flatten(),
        }
    };
    let Some(status) = status else {
        return "ended (how is not known: this program ignores SIGCHLD, or waits for all its children)".to_owned();
    };
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("no name");
            let memory = if signal == 9 { ", by a user or because memory ran out" } else { "" };
            format!("was killed by signal {signal} ({name}){memory}")
        }
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn send_descriptor(socket: &UnixStream, descriptor: &OwnedFd) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::empty())?;
    Ok(())
}
