//! This binary as a child process, and forks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use coframe::Store;

pub(crate) use crate::scratch::{Scratch, scratch, scratch_in};

/// Starts one test of this binary in a separate process; the test sees `role` in `COFRAME_TEST_ROLE`.
pub(crate) fn child(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("COFRAME_TEST_ROLE", role);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The Python that has pyarrow, which `ci/check.sh` installs; `None` if it is missing. With `CI=true` that fails.
pub(crate) fn python_with_pyarrow() -> Option<Command> {
    let python = std::env::var("COFRAME_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import pyarrow"]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(Command::new(python));
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "`{python}` has no pyarrow");
    eprintln!("skipped: `{python}` has no pyarrow; ci/check.sh installs it and sets COFRAME_PYTHON");
    None
}

/// What this process was started for; `None` in the test itself.
pub(crate) fn role() -> Option<String> {
    std::env::var("COFRAME_TEST_ROLE").ok()
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Kills the child and waits for it when the test ends, however it ends.
pub(crate) struct Reaper(pub(crate) Child);

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a test in a separate process, which may fork as it likes. A hang is a failure.
pub(crate) fn alone(test: &str, work: impl FnOnce(&Scratch)) {
    if role().as_deref() == Some("alone") {
        return work(&scratch());
    }
    let process = child(test, "alone").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (pid, (send, receive)) = (process.id() as i32, std::sync::mpsc::channel());
    std::thread::spawn(move || send.send(process.wait_with_output()));
    let result = receive.recv_timeout(Duration::from_mins(5));
    let hangs = result.is_err();
    let output = result.or_else(|_| {
        kill(pid);
        // Its forked children, which have its pipes too, die with it.
        receive.recv_timeout(Duration::from_secs(10))
    });
    let output = output.unwrap_or_else(|_| panic!("{test} hangs, and so do its children")).unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(!hangs, "{test} hangs; it printed: {said}");
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Runs a test in a separate process, with a store on a file system of this number of megabytes in `COFRAME_STORE`.
pub(crate) fn on_small_file_system(test: &str, megabytes: u32) {
    let directory = tempfile::tempdir().unwrap();
    let test = child(test, "small");
    // A mount in a private namespace ends with its process; without root, a user namespace allows it.
    let mut unshare = Command::new("unshare");
    // SAFETY: geteuid(2) has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        unshare.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=${TEST_MEGABYTES}m tmpfs \"$TEST_MOUNT\" && exec \"$@\"";
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(test.get_program()).args(test.get_args());
    unshare.env("TEST_MOUNT", directory.path()).env("TEST_MEGABYTES", megabytes.to_string());
    unshare.env("COFRAME_STORE", directory.path().join("store")).env("COFRAME_TEST_ROLE", "small");
    let output = unshare.output().expect("unshare(1) of util-linux");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The store that the parent of this process named.
pub(crate) fn store_of_test() -> Store {
    Store::open_at(std::env::var_os("COFRAME_STORE").unwrap()).unwrap()
}

/// Forks, runs `work` in the child and ends it; returns the child's id.
///
/// The children do nothing but work on what is open already: no lock of another thread is in their way.
pub(crate) fn fork(work: impl FnOnce()) -> i32 {
    // SAFETY: see above; the child leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // A test that fails leaves no child behind.
        // SAFETY: asks the kernel for a signal at the parent's death.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let code = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
        // SAFETY: ends the child without the exit handlers of its parent.
        unsafe { libc::_exit(code) };
    }
    pid
}

pub(crate) fn kill(pid: i32) {
    // SAFETY: kill(2) of a child of this process that was not waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Waits for a child; returns whether its work succeeded.
pub(crate) fn wait(pid: i32) -> bool {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// The next of a row of numbers that is the same in each run.
pub(crate) fn random() -> u32 {
    static STATE: AtomicU32 = AtomicU32::new(2_463_534_242);
    let mut x = STATE.load(Ordering::Relaxed);
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    STATE.store(x, Ordering::Relaxed);
    x
}
