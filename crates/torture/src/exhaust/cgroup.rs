//! The memory limit of a cgroup, in which the pages of a tmpfs count for the process that wrote them.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use coframe::Store;

use super::{exercise, not_corrupt, prepared, recovered};
use crate::{Result, cases, content, ensure, random::Random};

const ROUNDS: u64 = 8;
/// Bytes of the limit in the first round; each further one has as much more.
const LIMIT: u64 = 6 << 20;
/// The cgroup that a child joins.
const CGROUP: &str = "COFRAME_TORTURE_CGROUP";
/// Where a system keeps the cgroups of memory, and the file of their limit: version 1 and version 2.
const HIERARCHIES: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];

/// A cgroup that is removed however the case ends.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

impl Group {
    /// `None` if this process may not create one, or the system counts no memory.
    fn create(limit: u64) -> Option<Self> {
        HIERARCHIES.into_iter().find_map(|(hierarchy, file)| {
            let path = Path::new(hierarchy).join(format!("coframe-torture-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let group = Self(path);
            fs::write(group.0.join(file), limit.to_string()).ok()?;
            Some(group)
        })
    }
}

/// Processes that publish until the kernel kills them: what was published before is whole, and their remains are swept.
pub(super) fn full(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(9);
    prepared(&store, &mut random)?;
    let (mut killed, mut refused) = (0, 0);
    for round in 1..=ROUNDS {
        let Some(group) = Group::create(LIMIT * round) else {
            return Ok("skipped: this process cannot create a cgroup that counts memory".to_owned());
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["case", "exhaust", "cgroup-step"]).env(CGROUP, &group.0).stdout(std::process::Stdio::null());
        let status = cases::ended(&mut command, Duration::from_mins(2))?;
        if status.signal() == Some(9) {
            killed += 1;
        } else {
            ensure!(status.success(), "with {} bytes: {status}", LIMIT * round);
            refused += 1;
        }
        for name in store.names()? {
            content::check(&store.open(&name)?)?;
            if name.as_str().starts_with("draft-x") {
                store.remove(&name)?;
            }
        }
        recovered(&store, &mut random).map_err(|e| format!("after a limit of {} bytes: {e}", LIMIT * round))?;
    }
    Ok(format!("the kernel killed {killed} processes at the limit of their cgroup, {refused} ended with an error"))
}

/// Publishes more and more names, which keep their pages.
pub(super) fn step(directory: &Path) -> Result<String> {
    let group = PathBuf::from(std::env::var_os(CGROUP).ok_or("a step runs only as a child of its case")?);
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())?;
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(10);
    for name in 0..100_000 {
        let mut calls = exercise(&store, &mut random, not_corrupt)?;
        calls.count(content::publish(&store, &format!("draft-x{name}"), &mut random))?;
        if calls.refused > 0 {
            return Ok(calls.last);
        }
    }
    Err("100 000 frames are within the limit".into())
}
