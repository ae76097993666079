//! Scratch stores that leave nothing behind, and the command run in them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output},
};

use coframe::Store;
use serde_json::Value;
use tempfile::TempDir;

/// A store in memory and a directory for files, removed when the test ends.
pub(crate) struct Scratch {
    directory: TempDir,
}

pub(crate) fn scratch() -> Scratch {
    let directory = tempfile::Builder::new().prefix("coframe-test-").tempdir_in("/dev/shm").unwrap();
    std::fs::create_dir(directory.path().join("files")).unwrap();
    Scratch { directory }
}

/// What a command printed, and its exit code.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Scratch {
    pub(crate) fn store_path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn store(&self) -> Store {
        Store::open_at(self.store_path()).unwrap()
    }

    /// A path for a file of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("files").join(name)
    }

    /// Writes a file and returns its path as an argument.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coframe"));
        command.args(args).env("COFRAME_STORE", self.store_path()).env("COLUMNS", "120").env_remove("NO_COLOR");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    /// Runs a command with a text on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let output = assert_cmd::Command::from_std(self.command(args)).write_stdin(input).output().unwrap();
        ran(output)
    }

    /// Runs a command that must succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        ran.out
    }

    /// Runs a command with `--json` that must succeed, and returns the value.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    }

    /// Runs a command that must fail with this code and one line on standard error, and returns the line.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{args:?}: {}", ran.err);
        let line = ran.err.trim_end().strip_prefix("coframe: ").unwrap_or_else(|| panic!("{}", ran.err));
        line.to_owned()
    }

    /// Names of all entries in the store, without the control file and the store's records (FORMAT.md, section 6).
    pub(crate) fn entries(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.store_path()) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_record = |name: &str| [".home", ".swept"].contains(&name) || name.ends_with(".others");
        let mut names: Vec<String> = names.filter(|name| name != "store" && !is_record(name)).collect();
        names.sort();
        names
    }
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The flights of New York in 2013, which come with the repository.
pub(crate) fn flights() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/flights.parquet").to_str().unwrap().to_owned()
}

/// Kills the child and waits for it when the test ends, however it ends.
pub(crate) struct Reaper(pub(crate) Child);

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
