//! Runs one test in separate namespaces: nothing that it starts or leaves in memory remains.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The kernel ends all processes of the namespace with its first one, and frees the tmpfs then. A mutant may allocate
/// without end, so memory is limited; addresses are not, because each dict takes a terabyte of them.
const SCRIPT: &str = "mount -t tmpfs -o size=2g,mode=1777 tmpfs /dev/shm || exit 99
ulimit -c 0; ulimit -d 4000000
\"$@\"
exit $?";
/// The status of `SCRIPT` if it could not start.
const NO_NAMESPACE: i32 = 99;

/// Of random cases a part is enough for most mutants, and a survivor needs all of them.
const CASES: [(&str, &str); 4] =
    [("COFRAME_TABLES", "60"), ("COFRAME_MUTATIONS", "300"), ("COFRAME_KILLS", "40"), ("PROPTEST_CASES", "16")];

/// A test in a binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) binary: String,
    pub(crate) name: String,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    TimedOut,
}

/// Runs one test. `scratch` is a directory on a disk; it is emptied first and removed afterwards.
pub(crate) fn run(
    (path, test): (&Path, &Test),
    tree: &Path,
    variable: (&str, &str),
    scratch: &Path,
    limit: Duration,
) -> Result<(Outcome, Duration, String), String> {
    let io = |e: std::io::Error| format!("{}: {e}", test.name);
    let _ = fs::remove_dir_all(scratch);
    fs::create_dir_all(scratch.join("tmp")).map_err(io)?;
    let log = File::create(scratch.join("log")).map_err(io)?;
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"]);
    command.arg(path).args(["--exact", &test.name, "--test-threads=1"]);
    command.current_dir(tree).env("CARGO_MANIFEST_DIR", tree).env("TMPDIR", scratch.join("tmp"));
    command.env("RUST_BACKTRACE", "0").env_remove("COFRAME_STORE").env(variable.0, variable.1);
    for (name, cases) in CASES {
        command.env(name, std::env::var(name).unwrap_or_else(|_| cases.to_owned()));
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(io)?).stderr(log);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("unshare: {e}"))?;
    let outcome = loop {
        match child.try_wait().map_err(io)? {
            Some(status) if status.code() == Some(NO_NAMESPACE) => return Err("no private /dev/shm".to_owned()),
            Some(status) if status.success() => break Outcome::Passed,
            Some(_) => break Outcome::Failed,
            None if start.elapsed() > limit => {
                child.kill().map_err(io)?;
                child.wait().map_err(io)?;
                break Outcome::TimedOut;
            }
            None => sleep(Duration::from_millis(5)),
        }
    };
    let took = start.elapsed();
    let said = fs::read(scratch.join("log")).unwrap_or_default();
    remove(scratch);
    Ok((outcome, took, String::from_utf8_lossy(&said).into_owned()))
}

/// The last processes of the namespace may still write for a moment.
fn remove(scratch: &Path) {
    for _ in 0..100 {
        match fs::remove_dir_all(scratch) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => sleep(Duration::from_millis(20)),
            _ => return,
        }
    }
    eprintln!("could not remove {}", scratch.display());
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The names of the tests in a binary.
pub(crate) fn tests_in(binary: &str, path: &Path) -> Result<Vec<Test>, String> {
    let output = Command::new(path).args(["--list", "--format", "terse"]).output();
    let output = output.map_err(|e| format!("{}: {e}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(|name| Test { binary: binary.to_owned(), name: name.to_owned() }).collect())
}
