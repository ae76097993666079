//! A ready-made progress bar.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

use super::stream::Progress;

/// Shows a call of the pool as a bar on standard error, one call at a time; indicatif shows nothing unless it is a
/// terminal.
pub(super) fn show() -> impl Fn(Progress) + Send + Sync + 'static {
    let current: Mutex<Option<ProgressBar>> = Mutex::new(None);
    move |progress: Progress| {
        let Ok(mut current) = current.lock() else { return };
        let done = u64::try_from(progress.done).unwrap_or(u64::MAX);
        // A call that failed leaves its bar; the next one starts at zero.
        if let Some(old) = current.take_if(|bar| bar.position() >= done) {
            old.abandon();
        }
        let bar = current.get_or_insert_with(|| start(progress));
        bar.set_position(done);
        if progress.failed > 0 {
            bar.set_message(format!("{} failed", progress.failed));
        }
        if progress.total.is_some_and(|total| progress.done >= total) {
            bar.finish();
            *current = None;
        }
    }
}

fn start(progress: Progress) -> ProgressBar {
    let Some(total) = progress.total else {
        let style = ProgressStyle::with_template("{spinner} {human_pos} tasks, {per_sec}, {elapsed} {msg}");
        return ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    };
    let template = "{wide_bar} {human_pos}/{human_len} tasks, {per_sec}, {eta} left {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)).with_style(style)
}
