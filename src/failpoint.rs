//! Named steps at which a test can end or stop this process, or fill its store.
//!
//! Without the private feature `_failpoints`, a step is an empty function. With it, `COFRAME_FAILPOINT=<action>:<step>`
//! in the environment (several with commas) makes that step send the process SIGKILL (`kill`) or SIGSTOP (`stop`), or
//! fail with ENOSPC (`full`). Tests check that the action happened, so a step that is renamed cannot pass by accident.

#[cfg(not(feature = "_failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "with failpoints it fails")]
pub(crate) fn reach(_step: &str) -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(feature = "_failpoints")]
pub(crate) fn reach(step: &str) -> rustix::io::Result<()> {
    use rustix::process::{Signal, getpid, kill_process};
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();

    let chosen = CHOSEN.get_or_init(|| std::env::var("COFRAME_FAILPOINT").ok());
    let mut chosen = chosen.as_deref().into_iter().flat_map(|text| text.split(','));
    let action = chosen.find_map(|text| text.strip_suffix(step)?.strip_suffix(':'));
    let signal = match action {
        Some("kill") => Signal::KILL,
        Some("stop") => Signal::STOP,
        Some("full") => return Err(rustix::io::Errno::NOSPC),
        _ => return Ok(()),
    };
    kill_process(getpid(), signal)?;
    // Another thread may take the signal; this one must not run on before it takes effect.
    std::thread::sleep(std::time::Duration::from_millis(200));
    Ok(())
}
