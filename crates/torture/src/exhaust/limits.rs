//! Limits of a process: descriptors, maps, memory.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    time::Duration,
};

use coframe::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{exercise, not_corrupt, prepared, recovered};
use crate::{
    Result, cases,
    content::{self, KEPT},
    ensure,
    random::Random,
};

/// Descriptors that a process may have in `descriptors`.
const DESCRIPTORS: u64 = 64;
/// More than `vm.max_map_count` usually allows.
const OPENS: usize = 70_000;
const FILES: usize = 200;
const EXTRA: &str = "COFRAME_TORTURE_EXTRA";
/// The most bytes of address space that `memory` leaves free.
const MOST: u64 = 64 << 20;
/// The file in which a child of `memory` counts its failed calls.
const REFUSED: &str = "refused";

fn set_limit(resource: Resource, limit: u64) -> Result<()> {
    let maximum = getrlimit(resource).maximum;
    Ok(setrlimit(resource, Rlimit { current: Some(limit), maximum })?)
}

fn descriptors_open() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// With 0 to 20 free descriptors.
pub(super) fn descriptors(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(2);
    prepared(&store, &mut random)?;
    recovered(&store, &mut random)?;
    let before = descriptors_open()?;
    set_limit(Resource::Nofile, DESCRIPTORS)?;
    let (mut refused, mut succeeded) = (0, 0);
    for spare in 0..=20 {
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            held.push(file);
        }
        held.truncate(held.len().saturating_sub(spare));
        let calls =
            exercise(&store, &mut random, not_corrupt).map_err(|e| format!("with {spare} free descriptors: {e}"))?;
        (refused, succeeded) = (refused + calls.refused, succeeded + calls.succeeded);
    }
    recovered(&store, &mut random)?;
    let after = descriptors_open()?;
    ensure!(after == before, "{before} descriptors before, {after} afterwards");
    Ok(format!("{refused} calls without a free descriptor failed with an error, {succeeded} succeeded"))
}

/// So many open frames that the kernel allows no further map.
pub(super) fn maps(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(3);
    prepared(&store, &mut random)?;
    // The kernel searches the locks of a file in turn, so each of many files is opened some times.
    let names: Vec<String> = (0..FILES).map(|file| format!("{}{file}", KEPT[0])).collect();
    for name in &names {
        content::publish(&store, name, &mut random)?;
    }
    let mut held = Vec::with_capacity(OPENS);
    let error = loop {
        match store.open(&names[held.len() % FILES]) {
            Ok(frame) if held.len() < OPENS => held.push(frame),
            Ok(_) => return Ok(format!("{OPENS} frames are open, and the kernel allows more maps")),
            Err(error) => break error,
        }
    };
    let opened = held.len();
    held.truncate(opened / 2);
    recovered(&store, &mut random)?;
    Ok(format!("the open after {opened} fails: {error}"))
}

/// With ever more address space, up to 64 MB in the given number of steps, each in a child.
pub(super) fn memory(directory: &Path, steps: u64) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(4);
    prepared(&store, &mut random)?;
    let (mut aborted, mut ended, mut refused) = (0, 0, 0);
    for step in 0..steps {
        // Finer where less is free.
        let extra = MOST * step * step / (steps * steps);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["case", "exhaust", "memory-step"]).env(EXTRA, extra.to_string());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let status = cases::ended(&mut command, Duration::from_mins(1))?;
        // An allocation that fails ends a program in Rust.
        if status.signal() == Some(6) {
            aborted += 1;
        } else {
            ensure!(status.success(), "with {extra} bytes: {status}");
            ended += 1;
            refused += fs::read_to_string(directory.join(REFUSED))?.parse::<u64>()?;
        }
        recovered(&store, &mut random).map_err(|e| format!("after {extra} bytes: {e}"))?;
    }
    ensure!(refused > 0, "no call was short of memory");
    Ok(format!("{refused} calls of {ended} processes failed with an error; the allocator ended {aborted} others"))
}

pub(super) fn memory_step(directory: &Path) -> Result<String> {
    let store = Store::open_at(directory.join("store"))?;
    let mut random = Random::new(5);
    // Warms up, so that neither the stack nor the allocator grows for other reasons.
    exercise(&store, &mut random, not_corrupt)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap_or_default();
    let kilobytes: u64 = size.trim().trim_end_matches(" kB").parse()?;
    set_limit(Resource::As, kilobytes * 1024 + std::env::var(EXTRA)?.parse::<u64>()?)?;
    let mut refused = 0;
    for _ in 0..5 {
        refused += exercise(&store, &mut random, not_corrupt)?.refused;
    }
    // `memory` reads it.
    fs::write(directory.join(REFUSED), refused.to_string())?;
    Ok(format!("{refused} refused"))
}
