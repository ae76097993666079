//! How a command fails: the line that is printed, and the exit code.

use std::{fmt, io, panic::PanicHookInfo, process::ExitCode, sync::Mutex};

use coframe::arrow::error::ArrowError;

use crate::{stdout, text::Text};

/// The result of every command.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1.
    Failed(String),
    /// Exit code 1, for a failure that the command has already reported.
    Reported,
    /// Exit code 2: the arguments contradict each other.
    Usage(String),
    /// Exit code 3: the frame, version or store was not found, or not in time.
    Missing(String),
    /// The reader of standard output closed it. This is not an error.
    ClosedPipe,
}

impl Failure {
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }

    pub(crate) fn missing(message: impl fmt::Display) -> Self {
        Self::Missing(message.to_string())
    }

    /// Returns the failure of a writer, with its target.
    pub(crate) fn writing(what: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        if stdout::pipe_is_closed() {
            return Self::ClosedPipe;
        }
        if let Some(found) = of_coframe(error) {
            return found;
        }
        Self::failed(format_args!("could not write {what}: {}", chain(error)))
    }

    /// Returns the failure of a panic in a library that reads or writes files.
    pub(crate) fn from_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic_text(panic);
        let place = PANIC.lock().ok().and_then(|mut place| place.take()).unwrap_or_default();
        Self::failed(format_args!("internal error{place}, please report it with the command: {text}"))
    }

    /// Prints the line, if it has one, and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::ClosedPipe => return ExitCode::SUCCESS,
            Self::Reported => return ExitCode::from(1),
            Self::Failed(message) => (message, 1),
            Self::Usage(message) => (message, 2),
            Self::Missing(message) => (message, 3),
        };
        // On one line, whatever the source's message contains.
        let line = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        eprintln!("{}", Text::new(format_args!("coframe: {line}")));
        ExitCode::from(code)
    }
}

/// The location of the last panic.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Records the location of a panic, and prints nothing: the error is reported where the panic is caught.
pub(crate) fn note_panic(panic: &PanicHookInfo<'_>) {
    if let (Ok(mut place), Some(location)) = (PANIC.lock(), panic.location()) {
        *place = Some(format!(" at {}:{}", location.file(), location.line()));
    }
}

/// Returns the message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

impl From<coframe::Error> for Failure {
    fn from(error: coframe::Error) -> Self {
        from_coframe(&error)
    }
}

fn from_coframe(error: &coframe::Error) -> Failure {
    let message = chain(error);
    if error.is_not_found() || error.is_superseded() { Failure::Missing(message) } else { Failure::Failed(message) }
}

/// Finds the library's error inside an error of a reader or writer; its text already includes the next step.
fn of_coframe(error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    let arrow = error.downcast_ref::<ArrowError>()?;
    let ArrowError::ExternalError(inner) = arrow else { return None };
    inner.downcast_ref::<coframe::Error>().map(from_coframe)
}

impl From<io::Error> for Failure {
    /// For standard output only: errors of files get their paths where they occur.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::failed(format_args!("could not write to standard output: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

/// Returns a message with its sources, joined by colons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their source in their own message.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Failure, note_panic};

    #[test]
    fn a_panic_is_reported_with_its_place() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(note_panic));
        let panic = std::panic::catch_unwind(|| panic!("lost a row")).unwrap_err();
        std::panic::set_hook(before);
        let Failure::Failed(message) = Failure::from_panic(panic.as_ref()) else { panic!("not a failure") };
        assert!(message.starts_with("internal error at crates/cli/src/failure.rs:"), "{message}");
        assert!(message.ends_with(", please report it with the command: lost a row"), "{message}");
    }
}
