//! The checks. They leave the store unchanged, except for a trial frame that is removed before the next check.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use coframe::Store;
use rustix::process::geteuid;
use serde::Serialize;

use crate::{commands::ls::others_total, failure::chain, output};

/// The default size of /dev/shm in a container.
const DOCKER: u64 = 64 << 20;
/// Warns if less than this part (1/20) of the store is free.
const LITTLE: u64 = 20;
/// Prefix of a trial's directory.
const TRIAL: &str = ".doctor-";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    Warning,
    Problem,
}

#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    /// The command that repairs it.
    pub(super) fix: Option<String>,
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, level: Level::Ok, found: found.into(), fix: None }
}

fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { check, level: Level::Warning, found: found.into(), fix: Some(fix.into()) }
}

fn problem(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { check, level: Level::Problem, found: found.into(), fix: Some(fix.into()) }
}

pub(super) fn all(path: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if path.symlink_metadata().is_err() {
        let fix = "coframe publish FILE";
        findings.push(warning("store", format!("{} does not exist yet", path.display()), fix));
        findings.push(user());
        findings.push(remove_ipc(path));
        return findings;
    }
    findings.push(permissions(path));
    findings.push(user());
    findings.push(remove_ipc(path));
    let store = match Store::open_existing(path) {
        Ok(store) => store,
        Err(error) => {
            findings.push(problem("store", chain(&error), "coframe --store ANOTHER-PATH ls"));
            return findings;
        }
    };
    let checks: [fn(&Store) -> coframe::Result<Finding>; 4] = [space, huge_pages, leftovers, damaged];
    for check in checks {
        findings.push(check(&store).unwrap_or_else(|error| problem("store", chain(&error), "coframe sweep")));
    }
    findings
}

fn permissions(path: &Path) -> Finding {
    let shown = path.display();
    let Ok(metadata) = path.symlink_metadata() else { return ok("permissions", "there is nothing to check") };
    let (mode, owner, me) = (metadata.mode() & 0o7777, metadata.uid(), geteuid().as_raw());
    if owner != me {
        let fix = format!("export COFRAME_STORE=/dev/shm/coframe-{me}-own");
        return problem("permissions", format!("{shown} belongs to user {owner}, not to {me}"), fix);
    }
    if mode & 0o022 != 0 {
        return problem(
            "permissions",
            format!("others can write to {shown} (mode {mode:04o})"),
            format!("chmod 700 {shown}"),
        );
    }
    let loose = segments(path).filter(|(_, mode)| mode & 0o777 != 0o400).map(|(name, _)| name).collect::<Vec<_>>();
    if let Some(first) = loose.first() {
        let found =
            format!("{} segments are not mode 0400, {first} among them: they are validated at every open", loose.len());
        let name = first.split('@').next().unwrap_or_default();
        // One file only: a pattern would also make mirrors trusted, whose sticky bit marks them.
        return warning("permissions", found, format!("coframe verify {name} && chmod 400 {shown}/{first}"));
    }
    if mode & 0o044 != 0 {
        return warning(
            "permissions",
            format!("others can list {shown} (mode {mode:04o})"),
            format!("chmod 700 {shown}"),
        );
    }
    ok("permissions", format!("mode {mode:04o}, segments 0400"))
}

/// Returns the files of versions, with their modes.
fn segments(path: &Path) -> impl Iterator<Item = (String, u32)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| name.contains('@'))?;
        Some((name, entry.metadata().ok()?.mode()))
    })
}

fn user() -> Finding {
    if geteuid().is_root() {
        let found =
            "running as root: mode 0400 protects nothing, so open(path, \"wb\") would cut a frame under its readers";
        return warning("user", found, "sudo -u USER coframe ...");
    }
    ok("user", format!("user {}, from whom mode 0400 protects frames", geteuid().as_raw()))
}

/// Returns whether systemd removes a user's shared memory when the user logs out.
fn remove_ipc(path: &Path) -> Finding {
    let check = "RemoveIPC";
    if !path.starts_with("/dev/shm") {
        return ok(check, "the store is not in /dev/shm");
    }
    if !Path::new("/run/systemd/system").exists() {
        return ok(check, "systemd does not run here");
    }
    if geteuid().as_raw() < 1000 {
        return ok(check, "system users are spared");
    }
    let user = std::env::var("USER").unwrap_or_default();
    if Path::new("/var/lib/systemd/linger").join(&user).exists() {
        return ok(check, format!("{user} lingers, so nothing is removed at logout"));
    }
    if remove_ipc_setting() {
        return warning(
            check,
            "systemd removes this user's files in /dev/shm at the last logout",
            "loginctl enable-linger",
        );
    }
    ok(check, "off")
}

/// Reads the last setting of logind's configuration; the default is on.
fn remove_ipc_setting() -> bool {
    let mut files = vec!["/etc/systemd/logind.conf".into()];
    for directory in ["/usr/lib/systemd/logind.conf.d", "/etc/systemd/logind.conf.d"] {
        let mut dropped: Vec<_> =
            fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        dropped.sort();
        files.extend(dropped);
    }
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let mut settings =
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.trim().strip_prefix("RemoveIPC="));
    settings.next_back().is_none_or(|value| !matches!(value.trim(), "no" | "false" | "off" | "0"))
}

