//! A private map of a frame's bytes, for a process that writes to its copy.

use std::sync::Arc;

use super::Store;
use crate::{
    error::Result,
    frame::{Frame, Origin},
    segment::{Mapping, PrivateMapping, Trust},
};

/// The bytes of a frame, mapped privately and writable: copied on write, page by page.
///
/// Writes are visible only here: not in the frame, not in another private map, and not in another process. Only pages
/// that were written to use memory, 4 KiB each.
///
/// The map returns pointers and makes no references, so only `unsafe` code, or a library such as numpy that works with
/// addresses, can write through them.
#[derive(Debug)]
pub struct PrivateBytes {
    shared: Arc<Mapping>,
    private: PrivateMapping,
}

impl PrivateBytes {
    /// The address in the private map of `len` bytes of the frame that start at `bytes`. `None` if the frame does not
    /// have them, because opening it copied them or they belong to something else. Valid while this value lives.
    #[must_use]
    pub fn at(&self, bytes: *const u8, len: usize) -> Option<*mut u8> {
        let offset = bytes.addr().checked_sub(self.shared.bytes().as_ptr().addr())?;
        self.private.at(offset, len)
    }
}

impl Frame {
    /// Maps the frame's bytes again, privately and writable; `None` if its file has lost its name, because an unnamed
    /// file cannot be mapped again.
    ///
    /// Costs as much as opening the frame and copies nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1_i64, 2])?)?;
    /// let column = frame.column("x")?[0].to_data();
    /// let bytes = frame.private_bytes()?.expect("the frame has its name");
    /// assert!(bytes.at(column.buffers()[0].as_ptr(), 16).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_untrusted`](crate::Error::is_untrusted) when other users can now write to the store, and errors of the
    /// operating system.
    pub fn private_bytes(&self) -> Result<Option<PrivateBytes>> {
        match self.map_privately() {
            Err(error) if error.is_not_found() || error.is_missing_path() => Ok(None),
            Ok(private) => Ok(private.map(|private| PrivateBytes { shared: self.mapping().clone(), private })),
            Err(error) => Err(error),
        }
    }

    fn map_privately(&self) -> Result<Option<PrivateMapping>> {
        let Origin { store, session, name, version } = self.origin();
        let store = Store::open_root(store, Trust::Checked, false)?;
        let store = session.as_deref().map_or(Ok(store.clone()), |session| store.in_session(session))?;
        PrivateMapping::new(self.mapping(), store.frames(), &name.file(*version))
    }
}
