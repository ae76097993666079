//! The common parts of handles of frames, cells and dicts: escaped paths and names, and ids of sessions.

use std::{
    ffi::OsString,
    fmt::{self, Write},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
};

/// Percent-encodes everything except letters, digits, `/`, `-`, `_` and `.`.
pub(crate) fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        match byte {
            b'/' | b'-' | b'_' | b'.' => f.write_char(char::from(*byte))?,
            byte if byte.is_ascii_alphanumeric() => f.write_char(char::from(*byte))?,
            byte => write!(f, "%{byte:02X}")?,
        }
    }
    Ok(())
}

/// Bytes that `escape` wrote; `None` for anything else.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}

/// The kernel takes no longer path (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// A path that `escape` wrote.
pub(crate) fn unescape_path(text: &str) -> Option<PathBuf> {
    let bytes = unescape(text)?;
    (bytes.len() < LONGEST_PATH).then(|| OsString::from_vec(bytes).into())
}

/// Whether the text has the form of a session's directory name: 32 hexadecimal digits.
pub(crate) fn is_session(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
