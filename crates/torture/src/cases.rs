//! Cases, each in a separate process and directory: a limit, an abort or a hang is that process's alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use crate::{Result, ensure, roles::DIRECTORY};

/// No case takes as long, except those with another limit.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Megabytes of a file system that is mounted on the directory, in a private namespace.
    megabytes: Option<u32>,
    /// A case that takes longer hangs.
    limit: Duration,
    /// Returns what it did.
    pub(crate) run: fn(&Path) -> Result<String>,
}

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(&Path) -> Result<String>) -> Self {
        Self { name, megabytes: None, limit: LIMIT, run }
    }

    pub(crate) const fn on_small_file_system(self, megabytes: u32) -> Self {
        Self { megabytes: Some(megabytes), ..self }
    }

    pub(crate) const fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }
}

/// A directory that is removed however the case ends.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs all cases of a suite; fails after the last one if any failed.
pub(crate) fn run_all(suite: &str, cases: &[Case]) -> Result<()> {
    let mut failed = Vec::new();
    for case in cases {
        let start = Instant::now();
        match run_one(suite, case) {
            Ok(()) => println!("{suite} {}: held, {:.1?}", case.name, start.elapsed()),
            Err(error) => {
                println!("{suite} {}: {error}", case.name);
                failed.push(case.name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {failed:?}");
    Ok(())
}

fn run_one(suite: &str, case: &Case) -> Result<()> {
    let directory = Directory(format!("/dev/shm/coframe-torture-{}-{}", std::process::id(), case.name).into());
    fs::create_dir(&directory.0)?;
    let exe = std::env::current_exe()?;
    let mut command = match case.megabytes {
        None => Command::new(exe),
        Some(megabytes) => {
            let mut unshare = Command::new("unshare");
            if !rustix::process::geteuid().is_root() {
                unshare.args(["--user", "--map-root-user"]);
            }
            let script = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"${DIRECTORY}\" && exec \"$@\"");
            unshare.args(["--mount", "sh", "-c", &script, "sh"]).arg(exe);
            unshare
        }
    };
    command.args(["case", suite, case.name]).env(DIRECTORY, &directory.0);
    let status = ended(&mut command, case.limit)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Runs a command and waits for its end; kills it if it hangs.
pub(crate) fn ended(command: &mut Command, limit: Duration) -> Result<ExitStatus> {
    let mut child = command.spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(format!("hangs: not ended after {limit:?}").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs one case in this process.
pub(crate) fn run_here(cases: &[Case], name: &str) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let directory = std::env::var_os(DIRECTORY).ok_or("a case runs only as a child of its suite")?;
    let case = cases.iter().find(|case| case.name == name).ok_or_else(|| format!("unknown case `{name}`"))?;
    println!("  {}", (case.run)(Path::new(&directory))?);
    Ok(())
}
