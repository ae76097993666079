//! Frames that arrive inside serialised values, and holding what a handle names.

use serde::{Deserialize, Deserializer, de};

#[cfg(any(feature = "pool", feature = "sync", feature = "map"))]
use crate::error::Result;
#[cfg(feature = "pool")]
use crate::frame::OpenOptions;
use crate::frame::{Frame, Handle};

/// Opens the frame whose handle was serialised, as [`Handle::open`] does. Maps the segment, copies nothing.
impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let handle = Handle::deserialize(deserializer)?;
        handle.open().map_err(|error| {
            #[cfg(feature = "pool")]
            crate::frame::note_opening_error(format!("{error:?}"));
            de::Error::custom(format_args!("{error:?}"))
        })
    }
}

#[cfg(feature = "pool")]
impl Handle {
    /// Maps the segment without decoding it, so that no sweep removes it. `None` when it is not there.
    pub(crate) fn hold(&self) -> Result<Option<std::sync::Arc<crate::segment::Mapping>>> {
        let store = super::Store::open_existing(&self.store)?;
        let store = match &self.session {
            Some(session) => store.in_session(session)?,
            None => store,
        };
        store.map(&self.name, self.version, &OpenOptions::new())
    }
}

#[cfg(any(feature = "pool", feature = "sync", feature = "map"))]
impl super::Store {
    /// The frames of a session that another process owns.
    pub(crate) fn of_session(path: &std::path::Path, id: &str) -> Result<Self> {
        Self::open_existing(path)?.in_session(id)
    }
}

#[cfg(feature = "pool")]
impl super::Store {
    /// Removes a session whose owner has just died; tries for half a second.
    pub(crate) fn end_session_of_dead(path: &std::path::Path, id: &str) -> Result<()> {
        let store = Self::open_existing(path)?;
        for _ in 0..50 {
            // The owner's lock may outlast it for a moment: it goes with the last reference to its memory.
            if let Some(control) = super::control::Control::try_lock(&store.shared.root)? {
                store.sweep_sessions(&control, &mut super::SweepReport::default());
            }
            if store.in_session(id).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(())
    }
}
