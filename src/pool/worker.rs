//! Inside a worker: from the first line of `main` to the end of the process.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Pid, Resource, Rlimit, Signal, getpid, kill_process},
};

use super::{
    board::Board,
    common,
    function::{Function, Outcome, identity},
    outbox::{Outbox, lost},
    report::{Handles, Report},
    role,
    setup::Setup,
    watch,
    wire::{Body, Inbox, Message, garbled, put, put_bytes},
};
use crate::{
    error::{Error, Result},
    fork::process,
    frame::Sent,
    store::Store,
};

/// How long results wait for others before they are sent, in nanoseconds.
const GATHER: u64 = 100_000;
/// The memory of a longer report is not kept for the next one.
const LARGE_REPORT: usize = 64 * 1024;
/// How long the watcher has to clean up after a pool whose process died.
const AFTER_THE_POOL: Duration = Duration::from_secs(2);
/// The exit code of a worker that cannot serve.
const CANNOT_SERVE: i32 = 70;

/// Turns this process into a worker if a pool started it as one; call it in the first line of `main`.
///
/// Returns at once in every other process. In a worker it never returns: it runs tasks until its pool ends, and then
/// ends the process. Code before it in `main` runs in every worker too.
///
/// Without it a pool cannot be built: [`Builder::build`](super::Builder::build) fails, because the first worker ran
/// through `main` instead, or sent nothing for ten seconds. Building a pool inside such a process is an error, so it
/// starts no further processes.
///
/// ```
/// coframe::pool::init(); // first line of main
/// ```
pub fn init() {
    let Some(parent) = role::parent() else { return };
    let code = match serve(parent) {
        Ok(()) => 0,
        Err(error) => {
            // The pool prints this; a worker cannot report it elsewhere.
            let _ = writeln!(std::io::stderr(), "coframe worker {}: {error:?}", std::process::id());
            // Most likely the pool has died; then the watcher is about to end this process.
            if role::session().is_some() {
                std::thread::sleep(AFTER_THE_POOL);
            }
            CANNOT_SERVE
        }
    };
    std::process::exit(code)
}

thread_local! {
    /// The message and location of the last panic in this thread.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    static RUNS_TASKS: RefCell<bool> = const { RefCell::new(false) };
}

fn serve(parent: Pid) -> Result<()> {
    let pidfd = watch::open_parent(parent)?;
    let mut socket = take_socket()?;
    let board = Board::open(&receive_descriptor(&socket)?)?;
    // Ctrl-C signals every process of the terminal. The pool decides what it means; when the pool dies, this process
    // does too.
    let ignored = Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGINT, ignored)
        .map_err(|e| Error::os("set a handler for SIGINT in", "/proc/self", e))?;

    let mut out = Vec::new();
    let identity = identity()?;
    put(&mut out, Message::Hello, |out| put_bytes(out, identity.as_bytes()));
    socket.write_all(&out).map_err(|e| lost(&e))?;

    let mut inbox = Inbox::default();
    let setup = loop {
        match inbox.next()? {
            Some((Message::Setup, mut body)) => break Setup::read(&mut body)?,
            Some((Message::Leave, _)) => return Ok(()),
            Some(_) => return Err(garbled()),
            None => {}
        }
        if inbox.read(&mut socket).map_err(|e| lost(&e))? == 0 {
            return Ok(());
        }
    };
    let session = Store::open_session(&setup.store, &setup.session)?;
    role::set_session(session, setup.worker);
    if let Some(bytes) = setup.memory_limit {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        rustix::process::setrlimit(Resource::Data, limit)
            .map_err(|e| Error::os("limit the memory of", "/proc/self", e))?;
    }
    let writer = socket.try_clone().map_err(|e| lost(&e))?;
    let outbox = Arc::new(Outbox::new(board, writer));
    watch::start(pidfd, outbox.clone(), setup.store, setup.session)?;
    record_panics();

    let mut worker = Worker { process: process(), outbox, held: VecDeque::new(), next: 0, sent_at: 0, out: Vec::new() };
    let ready = setup.initializer.map_or(Ok(Report::Value(Vec::new())), |(function, argument)| {
        Worker::call(function, &argument).map(|(report, _)| report)
    })?;
    let mut out = Vec::new();
    match ready {
        Report::Value(_) => put(&mut out, Message::Ready, |_| {}),
        failed => put(&mut out, Message::Unready, |out| failed.write(out, &Handles::default())),
    }
    worker.outbox.send(&out, true)?;
    loop {
        while let Some((message, mut body)) = inbox.next()? {
            match message {
                Message::Work => worker.chunk(&mut body)?,
                Message::Common => common::receive(body.u64()?, body.bytes()?.to_vec()),
                Message::Forget => common::forget(body.u64()?),
                Message::Release => worker.release(body.u64()?),
                Message::Leave => return Ok(()),
                _ => return Err(garbled()),
            }
        }
        worker.outbox.flush()?;
        if inbox.read(&mut socket).map_err(|e| lost(&e))? == 0 {
            // The pool closes the socket when its process dies. The watcher cleans up what the pool left, and ends this
            // process.
            std::thread::sleep(AFTER_THE_POOL);
            return Ok(());
        }
    }
}

