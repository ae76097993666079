//! Whether a process that left its mark in a cell is still alive.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use crate::fork::{generation, process};

/// A process id with the start time of the process. The kernel reuses ids, but not this pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incarnation {
    pub(super) pid: u32,
    pub(super) started: u64,
}

impl Incarnation {
    /// Returns the incarnation of this process.
    pub(super) fn own() -> Self {
        /// The start of the process of one generation. A forked child reads its own.
        static STARTED: AtomicU64 = AtomicU64::new(0);
        static OF: AtomicU64 = AtomicU64::new(u64::MAX);
        let pid = process();
        let now = u64::from(generation());
        // Pairs with the release below: a thread that sees the generation sees its start.
        if OF.load(Ordering::Acquire) != now {
            // A start that could not be read is not kept: the next mark reads it again.
            let Start::At(start) = own_start(pid) else { return Self { pid, started: UNKNOWN } };
            STARTED.store(start, Ordering::Relaxed);
            // Pairs with the acquire above.
            OF.store(now, Ordering::Release);
        }
        Self { pid, started: STARTED.load(Ordering::Relaxed) }
    }

    /// Returns whether the process is alive. A process that cannot be inspected counts as alive, because what it holds
    /// is taken from it only when it has certainly ended.
    pub(super) fn is_alive(self) -> bool {
        // This needs no descriptor, and detects most deaths.
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            return false;
        }
        let own = Self::own();
        // If /proc does not show this process, it does not show others under their ids either.
        if own == self || own.started == UNKNOWN {
            return true;
        }
        match start(&self.pid.to_string()) {
            Start::At(start) => self.started == UNKNOWN || start == self.started,
            Start::Gone => false,
            Start::Unknown => true,
        }
    }
}

/// The start in the mark of a process that could not read its start.
const UNKNOWN: u64 = 0;

/// When a process started, in ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    At(u64),
    /// All of its threads have ended, and it waits to be reaped.
    Gone,
    /// It could not be read: there are too many open files, no memory, no `/proc`, or one that hides it.
    Unknown,
}

/// Reads the start of this process, if `/proc` shows processes under the ids of this pid namespace.
fn own_start(pid: u32) -> Start {
    let link = fs::read_link("/proc/self");
    if link.is_ok_and(|link| link == Path::new(&pid.to_string())) { start("self") } else { Start::Unknown }
}

/// Reads the start of a process, which is given by its id or as `self`.
fn start(process: &str) -> Start {
    // One read returns the whole file, which is shorter than this.
    let mut stat = [0; 1024];
    let len = File::open(format!("/proc/{process}/stat")).and_then(|mut file| file.read(&mut stat));
    len.ok().and_then(|len| stat.get(..len)).and_then(parse).unwrap_or(Start::Unknown)
}

fn parse(stat: &[u8]) -> Option<Start> {
    // The command in parentheses may hold any bytes.
    let after = stat.rsplit(|byte| *byte == b')').next()?;
    let mut words = std::str::from_utf8(after).ok()?.split_ascii_whitespace();
    let state = words.next()?;
    // The first thread may have ended while others run.
    let threads: u64 = words.nth(16)?.parse().ok()?;
    if matches!(state, "Z" | "X") && threads <= 1 {
        return Some(Start::Gone);
    }
    words.nth(1)?.parse().ok().map(Start::At)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Incarnation, Start, UNKNOWN, parse, start};

    #[test]
    fn a_process_whose_start_is_unknown_is_alive_while_its_id_is_in_use() {
        assert!(Incarnation { started: UNKNOWN, ..Incarnation::own() }.is_alive());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mark = Incarnation { pid: child.id(), started: UNKNOWN };
        assert!(mark.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!mark.is_alive());
    }

    #[test]
    fn this_process_is_alive_and_one_with_its_id_and_another_start_is_not() {
        let own = Incarnation::own();
        assert!(own.started > 0 && own.is_alive());
        assert!(!Incarnation { started: own.started + 1, ..own }.is_alive());
        assert!(!Incarnation { pid: (i32::MAX - 1).cast_unsigned(), ..own }.is_alive());
        assert!(!Incarnation { pid: u32::MAX - 1, ..own }.is_alive());
    }

    #[test]
    fn a_process_with_any_bytes_in_its_command_is_alive() {
        let own = Incarnation::own();
        let command = format!("/proc/self/task/{}/comm", own.pid);
        let before = std::fs::read(&command).unwrap();
        for bytes in [&b"a) Z \xff"[..], b"\xc3", b")", b""] {
            std::fs::write(&command, bytes).unwrap();
            assert_eq!(start(&own.pid.to_string()), Start::At(own.started));
        }
        std::fs::write(&command, before).unwrap();
    }

    #[test]
    fn an_unreaped_process_is_dead_unless_other_threads_run() {
        let start = |state: &str, threads: u32| {
            let text = format!("7 (a) b) {state} 1 7 7 0 -1 4194304 93 0 0 0 0 0 0 0 20 0 {threads} 0 5551 0 0");
            parse(text.as_bytes()).unwrap()
        };
        assert_eq!((start("S", 1), start("Z", 2)), (Start::At(5551), Start::At(5551)));
        assert_eq!((start("Z", 1), start("X", 0)), (Start::Gone, Start::Gone));
        let mut child = Command::new("true").spawn().unwrap();
        let mark = Incarnation { pid: child.id(), started: UNKNOWN };
        while mark.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
