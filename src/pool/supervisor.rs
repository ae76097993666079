//! The thread of a pool: starts workers, gives them tasks, reads their messages, and cleans up after workers that die.
//!
//! ```text
//! caller --Call--> Shared <--poll-- supervisor --socket: Setup, Common, Work, Release, Forget, Leave--> worker (x N)
//!                                    ^  ^  ^------------socket: Hello, Ready, Unready, Done---------------'
//!                                    |  '--board (memfd): the running task, results that were not sent
//!                                    '--pidfd: death
//!
//! Started --Hello--> Preparing --Ready--> Ready --Leave--> Leaving --end--> gone
//! ```
//!
//! From every phase a worker can die or be killed: after ten seconds without `Hello`, after the time limits of the
//! initializer and of a task, after a cancelled task, and two seconds after `Leave`. Its running task then fails or is
//! tried again, its waiting tasks go to other workers, and a new worker starts in its place.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    call::{Call, Finished},
    function::chain,
    printer::Printer,
    process::{Event, Exited, Phase, Process, Running, Start},
    report::finished,
    shared::Shared,
};
use crate::error::{Error, Kind, Result, TaskFailure};

/// The time limit for a worker's hello message.
const HELLO: Duration = Duration::from_secs(10);
/// What a chunk of tasks should take, in nanoseconds.
const CHUNK: u64 = 1_000_000;
/// A worker gets more tasks before its tasks are done, if they will take less than this, in nanoseconds.
const AHEAD: u64 = 500_000;
const LARGEST_CHUNK: usize = 4096;
/// The pool gives up after this many consecutive deaths of workers without a finished task.
const VAIN_STARTS: u32 = 10;
/// The number of workers that may die one after the other before they start the same first task. Then the task is
/// assumed to be the reason (for example an argument that does not fit into memory).
const DEATHS_BEFORE: u32 = 5;
/// How long a worker may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the pool waits before it tries again to start a worker.
const PAUSE: Duration = Duration::from_millis(100);

/// How a pool treats tasks.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) workers: usize,
    pub(super) task_timeout: Option<Duration>,
    pub(super) initializer_timeout: Option<Duration>,
    pub(super) chunk_size: Option<usize>,
    pub(super) max_tasks_per_worker: Option<u64>,
}

/// What a descriptor that is ready belongs to.
#[derive(Clone, Copy)]
enum PollSource {
    Wake,
    Death,
    Socket,
    Output(usize),
}

pub(super) struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) start: Start,
    pub(super) rules: Rules,
    workers: Vec<Process>,
    /// The number of the next worker in the life of this pool.
    next: u64,
    cancelled: Vec<Arc<Call>>,
    printer: Printer,
    /// Consecutive workers that died before they finished anything, or could not be started.
    vain: u32,
    /// When a worker could not be started, or died before it did anything: the next one starts `PAUSE` later.
    paused: Option<Instant>,
    started: bool,
}

impl Supervisor {
    pub(super) fn new(shared: Arc<Shared>, start: Start, rules: Rules) -> Self {
        let (workers, cancelled, printer) = (Vec::new(), Vec::new(), Printer::new(shared.clone()));
        Self { shared, start, rules, workers, next: 0, cancelled, printer, vain: 0, paused: None, started: false }
    }

    pub(super) fn run(mut self) {
        // Nothing in it should panic; if it does, no caller must wait forever.
        let why = match catch_unwind(AssertUnwindSafe(|| self.serve())) {
            Err(_) => "the thread of the pool panicked, which is a bug in coframe".to_owned(),
            Ok(Ok(why)) => why.to_owned(),
            Ok(Err(error)) => {
                let why = chain(&error).join(": ");
                self.report_start(Err(error));
                why
            }
        };
        self.end(&why);
        // Last, so that no caller waits for a result while a terminal accepts no output.
        self.printer.finish();
    }

