//! Files and maps: a checked directory, a file being written, a file being read.
//!
//! Only this folder maps segments. It handles bytes, names and locks, and does not know about Arrow, frames or
//! versions.
//!
//! Kept true here:
//! * a file is mapped only while a shared lock on it is held, and the lock lives exactly as long as the map; a map that a
//!   `MapCache` keeps has no lock, and each frame on it has one;
//! * a file that others could write to is never mapped;
//! * a file gets its name only when it is complete and read-only.

mod directory;
mod draft;
mod growing;
mod lock;
mod map_cache;
mod mapping;
mod medium;
mod owner;
mod private;

#[cfg(any(feature = "sync", feature = "map"))]
pub(crate) use directory::check_owner;
pub(crate) use directory::{Directory, Trust, Unlinked};
pub(crate) use draft::{Draft, Sealed};
pub(crate) use growing::Growing;
pub(crate) use lock::Flock;
pub use map_cache::MapCache;
pub(crate) use mapping::{Mapping, Opened, Writer};
pub(crate) use medium::{Medium, Space};
pub(crate) use owner::{DirectoryLock, owner_lock};
pub(crate) use private::PrivateMapping;
