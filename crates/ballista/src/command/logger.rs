//! Records of Ballista and of this program on standard error. Without a logger Ballista fails silently.

use log::{LevelFilter, Log, Metadata, Record};

struct Logger {
    target: String,
    level: LevelFilter,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = if metadata.target().starts_with(&self.target) { self.level } else { LevelFilter::Warn };
        metadata.level() <= level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{} {}: {}", record.level(), record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Takes `LEVEL` or `TARGET=LEVEL`. An unknown level is `warn`.
pub(crate) fn install(text: &str) {
    let (target, level) = text.split_once('=').unwrap_or(("", text));
    let level = level.parse().unwrap_or(LevelFilter::Warn);
    let logger = Box::new(Logger { target: target.to_owned(), level });
    // Fails if another logger was installed, which this program does not do.
    if log::set_boxed_logger(logger).is_ok() {
        log::set_max_level(level.max(LevelFilter::Warn));
    }
}
