//! Errors of calls between two machines.

use std::fmt;

use tonic::{Code, Status};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. The `is_` methods return the kind of the error; its text names the remote store, the frame and the next
/// step.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    NotFound,
    Denied,
    Unreachable,
    Corrupt,
    Timeout,
    Full,
    Invalid,
    Other,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: line(message, MAX_MESSAGE), source: None }
    }

    pub(crate) fn invalid(what: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(Kind::Invalid, format_args!("{what}: {detail}"))
    }

    pub(crate) fn io(action: impl fmt::Display, error: std::io::Error) -> Self {
        let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Other };
        let message = line(format_args!("cannot {action}: {error}"), MAX_MESSAGE);
        Self { kind, message, source: Some(Box::new(error)) }
    }

    /// A file that cannot be read.
    #[doc(hidden)]
    #[must_use]
    pub fn reading(path: &std::path::Path, error: std::io::Error) -> Self {
        Self::io(format_args!("read `{}`", path.display()), error)
    }

    /// An error of another library.
    #[doc(hidden)]
    #[must_use]
    pub fn from_display(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::invalid(what, error)
    }

    /// An answer of the other side, and what was asked of it.
    pub(crate) fn remote(what: impl fmt::Display, status: &Status) -> Self {
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::Unauthenticated | Code::PermissionDenied => Kind::Denied,
            Code::Unavailable | Code::Aborted => Kind::Unreachable,
            Code::DataLoss => Kind::Corrupt,
            Code::DeadlineExceeded | Code::Cancelled => Kind::Timeout,
            Code::ResourceExhausted => Kind::Full,
            Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented | Code::AlreadyExists => Kind::Invalid,
            // The connection broke inside of an answer.
            Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => Kind::Unreachable,
            _ => Kind::Other,
        };
        let detail = if status.message().is_empty() { status.code().description() } else { status.message() };
        let cause = std::error::Error::source(status).map(|source| format!(" ({})", chain(source))).unwrap_or_default();
        Self::new(kind, format_args!("{what}: {}", text(format_args!("{detail}{cause}"))))
    }

    /// Whether it is an error of the local store.
    pub(crate) fn is_local(&self) -> bool {
        self.source.as_deref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<coframe::Error>)
    }

    /// True if the remote store does not have the frame or version, or no longer has it.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// True if the token is missing or wrong, or if the token or the server allows reading only.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.kind == Kind::Denied
    }

    /// True if the server cannot be reached, or the connection broke. A retry can succeed.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    /// True if bytes changed on the way, or violate a rule of docs/FORMAT.md.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.kind == Kind::Corrupt
    }

    /// True if the other side did not answer in time, or if another process of this machine held a lock for too long.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::Timeout
    }

    /// True if the local store has too little space, or if the server is at one of its limits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kind == Kind::Full
    }

    /// True if an argument cannot be used: a bad name, an option that does not fit, a message that is too large.
    #[must_use]
    pub fn is_invalid_argument(&self) -> bool {
        self.kind == Kind::Invalid
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error of the local store.
impl From<coframe::Error> for Error {
    fn from(error: coframe::Error) -> Self {
        let kind = match &error {
            e if e.is_not_found() || e.is_superseded() => Kind::NotFound,
            e if e.is_corrupt() => Kind::Corrupt,
            e if e.is_no_space() => Kind::Full,
            e if e.is_busy() || e.is_interrupted() => Kind::Timeout,
            e if e.is_invalid_argument() || e.is_conflict() || e.is_unsupported() => Kind::Invalid,
            _ => Kind::Other,
        };
        Self { kind, message: line(&error, MAX_MESSAGE), source: Some(Box::new(error)) }
    }
}

/// Bytes of an error's text that are sent, or shown of an answer, at most.
const MAX_TEXT: usize = 1024;
/// Bytes of the text of an [`Error`] at most: a screen of 24 lines.
const MAX_MESSAGE: usize = 1920;

/// The answer of a server whose store returned an error.
pub(crate) fn status(error: &coframe::Error) -> Status {
    let code = match error {
        e if e.is_not_found() || e.is_superseded() => Code::NotFound,
        e if e.is_corrupt() => Code::DataLoss,
        e if e.is_no_space() => Code::ResourceExhausted,
        e if e.is_busy() => Code::Unavailable,
        e if e.is_conflict() => Code::AlreadyExists,
        e if e.is_unsupported() => Code::Unimplemented,
        e if e.is_invalid_argument() => Code::InvalidArgument,
        _ => Code::Internal,
    };
    Status::new(code, text(error))
}

/// A text that fits a header, in one line.
pub(crate) fn text(error: impl fmt::Display) -> String {
    line(error, MAX_TEXT)
}

/// A text in one line without control characters, which may come from another program. If it has more than this many bytes,
/// it is cut, and ends with its length.
fn line(text: impl fmt::Display, most: usize) -> String {
    let mut text = coframe::visible(&text.to_string()).into_owned();
    if text.len() > most {
        let note = format!(".. ({} bytes)", text.len());
        let end = (0..=most.saturating_sub(note.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str(&note);
    }
    text
}

/// An error and what caused it, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Error, MAX_MESSAGE, MAX_TEXT, text};

    #[test]
    fn a_long_text_is_cut_at_a_character_and_ends_with_its_length() {
        assert_eq!(text("as it is, with \"quotes\" and ümlauts"), "as it is, with \"quotes\" and ümlauts");
        assert_eq!(text("two\nlines\x1b[31m\u{202e}"), "two\\nlines\\u{1b}[31m\\u{202e}");
        let long = text("ü".repeat(10_000));
        assert!(long.len() <= MAX_TEXT && long.ends_with("ü.. (20000 bytes)"), "{long}");
        let error = Error::invalid("\n".repeat(10_000), "the rest").to_string();
        assert!(error.len() <= MAX_MESSAGE && error.ends_with(" bytes)") && !error.contains('\n'), "{error}");
    }
}
