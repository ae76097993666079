//! Named steps at which a test can end or stop this process, or fill its store.
//!
//! Without the private feature `_failpoints` a step is an empty function. With it, `COFRAME_FAILPOINT=<action>:<step>`
//! in the environment makes that step send the process SIGKILL (`kill`) or SIGSTOP (`stop`), or fail with ENOSPC
//! (`full`). Tests check that the action happened, so a step that is renamed cannot pass by accident.

#[cfg(not(feature = "_failpoints"))]
pub(crate) fn reach(_step: &str) -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(feature = "_failpoints")]
pub(crate) fn reach(step: &str) -> rustix::io::Result<()> {
    use rustix::process::{Signal, getpid, kill_process};
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();

    let chosen = CHOSEN.get_or_init(|| std::env::var("COFRAME_FAILPOINT").ok());
    let action = chosen.as_deref().and_then(|text| text.strip_suffix(step)?.strip_suffix(':'));
    match action {
        Some("kill") => kill_process(getpid(), Signal::KILL),
        Some("stop") => kill_process(getpid(), Signal::STOP),
        Some("full") => Err(rustix::io::Errno::NOSPC),
        _ => Ok(()),
    }
}