    /// Runs until the pool is closed and idle, or terminated. Returns which.
    fn serve(&mut self) -> Result<&'static str> {
        loop {
            let (closed, terminated) = self.shared.state(&mut self.cancelled);
            if terminated {
                return Ok("the pool was terminated");
            }
            self.kill_cancelled();
            self.workers.iter_mut().for_each(Process::forget_commons);
            self.kill_late()?;
            self.retire();
            if closed && self.is_idle() {
                let stays = |worker: &&mut Process| !matches!(worker.phase, Phase::Leaving(_));
                self.workers.iter_mut().filter(stays).for_each(Process::dismiss);
                if self.workers.is_empty() {
                    return Ok("the pool was closed");
                }
            } else {
                self.replace_missing()?;
                self.dispatch();
            }
            for (worker, source) in self.wait()? {
                self.handle(worker, source)?;
            }
            self.reap_dead()?;
        }
    }

    fn is_idle(&self) -> bool {
        self.workers.iter().all(|worker| worker.running.is_empty()) && !self.shared.has_calls()
    }

    /// Dismisses workers that have run as many tasks as a worker may.
    fn retire(&mut self) {
        let Some(most) = self.rules.max_tasks_per_worker else { return };
        let is_spent =
            |worker: &&mut Process| worker.given >= most && worker.running.is_empty() && worker.phase == Phase::Ready;
        self.workers.iter_mut().filter(is_spent).for_each(Process::dismiss);
    }

    fn replace_missing(&mut self) -> Result<()> {
        let before = self.workers.len();
        if self.paused.is_some_and(|since| since.elapsed() < PAUSE) {
            return Ok(());
        }
        self.paused = None;
        while self.workers.len() < self.rules.workers {
            match Process::start(&self.start, self.next, &self.printer) {
                Ok(worker) => {
                    self.next += 1;
                    self.workers.push(worker);
                }
                Err(error) => {
                    // Descriptors or processes may be missing for a moment.
                    self.vain += 1;
                    if !self.started || self.vain >= VAIN_STARTS {
                        return Err(error);
                    }
                    self.paused = Some(Instant::now());
                    break;
                }
            }
        }
        if self.workers.len() != before {
            self.publish_ids();
        }
        Ok(())
    }

    fn publish_ids(&self) {
        self.shared.set_worker_ids(self.workers.iter().map(Process::pid).collect());
    }

    /// Reports to the builder how the first workers started.
    fn report_start(&mut self, result: Result<()>) {
        if !self.started {
            self.started = true;
            self.shared.set_started(result);
        }
    }

    fn kill_cancelled(&mut self) {
        for worker in &mut self.workers {
            let is_cancelled = |running: &Running| self.cancelled.iter().any(|call| Arc::ptr_eq(call, &running.call));
            let number = worker.current().filter(|(running, _)| is_cancelled(running)).map(|(_, number)| number);
            if let Some(number) = number {
                worker.kill(TaskFailure::Cancelled("its caller cancelled it".to_owned()), number);
            }
        }
        // A task that was sent to a worker but did not start is checked again after the next report.
        let workers = &self.workers;
        let is_here = |call: &Arc<Call>| workers.iter().any(|w| w.running.iter().any(|r| Arc::ptr_eq(&r.call, call)));
        self.cancelled.retain(is_here);
    }

    /// Kills workers whose task exceeds its timeout, that send no hello, or that do not end.
    fn kill_late(&mut self) -> Result<()> {
        for index in 0..self.workers.len() {
            let is_silent = |worker: &Process| matches!(worker.phase, Phase::Started(since) if since.elapsed() > HELLO);
            if self.workers.get(index).is_some_and(is_silent) {
                // It may have reported while this thread was delayed.
                self.handle(index, PollSource::Socket)?;
            }
            let Some(worker) = self.workers.get_mut(index) else { break };
            if is_silent(worker) {
                if !self.started {
                    let found = format!("process {} sent nothing for {HELLO:?}", worker.pid());
                    return Err(Kind::Worker { found, next: NO_INIT }.into());
                }
                worker.kill_stuck();
            }
            if matches!(worker.phase, Phase::Leaving(since) if since.elapsed() > FAREWELL) {
                worker.kill_stuck();
            }
            if let (Phase::Preparing(since), Some(limit)) = (worker.phase, self.rules.initializer_timeout)
                && since.elapsed() > limit
            {
                if !self.started {
                    let found = format!("the initializer of process {} ran for longer than {limit:?}", worker.pid());
                    let next = "repair it, or raise Builder::initializer_timeout";
                    return Err(Kind::Worker { found, next }.into());
                }
                worker.kill_stuck();
            }
            let Some(limit) = self.rules.task_timeout else { continue };
            if let Some((_, number)) = worker.busy_for().filter(|(time, _)| *time > limit) {
                worker.kill(TaskFailure::TimedOut(limit), number);
            }
        }
        Ok(())
    }

    /// Gives tasks to workers that can take some.
    fn dispatch(&mut self) {
        let mut tasks = Vec::new();
        for worker in &mut self.workers {
            while let Some(room) = wants(worker, &self.rules) {
                let size = |waiting, mean| chunk(&self.rules, waiting, mean).clamp(1, room);
                let Some(call) = self.shared.next_call(size, &mut tasks) else { return };
                if !tasks.is_empty() {
                    worker.give(&call, &mut tasks);
                }
            }
        }
    }

    /// Waits for events; returns the workers to which they belong.
    fn wait(&self) -> Result<Vec<(usize, PollSource)>> {
        let mut sources = vec![(0, PollSource::Wake)];
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.shared.wake_descriptor(), PollFlags::IN)];
        for (index, worker) in self.workers.iter().enumerate() {
            let out = if worker.is_behind() { PollFlags::OUT } else { PollFlags::empty() };
            if let Some(socket) = worker.socket() {
                descriptors.push(PollFd::from_borrowed_fd(socket, PollFlags::IN | out));
                sources.push((index, PollSource::Socket));
            }
            for (output, lines) in worker.outputs.iter().enumerate() {
                if let Some(pipe) = lines.descriptor() {
                    descriptors.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
                    sources.push((index, PollSource::Output(output)));
                }
            }
            descriptors.push(PollFd::from_borrowed_fd(worker.pidfd(), PollFlags::IN));
            sources.push((index, PollSource::Death));
        }
        let limit = self.next_check().map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        match poll(&mut descriptors, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(Error::os("wait for the workers of", "/proc/self", e)),
        }
        let is_ready = |(descriptor, _): &(&PollFd<'_>, _)| !descriptor.revents().is_empty();
        Ok(descriptors.iter().zip(sources).filter(is_ready).map(|(_, source)| source).collect())
    }

    /// Returns when a timeout may be due.
    fn next_check(&self) -> Option<Duration> {
        let left = |limit: Duration, since: Instant| {
            Some(limit.saturating_sub(since.elapsed()).saturating_add(Duration::from_millis(1)))
        };
        let due = |worker: &Process| match (worker.phase, self.rules.task_timeout) {
            (Phase::Started(since), _) => left(HELLO, since),
            (Phase::Preparing(since), _) => left(self.rules.initializer_timeout?, since),
            (Phase::Leaving(since), _) => left(FAREWELL, since),
            (_, Some(limit)) if !worker.running.is_empty() => {
                let busy = worker.busy_for().map_or(Duration::ZERO, |(time, _)| time);
                Some(limit.saturating_sub(busy).saturating_add(Duration::from_millis(1)))
            }
            _ => None,
        };
        // Waits for a cancelled task that its worker has not started.
        let cancelled = (!self.cancelled.is_empty()).then_some(Duration::from_millis(2));
        let paused = self.paused.map(|_| PAUSE);
        self.workers.iter().filter_map(due).chain(cancelled).chain(paused).min()
    }

    fn handle(&mut self, index: usize, source: PollSource) -> Result<()> {
        if matches!(source, PollSource::Wake) {
            self.shared.clear_wake();
            return Ok(());
        }
        let Some(worker) = self.workers.get_mut(index) else { return Ok(()) };
        match source {
            PollSource::Socket => {
                worker.send();
                let mut events = Vec::new();
                let received = worker.receive(&mut events);
                let held = self.take(events)?;
                received?;
                if let (true, Some(worker)) = (held, self.workers.get_mut(index)) {
                    worker.release();
                }
            }
            PollSource::Output(output) => {
                if let Some(lines) = worker.outputs.get_mut(output) {
                    lines.pass_on();
                }
            }
            PollSource::Death => worker.ended = true,
            PollSource::Wake => {}
        }
        Ok(())
    }

    /// Handles the messages of workers. Returns true if they contained frames, which the pool now holds.
    fn take(&mut self, events: Vec<Event>) -> Result<bool> {
        let mut held_any = false;
        let mut ends: Vec<(Finished, Option<u64>)> = Vec::new();
        let mut of: Option<Arc<Call>> = None;
        for event in events {
            match event {
                Event::Ready => {
                    self.vain = 0;
                    if self.workers.iter().all(|worker| worker.phase == Phase::Ready) {
                        self.report_start(Ok(()));
                    }
                }
                Event::Unready(failure) => {
                    let error = Error::from(Kind::Task { index: 0, argument: None, failure });
                    let text = chain(&error).join(": ");
                    let found = format!("its initializer{}", text.trim_start_matches("task 0"));
                    return Err(Kind::Worker { found, next: "repair the initializer" }.into());
                }
                Event::Done { running: Running { call, task }, report, handles, took } => {
                    if of.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &call))
                        && let Some(last) = of.replace(call)
                    {
                        last.finish(ends.drain(..));
                    }
                    held_any |= handles.as_ref().is_some_and(|handles| !handles.frames.is_empty());
                    ends.push((finished(&self.shared, task, report, handles.as_deref()), Some(took)));
                }
            }
        }
        if let Some(call) = of {
            self.vain = 0;
            call.finish(ends);
        }
        Ok(held_any)
    }

    fn reap_dead(&mut self) -> Result<()> {
        while let Some(index) = self.workers.iter().position(|worker| worker.ended) {
            let process = self.workers.swap_remove(index);
            // Removed from the list before it is waited for, because its id may then be reused.
            self.publish_ids();
            let (pid, number) = (process.pid(), process.number());
            let settled = self.settle(pid, process.reap());
            // After all its reports were taken: the frames that it sent have an owner now.
            self.shared.owned().remove_orphans(self.shared.session(), number);
            settled?;
        }
        Ok(())
    }

    /// Ends the task that a dead worker was running, and requeues the tasks that it had not started.
    fn settle(&mut self, pid: u32, exited: Exited) -> Result<()> {
        let Exited { finished, mut interrupted, failure, mut unstarted, phase, how } = exited;
        if let (None, Some(first)) = (&interrupted, unstarted.front_mut()) {
            first.task.deaths += 1;
            if first.task.deaths >= DEATHS_BEFORE {
                interrupted = unstarted.pop_front();
            }
        }
        let progress = !finished.is_empty() || interrupted.is_some();
        self.take(finished)?;
        for Running { call, task } in unstarted.into_iter().rev() {
            call.requeue(task);
            self.shared.enqueue(&call);
        }
        if let Some(Running { call, mut task }) = interrupted {
            if task.retries > 0 && matches!(failure, TaskFailure::Lost { .. }) {
                task.retries -= 1;
                task.deaths = 0;
                call.requeue(task);
                self.shared.enqueue(&call);
            } else {
                let ended = Finished { index: task.index, result: Err(failure), argument: Some(task.argument) };
                call.finish([(ended, None)]);
            }
        }
        if matches!(phase, Phase::Leaving(_)) || progress {
            return Ok(());
        }
        // Whatever kills idle workers must not make this thread start new ones for ever.
        self.paused = Some(Instant::now());
        self.vain += 1;
        let is_new = matches!(phase, Phase::Started(_));
        if !self.started || self.vain >= VAIN_STARTS {
            let when = if is_new { "before it was ready" } else { "before it finished a task" };
            let next = if is_new { NO_INIT } else { "read what it printed" };
            return Err(Kind::Worker { found: format!("process {pid} {how} {when}"), next }.into());
        }
        Ok(())
    }

    /// Ends all workers and wakes all callers.
    fn end(&mut self, why: &str) {
        let mut calls = std::mem::take(&mut self.cancelled);
        for worker in self.workers.drain(..) {
            let exited = worker.kill_and_reap();
            for Running { call, task } in exited.interrupted.into_iter().chain(exited.unstarted) {
                let result = Err(TaskFailure::Cancelled(why.to_owned()));
                call.finish([(Finished { index: task.index, result, argument: Some(task.argument) }, None)]);
                calls.push(call);
            }
            for event in exited.finished {
                if let Event::Done { running: Running { call, task }, report, handles, .. } = event {
                    call.finish([(finished(&self.shared, task, report, handles.as_deref()), None)]);
                    calls.push(call);
                }
            }
        }
        calls.extend(self.shared.set_over(why));
        self.report_start(Err(Error::invalid("the pool", why)));
        for call in calls {
            call.end(why);
        }
    }
}

