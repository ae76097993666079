//! Whether a process that left its mark in a cell still lives.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
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
            // A start that could not be read is not kept: the next mark tries again.
            let Start::At(start) = start_of(pid) else { return Self { pid, started: UNKNOWN } };
            STARTED.store(start, Ordering::Relaxed);
            OF.store(now, Ordering::Release);
        }
        Self { pid, started: STARTED.load(Ordering::Relaxed) }
    }

    /// Whether it lives, as far as this pid namespace can see. A process that cannot be looked at counts as alive.
    pub(super) fn is_alive(self) -> bool {
        match start_of(self.pid) {
            Start::At(start) => self.started == UNKNOWN || start == self.started,
            Start::Gone => false,
            Start::Unknown => true,
        }
    }
}

/// The start in the mark of a process that could not read its own.
const UNKNOWN: u64 = 0;

/// When a process started, in ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    At(u64),
    /// It ended, or waits to be reaped.
    Gone,
    /// It could not be looked at: there are too many open files, no memory, or no `/proc`.
    Unknown,
}

fn start_of(pid: u32) -> Start {
    // One read gives all of it, which is shorter.
    let mut stat = [0; 1024];
    let len = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut stat));
    match len {
        Ok(len) => stat.get(..len).and_then(parse).unwrap_or(Start::Unknown),
        Err(error) => after_error(&error, Path::new("/proc/self/stat").exists()),
    }
}

/// What an error in reading the file of a process means.
fn after_error(error: &io::Error, has_proc: bool) -> Start {
    let is_gone = error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH);
    if is_gone && has_proc { Start::Gone } else { Start::Unknown }
}

fn parse(stat: &[u8]) -> Option<Start> {
    // The command in parentheses may hold any bytes.
    let after = stat.rsplit(|byte| *byte == b')').next()?;
    let mut words = std::str::from_utf8(after).ok()?.split_ascii_whitespace();
    if matches!(words.next()?, "Z" | "X") {
        return Some(Start::Gone);
    }
    words.nth(18)?.parse().ok().map(Start::At)
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::{Mark, Start, UNKNOWN, after_error};

    #[test]
    fn a_process_that_cannot_be_looked_at_counts_as_alive() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES] {
            assert_eq!(after_error(&Error::from_raw_os_error(code), true), Start::Unknown);
        }
        assert_eq!(after_error(&Error::from_raw_os_error(libc::ENOENT), false), Start::Unknown);
        for code in [libc::ENOENT, libc::ESRCH] {
            assert_eq!(after_error(&Error::from_raw_os_error(code), true), Start::Gone);
        }
        assert!(Mark { started: UNKNOWN, ..Mark::own() }.is_alive());
    }

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
