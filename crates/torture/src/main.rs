//! Attacks on what coframe promises: processes that are killed and stopped at random, and hours at full speed.
//!
//! ```text
//! coframe-torture kill   --kills N --seed S        a store under random SIGKILL, SIGSTOP and SIGCONT
//! coframe-torture exhaust [--deep 1]               room, descriptors, maps and memory that run out; sizes at their limits
//! coframe-torture intrude                          another user, planted files, handles that were made up
//! coframe-torture endure --minutes N --svg FILE    publish, open and drop at full speed; memory drawn over time
//! coframe-torture tables --first N --count N --store DIRECTORY
//!                                                  random tables as frames, and as JSON the rows that readers must find
//! ```
//!
//! The program starts itself again in roles (`role NAME`): publishers, readers, sweepers and so on. docs/RELIABILITY.md
//! lists what was run, and what held.

mod args;
mod cases;
mod content;
mod endure;
mod exhaust;
mod intrude;
mod kill;
mod ledger;
mod random;
mod roles;
#[expect(dead_code, unused_imports, reason = "the tests of other packages use all of it")]
#[expect(unsafe_code, reason = "it names the fields of run-end encoded arrays")]
#[path = "../../../tests/it/tables/mod.rs"]
mod tables;
mod written;

use std::process::ExitCode;

/// Every failure is a message: this program reports and ends.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Returns an error with the message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}
pub(crate) use ensure;

const USAGE: &str = "usage: coframe-torture kill [--kills N] [--seed S]
       coframe-torture exhaust [--deep 1]
       coframe-torture intrude
       coframe-torture endure [--minutes N] [--svg FILE]
       coframe-torture tables --store DIRECTORY [--first N] [--count N]";

fn run() -> Result<()> {
    let mut args = args::Args::from_env();
    match args.command().as_deref() {
        Some("kill") => {
            let (kills, seed) = (args.number("--kills", 300)?, args.number("--seed", random::seed_of_now())?);
            args.finish()?;
            kill::run(kills, seed)
        }
        Some("endure") => {
            let (minutes, svg) = (args.number("--minutes", 1)?, args.text("--svg")?);
            args.finish()?;
            endure::run(minutes, svg.as_deref())
        }
        Some("exhaust") => {
            let deep = args.number("--deep", 0)? != 0;
            args.finish()?;
            exhaust::run(deep)
        }
        Some("tables") => {
            let (first, count) = (args.number("--first", 0)?, args.number("--count", 300)?);
            let store = args.text("--store")?.ok_or(USAGE)?;
            args.finish()?;
            written::run(&store, first..first + count)
        }
        Some("intrude") => intrude::run(),
        Some("case") => match args.command().as_deref() {
            Some("exhaust") => exhaust::run_case(&args.command().unwrap_or_default()),
            _ => intrude::run_case(&args.command().unwrap_or_default()),
        },
        Some("role") => roles::run(&args.command().unwrap_or_default()),
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    // First: this process may be a worker of a pool.
    coframe::pool::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coframe-torture: {error}");
            ExitCode::FAILURE
        }
    }
}
