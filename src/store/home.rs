//! Whether a store is where it was created, or was copied, unpacked or mounted here (FORMAT.md, rule C2-home).

use std::{
    fmt::Write,
    io::Read,
    sync::{Arc, OnceLock, atomic::Ordering},
};

use rustix::fs::{AtFlags, StatxFlags};

use super::{
    Store,
    control::{Control, YOUNG_CONTROL},
    random_id,
};
use crate::{
    error::{Error, Result},
    segment::{Directory, Draft, Medium, Trust},
};

const FILE: &str = ".home";
/// Enough for all places at which a store is adopted, and quick to read.
const MAX_BYTES: u64 = 1 << 16;

/// `place`, the directory's inode, the time of its creation (nanoseconds since the Unix epoch) and the machine.
fn place(root: &Directory) -> Result<String> {
    let error = |e| Error::os("read the inode of", root.path(), e);
    let (mask, path) = (StatxFlags::INO | StatxFlags::BTIME, root.path());
    let (inode, made) = match rustix::fs::statx(root, "", AtFlags::EMPTY_PATH, mask) {
        Ok(stat) if stat.stx_mask & StatxFlags::BTIME.bits() != 0 => {
            let (seconds, nanoseconds) = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
            (stat.stx_ino, format!("{seconds}.{nanoseconds:09}"))
        }
        Ok(stat) => (stat.stx_ino, "-".to_owned()),
        // Kernels and sandboxes without statx(2).
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            let stat = rustix::fs::fstat(root).map_err(|e| Error::os("read the inode of", path, e))?;
            (stat.st_ino, "-".to_owned())
        }
        Err(e) => return Err(error(e)),
    };
    Ok(format!("place {inode} {made} {}", machine(root.medium())))
}

/// The id of this machine: in memory that of its boot, which containers share; on a disk that of the installation.
fn machine(medium: Medium) -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    static MACHINE: OnceLock<String> = OnceLock::new();
    let (known, path) = match medium {
        Medium::Memory => (&BOOT, "/proc/sys/kernel/random/boot_id"),
        Medium::Disk => (&MACHINE, "/etc/machine-id"),
    };
    known.get_or_init(|| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let id = text.trim();
        let sane = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
        if sane { id.to_owned() } else { "-".to_owned() }
    })
}

fn read(root: &Directory) -> Result<String> {
    let mut text = String::new();
    if let Some(file) = root.open_file(FILE)? {
        // Text that cannot be read contains no place.
        let _ = file.take(MAX_BYTES).read_to_string(&mut text);
    }
    Ok(text)
}

fn is_listed(root: &Directory) -> Result<bool> {
    let (text, place) = (read(root)?, place(root)?);
    Ok(text.lines().any(|line| line == place))
}

/// Adds this place to those at which the store's files are trusted.
pub(super) fn record(root: &Arc<Directory>, others: &str) -> Result<()> {
    let mut text = others.lines().filter(|line| line.starts_with("place ")).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    });
    let _ = writeln!(text, "{}", place(root)?);
    let name = || Ok::<_, Error>(format!("{YOUNG_CONTROL}{:032x}", random_id()?));
    let mut draft = Draft::create(root, || Ok((name()?, ())))?;
    draft.write(&[text.as_bytes()])?;
    let young = name()?;
    draft.link(&young)?;
    root.rename(&young, FILE).inspect_err(|_| drop(root.unlink(&young)))?;
    root.sync()
}

/// Records the place of a new store.
pub(super) fn record_new(root: &Arc<Directory>) -> Result<()> {
    if is_listed(root)? { Ok(()) } else { record(root, "") }
}

impl Store {
    /// Whether the store is where it was created, or was adopted here. Otherwise its files came from elsewhere, and
    /// every value in them is validated when a frame is opened.
    ///
    /// A store that was copied, unpacked from an archive, or is on a disk of another machine came from elsewhere. One
    /// that was renamed did not.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// assert!(store.is_home()?); // created here, not copied from elsewhere
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_home(&self) -> Result<bool> {
        let known = &self.shared.home;
        if known.load(Ordering::Relaxed) || self.shared.root.trust() == Trust::Promised {
            return Ok(true);
        }
        let home = is_listed(&self.shared.root)?;
        known.store(home, Ordering::Relaxed);
        Ok(home)
    }

    /// Trusts the files of a store that came from elsewhere: validates every version of every frame, then records this
    /// place as the store's home. Returns the number of versions.
    ///
    /// Costs in the order of the store's bytes. Cells and dicts cannot be validated: adopt a store with dicts only if you
    /// trust its writer (Python unpickles their values).
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](Error::is_corrupt) for the first version that breaks the format; the store is then unchanged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # store.publish("x", &polars::df!("x" => [1])?)?;
    /// assert_eq!(store.adopt()?, 1);
    /// assert!(store.is_home()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt(&self) -> Result<usize> {
        let mut validated = 0;
        for store in std::iter::once(self.root()).chain(self.sessions()?) {
            for name in store.names()? {
                for version in store.versions(name.as_str())? {
                    store.verify_version(name.as_str(), version)?;
                    validated += 1;
                }
            }
        }
        let root = &self.shared.root;
        let _control = Control::lock(root)?;
        if !is_listed(root)? {
            record(root, &read(root)?)?;
        }
        self.shared.home.store(true, Ordering::Relaxed);
        Ok(validated)
    }

    /// Refuses a cell or dict of a store that came from elsewhere, because it cannot be validated. `what`: "dict `x`".
    #[cfg(feature = "sync")]
    pub(super) fn require_home(&self, what: impl std::fmt::Display) -> Result<()> {
        if self.is_home()? {
            return Ok(());
        }
        Err(crate::error::Kind::Elsewhere { what: what.to_string(), store: self.path().to_owned() }.into())
    }
}
