//! The namespaces in which process ids and start times mean the same (FORMAT.md, rule K6).

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    error::{Error, Result},
    fork::generation,
};

/// The namespaces in which the numbers that a lock and marks record identify a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// The inode number of the pid namespace.
    pub(super) pids: u64,
    /// A checksum of the boot and of the time namespace, from which start times are counted.
    pub(super) ticks: u64,
}

impl Space {
    /// Returns the namespaces of this process, read once. An error is not remembered: the next call tries again.
    pub(super) fn own() -> Result<Self> {
        static WORDS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
        /// One more than the generation that `WORDS` belong to. A forked child reads its own.
        static OF: AtomicU64 = AtomicU64::new(0);

        let now = u64::from(generation()) + 1;
        // Pairs with the release below: a thread that sees the generation sees its words.
        if OF.load(Ordering::Acquire) == now {
            let [pids, ticks] = WORDS.each_ref().map(|word| word.load(Ordering::Relaxed));
            return Ok(Self { pids, ticks });
        }
        let own = Self { pids: pids()?, ticks: ticks()? };
        // Threads that come here at the same time write the same.
        WORDS.iter().zip([own.pids, own.ticks]).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        // Pairs with the acquire above.
        OF.store(now, Ordering::Release);
        Ok(own)
    }
}

fn error(path: &str, e: io::Error) -> Error {
    Error::os("find out the namespaces of this process, for a cell with a lock, from", path, e)
}

fn pids() -> Result<u64> {
    let path = "/proc/self/ns/pid";
    fs::metadata(path).map(|found| found.ino()).map_err(|e| error(path, e))
}

/// Identifies the clock of start times. A file that does not exist on this kernel counts as empty.
fn ticks() -> Result<u64> {
    let is_absent = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    let boot = "/proc/sys/kernel/random/boot_id";
    let boot = match fs::read(boot) {
        Err(e) if !is_absent(&e) => return Err(error(boot, e)),
        found => crc32fast::hash(&found.unwrap_or_default()),
    };
    let time = "/proc/self/ns/time";
    let time = match fs::metadata(time) {
        Err(e) if !is_absent(&e) => return Err(error(time, e)),
        found => found.map_or(0, |found| found.ino()),
    };
    Ok((u64::from(boot) << 32) ^ time)
}

#[cfg(test)]
mod tests {
    use super::Space;

    #[test]
    fn the_namespaces_of_this_process_are_known_and_stay_the_same() {
        let own = Space::own().unwrap();
        assert!(own.pids > 0 && own.ticks > 0);
        assert_eq!(own, Space::own().unwrap());
    }
}
