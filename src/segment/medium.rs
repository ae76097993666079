//! The kind of a directory's file system, and its free space.

use std::{os::fd::AsFd, path::Path};

use rustix::fs::{fstatfs, fstatvfs};

use crate::error::{Error, Kind, Result};

/// File systems whose `flock`, `linkat`, `rename` and shared maps behave as docs/FORMAT.md, section 7 assumes: name,
/// `f_type` of statfs(2), and whether it is in memory.
const KNOWN: [(&str, u64, bool); 5] = [
    ("tmpfs", 0x0102_1994, true),
    ("ext4", 0xEF53, false),
    ("xfs", 0x5846_5342, false),
    ("btrfs", 0x9123_683E, false),
    ("overlayfs", 0x794C_7630, false),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// Lost at reboot; nothing is synchronised.
    Memory,
    /// Kept at reboot; data and names are synchronised before they become visible.
    Disk,
}

pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

pub(crate) fn medium(directory: impl AsFd, path: &Path) -> Result<Medium> {
    let stat = fstatfs(directory).map_err(|e| Error::os("read the file system of", path, e))?;
    #[expect(clippy::cast_sign_loss, clippy::as_conversions, reason = "f_type is a bit pattern, i64 on this target")]
    let magic = stat.f_type as u64;
    match KNOWN.iter().find(|(_, known, _)| *known == magic) {
        Some((_, _, true)) => Ok(Medium::Memory),
        Some((_, _, false)) => Ok(Medium::Disk),
        None => Err(Error::unsupported(
            format_args!("a store at `{}`, on a file system of type {magic:#x},", path.display()),
            format_args!("use a directory on one of {}", KNOWN.map(|(name, ..)| name).join(", ")),
        )),
    }
}

pub(crate) fn space(directory: impl AsFd, path: &Path) -> Result<Space> {
    let stat = fstatvfs(directory).map_err(|e| Error::os("read the free space of", path, e))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
}

/// Whether a write failed because the file system or a quota is full: ENOSPC or EDQUOT.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Turns ENOSPC and EDQUOT into the error that reports the free space.
pub(crate) fn write_error(
    action: &'static str,
    directory: impl AsFd,
    path: &Path,
    error: impl Into<std::io::Error>,
) -> Error {
    let error = error.into();
    match (is_full(&error), space(directory, path)) {
        (true, Ok(Space { free, total })) => Kind::NoSpace { path: path.to_owned(), needed: None, free, total }.into(),
        _ => Error::os(action, path, error),
    }
}
