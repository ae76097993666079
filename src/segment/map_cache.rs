//! Maps that stay after their frames, for a process that opens the same frames for each task.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, TryLockError},
    time::{Duration, Instant},
};

use memmap2::Mmap;
use rustix::fs::{AtFlags, CWD, statat};

/// Keeps the pages of recently opened frames mapped, so that the next opening of the same segment causes no page faults.
///
/// Every opening still looks its frame up, locks and checks it. Only the map is reused. A kept map holds no lock, so
/// versions are removed as if it did not exist. But the memory of a removed segment is free only when its map has ended,
/// so call [`release`](Self::release) regularly. Clones share their maps.
///
/// ```
/// use std::time::Duration;
/// use coframe::{MapCache, OpenOptions};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let store = coframe::Store::open_at(dir.path().join("store"))?;
/// let handle = store.publish("x", &polars::df!("x" => [1, 2])?)?.handle();
/// let cache = MapCache::new(4);
/// for task in 0..3 {
///     let frame = handle.open_with(&OpenOptions::new().map_cache(&cache))?; // mapped for the first task
/// }
/// assert_eq!(cache.release(Duration::from_secs(60)), 1);
/// store.remove("x")?;
/// assert_eq!(cache.release(Duration::from_secs(60)), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MapCache {
    most: usize,
    /// The one that was used last is the last.
    maps: Arc<Mutex<Vec<Kept>>>,
}

struct Kept {
    file: (u64, u64),
    path: PathBuf,
    map: Arc<Mmap>,
    used: Instant,
}

impl Kept {
    /// Whether the file still has its name. No other file can get its inode while the map lives.
    fn is_named(&self) -> bool {
        statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.file)
    }
}

impl MapCache {
    /// A cache of `most` maps. The one that was unused for the longest time makes room for another.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, maps: Arc::default() }
    }

    /// Ends the maps that no opening has used for this long, and those of segments that were removed. Returns how many maps
    /// are left.
    ///
    /// Costs one `stat` for each map. Open frames keep their bytes.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn release(&self, unused_for: Duration) -> usize {
        let Some(mut maps) = self.lock() else { return 0 };
        maps.retain(|kept| kept.used.elapsed() < unused_for && kept.is_named());
        maps.len()
    }

    /// The map of a file, if it is kept with this length.
    pub(super) fn get(&self, file: (u64, u64), len: usize) -> Option<Arc<Mmap>> {
        let mut maps = self.lock()?;
        let at = maps.iter().position(|kept| kept.file == file && kept.map.len() == len)?;
        let mut kept = maps.remove(at);
        kept.used = Instant::now();
        let map = kept.map.clone();
        maps.push(kept);
        Some(map)
    }

    pub(super) fn keep(&self, file: (u64, u64), path: &Path, map: &Arc<Mmap>) {
        let Some(mut maps) = self.lock() else { return };
        maps.retain(|kept| kept.file != file && kept.is_named());
        maps.push(Kept { file, path: path.to_owned(), map: map.clone(), used: Instant::now() });
        let extra = maps.len().saturating_sub(self.most);
        maps.drain(..extra);
    }

    /// `None` if another thread has it, which may be one of the parent of a forked child. Then the caller does without.
    fn lock(&self) -> Option<MutexGuard<'_, Vec<Kept>>> {
        match self.maps.try_lock() {
            Ok(maps) => Some(maps),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl fmt::Debug for MapCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapCache").field("most", &self.most).finish_non_exhaustive()
    }
}
