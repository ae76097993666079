//! Whether a process that left its mark in a cell still lives.

use std::{
    fs::File,
    io::Read,
    sync::atomic::{AtomicU64, Ordering},
};

use super::memory::{generation, process};

/// A process, and when it started: ids are given away again, both together are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) pid: u32,
    pub(super) started: u64,
}

impl Mark {
    /// That of this process.
    pub(super) fn own() -> Self {
        /// The start of the process of one generation; a forked child reads its own.
        static STARTED: AtomicU64 = AtomicU64::new(0);
        static OF: AtomicU64 = AtomicU64::new(u64::MAX);
        let pid = process();
        let now = u64::from(generation());
        if OF.load(Ordering::Acquire) != now {
            STARTED.store(started(pid).unwrap_or(0), Ordering::Relaxed);
            OF.store(now, Ordering::Release);
        }
        Self { pid, started: STARTED.load(Ordering::Relaxed) }
    }

    /// Whether it lives, as far as this pid namespace can see.
    pub(super) fn is_alive(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// When a process started, in ticks since boot; `None` when it is gone, or waits to be reaped.
fn started(pid: u32) -> Option<u64> {
    // One read gives all of it, which is shorter.
    let mut stat = [0; 1024];
    let len = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    // The command in parentheses may hold any bytes.
    let after = stat.get(..len)?.rsplit(|byte| *byte == b')').next()?;
    let mut words = std::str::from_utf8(after).ok()?.split_ascii_whitespace();
    if matches!(words.next()?, "Z" | "X") {
        return None;
    }
    words.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Mark;

    #[test]
    fn this_process_lives_and_one_with_its_id_and_another_start_does_not() {
        let own = Mark::own();
        assert!(own.started > 0 && own.is_alive());
        assert!(!Mark { started: own.started + 1, ..own }.is_alive());
        assert!(!Mark { pid: u32::MAX - 1, ..own }.is_alive());
    }

    #[test]
    fn a_process_lives_whatever_bytes_its_command_has() {
        let own = Mark::own();
        let command = format!("/proc/self/task/{}/comm", own.pid);
        let before = std::fs::read(&command).unwrap();
        for bytes in [&b"a) Z \xff"[..], b"\xc3", b")", b""] {
            std::fs::write(&command, bytes).unwrap();
            assert!(own.is_alive());
        }
        std::fs::write(&command, before).unwrap();
    }
}