/// Standard input is the socket. A task that reads from it must find it empty.
fn take_socket() -> Result<UnixStream> {
    let os = |e: rustix::io::Errno| Error::os("take the socket of a worker from", "/proc/self/fd/0", e);
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(os)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).map_err(os)?;
    rustix::stdio::dup2_stdin(&null).map_err(os)?;
    Ok(UnixStream::from(socket))
}

/// Receives the descriptor of the board, which comes with the first byte.
fn receive_descriptor(socket: &UnixStream) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .map_err(|e| Error::os("talk to the pool over", "/proc/self/fd/0", e))?;
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().next().ok_or_else(garbled)
}

/// Records panics of tasks for their errors instead of printing them. Panics of other threads are printed as usual.
fn record_panics() {
    RUNS_TASKS.set(true);
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !RUNS_TASKS.with_borrow(|runs| *runs) {
            return others(panic);
        }
        let message = panic.payload_as_str().unwrap_or("a panic without a message").to_owned();
        let location = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        PANIC.set(Some((message, location)));
    }));
}

/// Ends a child that a task forked and that returned from the task, or panicked in it. It has copies of the worker's
/// socket and none of its threads; only the worker may send the report.
fn end_forked_child() -> ! {
    let text = "coframe: a forked child returned from the task that forked it; leave the child with _exit or exec";
    let _ = writeln!(std::io::stderr(), "{text}");
    // Not `exit`: the exit handlers belong to the worker.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

struct Worker {
    process: u32,
    outbox: Arc<Outbox>,
    /// Frames in results, by the number of their task, until the pool holds them too.
    held: VecDeque<(u64, Vec<Sent>)>,
    /// The number of the next task in the life of this worker.
    next: u64,
    /// When reports were last sent.
    sent_at: u64,
    /// Space for a report.
    out: Vec<u8>,
}

impl Worker {
    /// Runs the tasks of one message.
    fn chunk(&mut self, body: &mut Body<'_>) -> Result<()> {
        let function = Function { run: body.u64()?, target: body.u64()? };
        common::set_current(body.u64()?);
        let count = body.u32()?;
        let mut begun = watch::now();
        for _ in 0..count {
            begun = self.task(function, body.bytes()?, begun)?;
        }
        Ok(())
    }

    /// Runs a task that begins now. Returns when it ended, which is when the next one begins.
    fn task(&mut self, function: Function, argument: &[u8], begun: u64) -> Result<u64> {
        let number = self.next;
        self.next += 1;
        if !self.outbox.board.begin(number, begun) {
            // The pool is killing this process for an earlier task, or will find that it is too late for that.
            while self.outbox.board.is_condemned() {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        let called = Self::call(function, argument);
        if process() != self.process {
            end_forked_child();
        }
        let (report, sent) = called?;
        let mut handles = Handles::default();
        for sent in &sent {
            match sent {
                Sent::Frame(frame) => handles.frames.push(frame.handle().to_string()),
                Sent::Given(handle, _) => handles.given.push(handle.to_string()),
                Sent::Handle(_) | Sent::Other(_) => {}
            }
        }
        let ended = watch::now();
        self.out.clear();
        put(&mut self.out, Message::Done, |out| {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&ended.saturating_sub(begun).to_le_bytes());
            report.write(out, &handles);
        });
        if !handles.frames.is_empty() {
            self.held.push_back((number, sent));
        }
        let now = ended.saturating_sub(self.sent_at) > GATHER;
        self.outbox.send(&self.out, now)?;
        if self.out.capacity() > LARGE_REPORT {
            self.out = Vec::new();
        }
        if now {
            self.sent_at = ended;
        }
        // Last, because a task has ended only when its report is safe.
        self.outbox.board.end(number);
        Ok(ended)
    }

    /// Calls a function and catches its panics.
    fn call(function: Function, argument: &[u8]) -> Result<(Report, Vec<Sent>)> {
        // A panic that a task caught itself does not belong to the next task.
        PANIC.take();
        let mut result = Vec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| function.call(argument, &mut result)));
        let report = match outcome {
            Ok(Ok(Outcome::Done(sent))) => return Ok((Report::Value(result), sent)),
            Ok(Ok(Outcome::Failed(chain))) => Report::Failed(chain),
            Ok(Ok(Outcome::NotSent { what, detail })) => Report::NotSent { what, detail },
            Ok(Err(error)) => return Err(error),
            Err(payload) => {
                // A panic of another thread that was passed on has its message only in the payload.
                let text = payload.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
                let recorded = PANIC.take();
                let (message, location) = recorded.unwrap_or_else(|| {
                    (text.unwrap_or_else(|| "a panic without a message".into()), "another thread".into())
                });
                Report::Panicked { message, location }
            }
        };
        Ok((report, Vec::new()))
    }

    /// Releases frames: the pool holds those of all results before this number.
    fn release(&mut self, before: u64) {
        while self.held.front().is_some_and(|(number, _)| *number < before) {
            self.held.pop_front();
        }
    }
}
