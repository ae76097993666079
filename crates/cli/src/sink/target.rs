//! A file that is written atomically.

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};

use crate::failure::{Failure, Result};

/// An unnamed file in the directory of its target, so that a process that is killed leaves nothing.
pub(crate) struct FileTarget {
    path: PathBuf,
    out: BufWriter<File>,
    /// The temporary file on file systems that cannot create unnamed ones; removed when it is dropped.
    named: Option<tempfile::TempPath>,
}

impl FileTarget {
    /// Creates the file. Refuses an existing path unless `force` is set, and any path that is not a regular file.
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self> {
        let path = &named_target(path, force)?;
        let directory = directory(path);
        let failed = |error: io::Error| could_not("create a file in", directory, &error);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let (file, named) = match rustix::fs::open(directory, flags, mode) {
            Ok(file) => (File::from(file), None),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                // With the mode of the umask, and not for the owner alone, which is `tempfile`'s default.
                let permissions = Permissions::from_mode(0o666);
                let named =
                    tempfile::Builder::new().prefix(".coframe-").permissions(permissions).tempfile_in(directory);
                let named = named.map_err(failed)?;
                let (file, path) = named.into_parts();
                (file, Some(path))
            }
            Err(error) => return Err(failed(error.into())),
        };
        Ok(Self { path: path.to_owned(), out: BufWriter::with_capacity(1 << 18, file), named })
    }

    pub(crate) fn out(&mut self) -> &mut (impl Write + Send + use<>) {
        &mut self.out
    }

    /// Gives the file its name once its bytes are on the disk. Returns its size in bytes.
    pub(crate) fn finish(self, force: bool) -> Result<u64> {
        let Self { path, out, named } = self;
        let failed = |error: io::Error| could_not("write", &path, &error);
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_data().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if let Some(named) = named {
            let done = if force { named.persist(&path) } else { named.persist_noclobber(&path) };
            return done.map(|()| bytes).map_err(|error| failed(error.error));
        }
        let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        match linkat(CWD, &open, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => return Ok(bytes),
            Err(rustix::io::Errno::EXIST) if force => {}
            Err(rustix::io::Errno::EXIST) => return Err(exists(&path)),
            Err(error) => return Err(failed(error.into())),
        }
        // The name exists: the file first gets a second name, because only rename(2) replaces atomically.
        let second = directory(&path).join(format!(".coframe-{}", std::process::id()));
        linkat(CWD, &open, CWD, &second, AtFlags::SYMLINK_FOLLOW).map_err(|error| failed(error.into()))?;
        std::fs::rename(&second, &path).map(|()| bytes).map_err(|error| {
            // A file that cannot be renamed must not keep its second name.
            let _ = std::fs::remove_file(&second);
            failed(error)
        })
    }
}

/// Returns the path to write to: the target of a symbolic link, because a rename would replace the link.
fn named_target(path: &Path, force: bool) -> Result<PathBuf> {
    let Ok(found) = path.symlink_metadata() else { return Ok(path.to_owned()) };
    if found.is_dir() {
        return Err(Failure::failed(format_args!("`{}` is a directory; name a file in it", path.display())));
    }
    if !force {
        return Err(exists(path));
    }
    let target = path.canonicalize().map_err(|error| could_not("follow the link", path, &error))?;
    let found = target.metadata().map_err(|error| could_not("inspect", &target, &error))?;
    if !found.is_file() {
        return Err(Failure::failed(format_args!(
            "`{}` is not a regular file, so --force does not replace it; write to standard output (`-`) and redirect it",
            path.display()
        )));
    }
    Ok(target)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn exists(path: &Path) -> Failure {
    Failure::failed(format_args!(
        "`{}` already exists; overwrite it with --force, or choose another file",
        path.display()
    ))
}

fn could_not(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format_args!("could not {action} `{}`: {error}", path.display()))
}
