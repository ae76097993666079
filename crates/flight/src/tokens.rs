//! Tokens: which callers may read, and which may write.

use std::{fmt, fs::File, io::Read, os::unix::fs::MetadataExt, path::Path};

use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// Shortest token, in bytes.
const MIN_LENGTH: usize = 16;
/// Largest file of tokens, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The tokens that a server accepts.
///
/// In a file: one token a line, after the word `read` or `write`. A write token reads too. Empty lines and lines that
/// start with `#` are skipped.
///
/// ```
/// use coframe_flight::Tokens;
///
/// let tokens: Tokens = "read 0123456789abcdef\nwrite fedcba9876543210".parse()?;
/// assert_eq!(format!("{tokens:?}"), "Tokens { read: 1, write: 1 }");
/// assert!("read short".parse::<Tokens>().is_err());
/// # Ok::<(), coframe_flight::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Tokens(Vec<(Access, Box<[u8]>)>);

impl Tokens {
    /// Reads a file that only this user can read.
    ///
    /// # Errors
    ///
    /// If the file belongs to another user, if others can read it (its mode must be 0600 or 0400), or if a line does not have
    /// the form that [`Tokens`] describes.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        secret(path.as_ref())?.parse()
    }

    /// The access that a token gives. Takes as long for a wrong token as for a right one of the same length.
    pub(crate) fn access(&self, token: &[u8]) -> Option<Access> {
        let mut found = None;
        for (access, known) in &self.0 {
            if bool::from(known.ct_eq(token)) {
                found = found.max(Some(*access));
            }
        }
        found
    }
}

/// The text of a file that only this user can read.
fn secret(path: &Path) -> Result<String> {
    let what = || format!("read the tokens of `{}`", path.display());
    let file = File::open(path).map_err(|e| Error::io(what(), e))?;
    let metadata = file.metadata().map_err(|e| Error::io(what(), e))?;
    let (mode, me) = (metadata.mode() & 0o777, rustix::process::geteuid().as_raw());
    if metadata.uid() != me || mode & 0o077 != 0 {
        let found = format!("it has mode {mode:04o} and belongs to user {}", metadata.uid());
        let next = format!("expected 0600 and user {me}; run chmod 600");
        return Err(Error::invalid(
            format_args!("the file of tokens `{}`", path.display()),
            format!("{found}, {next}"),
        ));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|e| Error::io(what(), e))?;
    Ok(text)
}

/// The token of a client: the first token in a file that only this user can read, with or without the word `read` or `write`.
pub(crate) fn client_token(path: &Path) -> Result<String> {
    let text = secret(path)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().unwrap_or_default();
    let token = ["read ", "write "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line).trim();
    if token.is_empty() {
        return Err(Error::invalid(format_args!("the file `{}`", path.display()), "it has no token"));
    }
    Ok(token.to_owned())
}

impl std::str::FromStr for Tokens {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut tokens = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line is not repeated: it may hold a token.
            let wrong = |detail: &str| Error::invalid(format_args!("line {} of the tokens", at + 1), detail);
            let (word, token) = line.split_once(' ').ok_or_else(|| wrong("expected `read TOKEN` or `write TOKEN`"))?;
            let access = match word {
                "read" => Access::Read,
                "write" => Access::Write,
                _ => return Err(wrong("expected `read TOKEN` or `write TOKEN`")),
            };
            let token = token.trim();
            if token.len() < MIN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("expected a token of 16 or more printable ASCII characters without spaces"));
            }
            tokens.push((access, token.as_bytes().into()));
        }
        if tokens.is_empty() {
            return Err(Error::invalid("the tokens", "found none, expected a line `read TOKEN` or `write TOKEN`"));
        }
        Ok(Self(tokens))
    }
}

/// Never prints a token.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |wanted| self.0.iter().filter(|(access, _)| *access == wanted).count();
        f.debug_struct("Tokens").field("read", &count(Access::Read)).field("write", &count(Access::Write)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Tokens};

    #[test]
    fn a_token_gives_the_access_of_its_line_and_a_wrong_one_none() {
        let tokens: Tokens = "# mine\nread 0123456789abcdef\n\nwrite fedcba9876543210\n".parse().unwrap();
        assert_eq!(tokens.access(b"0123456789abcdef"), Some(Access::Read));
        assert_eq!(tokens.access(b"fedcba9876543210"), Some(Access::Write));
        for wrong in [&b"0123456789abcdee"[..], b"0123456789abcde", b"", b"0123456789abcdef0"] {
            assert_eq!(tokens.access(wrong), None);
        }
    }

    #[test]
    fn an_error_about_a_token_does_not_repeat_it() {
        for bad in ["read hunter2", "admin 0123456789abcdef", "0123456789abcdef", "", "read 0123456789 abcdef"] {
            let error = bad.parse::<Tokens>().unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("0123"), "{error}");
        }
    }
}