const NO_INIT: &str = "call coframe::pool::init() in the first line of main (in tests: see Builder::worker_test)";

/// Returns how many more tasks a worker may get, if it should get some now.
fn wants(worker: &Process, rules: &Rules) -> Option<usize> {
    if worker.phase != Phase::Ready || worker.killed.is_some() {
        return None;
    }
    let given = rules.max_tasks_per_worker.map(|most| most.saturating_sub(worker.given));
    let room = given.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
    if room == 0 {
        return None;
    }
    let Some(last) = worker.running.back() else { return Some(room) };
    let mean = last.call.mean()?;
    let ahead = u64::try_from(worker.running.len()).unwrap_or(u64::MAX).saturating_mul(mean);
    (ahead < AHEAD).then_some(room)
}

/// Returns the number of tasks in a chunk, if it is not fixed.
fn chunk(rules: &Rules, waiting: usize, mean: Option<u64>) -> usize {
    let automatic = || {
        let by_time = mean.map_or(1, |mean| usize::try_from(CHUNK / mean).unwrap_or(1).clamp(1, LARGEST_CHUNK));
        // The last tasks are distributed, so that all workers have some.
        by_time.min(waiting.div_ceil(2 * rules.workers))
    };
    rules.chunk_size.unwrap_or_else(automatic)
}