fn space(store: &Store) -> coframe::Result<Finding> {
    let usage = store.usage()?;
    let (free, total) = (output::size(usage.free), output::size(usage.total));
    let others = others_total(usage.cells, usage.maps, usage.shared_bytes);
    let found = format!("{free} of {total} free, frames take {}{others}", output::size(usage.bytes));
    if usage.total <= DOCKER {
        let found = format!("{found}: no more than the 64 MB that Docker gives a container by default");
        return Ok(problem(
            "space",
            found,
            "docker run --shm-size=4g ... (or set COFRAME_STORE to a directory with more room)",
        ));
    }
    if usage.free < usage.total / LITTLE {
        return Ok(warning("space", found, "coframe sweep; coframe ls; coframe rm NAME"));
    }
    Ok(ok("space", found))
}

/// Publishes a trial frame, reads it, and checks which pages the kernel mapped.
///
/// It uses a hidden store inside the directory, because a session would sweep.
fn huge_pages(store: &Store) -> coframe::Result<Finding> {
    let check = "huge pages";
    let Ok(directory) = tempfile::Builder::new().prefix(TRIAL).tempdir_in(store.path()) else {
        return Ok(ok(check, "not tried: could not create a directory in the store"));
    };
    let trial = Store::open_at(directory.path())?;
    let df = polars::df!("x" => (1..=1_i64 << 20).collect::<Vec<_>>());
    let Ok(df) = df else { return Ok(ok(check, "not tried")) };
    let frame = match trial.publish("trial", &df) {
        Ok(frame) => frame,
        Err(error) if error.is_no_space() => {
            let fix = "coframe sweep; coframe ls; coframe rm NAME";
            return Ok(problem(check, "no room for a trial frame of 8 MB", fix));
        }
        Err(error) => return Err(error),
    };
    // Reads every page; the sum has no other purpose.
    let sum = frame.to_polars()?.column("x").and_then(polars::prelude::Column::sum_reduce);
    match (sum, huge_bytes(TRIAL)) {
        (Ok(_), Some(0)) => {}
        (Ok(_), Some(huge)) => {
            return Ok(ok(check, format!("{} of a trial frame were mapped as huge pages", output::size(huge))));
        }
        _ => return Ok(ok(check, "not tried: /proc/self/smaps does not report it")),
    }
    let found = "a trial frame was mapped in small pages: first reads of large frames take about three times as long";
    Ok(warning(check, found, format!("sudo mount -o remount,huge=within_size {}", mount_of(store.path()))))
}

/// Returns how many bytes of a file this process maps with huge pages; `None` if the kernel does not report it.
fn huge_bytes(file: &str) -> Option<u64> {
    let smaps = fs::read_to_string("/proc/self/smaps").ok()?;
    let mut inside = false;
    let mut kib = 0;
    for line in smaps.lines() {
        // The first line of a map ends with its file; all others are `Key: number kB`.
        if line.split_ascii_whitespace().next().is_some_and(|word| word.contains('-')) {
            inside = line.contains(file);
        }
        for key in ["ShmemPmdMapped:", "FilePmdMapped:"] {
            let value = line.strip_prefix(key).and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib += value.filter(|_| inside).unwrap_or(0);
        }
    }
    Some(kib << 10)
}

/// Returns the mount point of a path.
fn mount_of(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split_ascii_whitespace().nth(1));
    let longest = points.filter(|point| path.starts_with(point)).max_by_key(|point| point.len());
    longest.unwrap_or("/dev/shm").to_owned()
}

/// Finds what a sweep would remove: superseded versions beyond those that are kept and that no visible process maps,
/// and files of publishers that died.
fn leftovers(store: &Store) -> coframe::Result<Finding> {
    let users = store.all_users()?;
    let infos = store.list()?;
    let mut unused = Vec::new();
    for info in &infos {
        let over = info.superseded.len().saturating_sub(info.keep as usize);
        let used = |version: u64| users.get(&info.name).is_some_and(|users| users.iter().any(|u| u.version == version));
        let left = info.superseded.iter().take(over).filter(|version| !used(**version));
        unused.extend(left.map(|version| format!("{}@{version}", info.name)));
    }
    let hidden = fs::read_dir(store.path()).into_iter().flatten().flatten();
    let hidden = hidden.filter_map(|entry| entry.file_name().into_string().ok());
    let is_record = |name: &str| [".home", ".swept"].contains(&name) || name.ends_with(".others");
    let hidden = hidden.filter(|name| name.starts_with('.') && !is_record(name));
    unused.extend(hidden);
    unused.extend(segments(store.path()).map(|(name, _)| name).filter(|file| {
        let name = file.split('@').next().unwrap_or_default();
        infos.iter().all(|info| info.name.as_str() != name) && store.exists(name).is_ok_and(|exists| !exists)
    }));
    if let Some(first) = unused.first() {
        let found = format!("{} unused files, {first} among them", unused.len());
        return Ok(warning("leftovers", found, "coframe sweep"));
    }
    Ok(ok("leftovers", "none"))
}

fn damaged(store: &Store) -> coframe::Result<Finding> {
    let mut damaged = Vec::new();
    for name in store.names()? {
        match store.open(name.as_str()) {
            Err(error) if !error.is_not_found() => damaged.push((name, error)),
            _ => {}
        }
    }
    let Some((name, error)) = damaged.first() else { return Ok(ok("frames", "all can be opened")) };
    Ok(problem("frames", chain(error), format!("coframe rm {name}; coframe publish FILE --name {name}")))
}
