//! Where mirrors come from, as notes next to them.

use super::Store;
use crate::{
    error::{Error, Result},
    frame::Frame,
    name::Name,
};

/// Prefix of the note of a mirror; the name of its file follows.
const FROM: &str = ".from-";
/// Bytes of a note.
const MAX_ORIGIN: usize = 1024;

impl Store {
    /// Where a mirror of this store came from, as [`MirrorOptions::origin`](crate::MirrorOptions::origin) recorded it;
    /// `None` for other frames, and if nothing was recorded. A label to show: nothing has checked it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("flights", &polars::df!("x" => [1])?)?;
    /// let mut mirror = store.mirror_with("copy", &coframe::MirrorOptions::new().origin("https://host:8815"))?;
    /// mirror.write(&frame.segment_bytes())?;
    /// let copy = mirror.publish()?;
    /// assert_eq!(store.mirror_origin(&copy)?.as_deref(), Some("https://host:8815"));
    /// assert_eq!(store.mirror_origin(&frame)?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mirror_origin(&self, frame: &Frame) -> Result<Option<String>> {
        if !frame.is_mirror() {
            return Ok(None);
        }
        self.frames().read_link(&note(frame.name(), frame.version()))
    }

    /// Records where a new mirror came from.
    pub(super) fn note_origin(&self, frame: &Frame, origin: &str) -> Result<()> {
        let note = note(frame.name(), frame.version());
        // One of an earlier version with this number that was removed.
        self.frames().unlink(&note)?;
        self.frames().write_note(&note, origin)
    }

    /// Removes an entry that is the note of a file that no longer exists. Returns whether the entry is a note.
    pub(super) fn sweep_note(&self, entry: &str) -> Result<bool> {
        let Some(file) = entry.strip_prefix(FROM).filter(|file| Name::parse_file(file).is_some()) else {
            return Ok(false);
        };
        if self.frames().stat(file)?.is_none() {
            self.frames().unlink(entry)?;
        }
        Ok(true)
    }
}

fn note(name: &Name, version: u64) -> String {
    format!("{FROM}{}", name.file(version))
}

pub(super) fn check(origin: &str) -> Result<()> {
    let is_good = !origin.is_empty() && origin.len() <= MAX_ORIGIN && !origin.contains('\0');
    let expected = format_args!("expected 1 to {MAX_ORIGIN} bytes without NUL");
    if is_good { Ok(()) } else { Err(Error::invalid("the origin of a mirror", expected)) }
}
