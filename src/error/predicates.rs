//! The questions that a caller asks an error, except those about tasks.

use super::{Error, Kind};

impl Error {
    /// True if a frame, version or column of that name does not exist, or its session has ended.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert!(store.open("prices").unwrap_err().is_not_found());
    /// assert!(frame.select(["speed"]).unwrap_err().is_not_found());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(*self.kind, Kind::NotFound { .. } | Kind::NoColumn { .. } | Kind::NoStore { .. } | Kind::Ended { .. })
    }

    /// True if the frame existed, but has been replaced by another version or removed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let handle = frame.handle();
    /// drop(frame);
    /// store.publish("flights", &df)?;
    /// assert!(handle.open().unwrap_err().is_superseded());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        matches!(*self.kind, Kind::Superseded { .. })
    }

    /// True if [`PublishMode`](crate::PublishMode) did not allow the version that the name has.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// use coframe::{PublishMode, PublishOptions};
    /// let create = PublishOptions::new().mode(PublishMode::Create);
    /// assert!(store.publish_with("flights", &df, &create).unwrap_err().is_conflict()); // the name exists
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(*self.kind, Kind::Conflict { .. })
    }

    /// True if the store's file system is full.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// match store.publish("flights", &df) {
    ///     Err(error) if error.is_no_space() => println!("remove frames: {error}"),
    ///     result => println!("{}", result?.version()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(*self.kind, Kind::NoSpace { .. })
    }

    /// True if the bytes of a file break the format.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let path = dir.path().join("broken.arrow");
    /// std::fs::write(&path, b"ARROW1\0\0 and then nothing")?;
    /// assert!(store.import("broken", &path).unwrap_err().is_corrupt());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(*self.kind, Kind::Corrupt { .. })
    }

    /// The rule of docs/FORMAT.md that is broken, if [`is_corrupt`](Error::is_corrupt).
    #[must_use]
    pub fn rule(&self) -> Option<&'static str> {
        match *self.kind {
            Kind::Corrupt { rule, .. } => Some(rule),
            _ => None,
        }
    }

    /// True if this build does not support a valid type, file system or format version.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// std::fs::create_dir(dir.path().join("notes"))?;
    /// let path = dir.path().join("feather1.arrow");
    /// std::fs::write(&path, b"FEA1 and more, as Feather version 1 writes it FEA1")?;
    /// assert!(store.import("old", &path).unwrap_err().is_unsupported());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(*self.kind, Kind::Unsupported { .. })
    }

    /// True if a directory is refused because other users own it or can write to it, or a cell or dict because its
    /// store was copied from elsewhere.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        match *self.kind {
            Kind::Untrusted { .. } => true,
            #[cfg(feature = "sync")]
            Kind::Elsewhere { .. } => true,
            _ => false,
        }
    }

    /// True if another process or thread held a lock, a claim or a role until the deadline. A retry can succeed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// use coframe::sync::Latest;
    /// let latest = Latest::create(&store, "latest", [0_u64; 4])?;
    /// let writer = latest.writer()?;
    /// assert!(latest.writer().unwrap_err().is_busy()); // one writer at a time
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(*self.kind, Kind::Busy { .. })
    }

    /// True if the caller ended a wait: see [`interruptible`](crate::interruptible).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let event = coframe::sync::Event::create(&store, "never")?;
    /// let error = coframe::interruptible(|| true, || event.wait()).unwrap_err();
    /// assert!(error.is_interrupted());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(*self.kind, Kind::Interrupted { .. })
    }

    /// True if [`CopyPolicy::Never`](crate::CopyPolicy::Never) refused a copy.
    #[must_use]
    pub fn is_would_copy(&self) -> bool {
        matches!(*self.kind, Kind::WouldCopy { .. })
    }

    /// True if an argument cannot be used: a bad name, a schema that does not match, a range out of bounds.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert!("a/b".parse::<coframe::Name>().unwrap_err().is_invalid_argument());
    /// assert!(frame.slice(2..9).unwrap_err().is_invalid_argument());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_invalid_argument(&self) -> bool {
        matches!(*self.kind, Kind::Invalid { .. })
    }

    /// True if a process died while it held the lock of a cell, or a claim on a part of it, and no process has repaired
    /// the values since.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let point = coframe::sync::Mutex::create(&store, "point", [0_i32; 2])?;
    /// let panic = std::panic::catch_unwind(|| point.update(|_| panic!("half-way")));
    /// assert!(panic.is_err() && point.lock().unwrap_err().is_poisoned());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "sync")]
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(*self.kind, Kind::Poisoned { .. })
    }

    /// True if a barrier is broken: a participant died while it waited, or a wait timed out.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let barrier = coframe::sync::Barrier::create(&store, "start", 2)?;
    /// barrier.abort()?;
    /// assert!(barrier.wait().unwrap_err().is_barrier_broken());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "sync")]
    #[must_use]
    pub fn is_barrier_broken(&self) -> bool {
        matches!(*self.kind, Kind::Broken { .. })
    }
}
