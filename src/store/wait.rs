//! Waits for a newer version without polling.
//!
//! One inotify instance for the whole process, since a user has 128 of them. No thread is started for it: of all
//! threads that wait, one reads the events and wakes the others.

use std::{
    collections::HashMap,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, WatchFlags},
    process::{Pid, getpid},
};

use super::Store;
use crate::{
    error::Result,
    interrupt::{self, Looks},
    name::Name,
    segment::Directory,
};

impl Store {
    /// Blocks until the latest version of a name is above `newer_than` (0: until the name exists), and returns it;
    /// `None` after the timeout.
    ///
    /// Wakes within microseconds of the publish. Polls, every 20 ms at most, if the user has no inotify instances or
    /// watches left.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](crate::Error::is_not_found) when the session in which it waits has ended, or ends meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let first = store.publish("x", &polars::df!("x" => [1])?)?.version();
    /// assert_eq!(store.wait("x", 0, Duration::ZERO)?, Some(first));
    /// assert_eq!(store.wait("x", first, Duration::from_millis(5))?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&self, name: impl AsRef<str>, newer_than: u64, timeout: Duration) -> Result<Option<u64>> {
        let name = Name::new(name)?;
        let newer = || match self.latest(&name)?.filter(|latest| *latest > newer_than) {
            Some(version) => Ok(Some(version)),
            None => self.check_not_ended().map(|()| None),
        };
        if let Some(version) = newer()? {
            return Ok(Some(version));
        }
        // A timeout beyond what the clock can count means no timeout.
        let deadline = Instant::now().checked_add(timeout);
        let hub = Hub::for_this_process();
        // A publish renames the symlink of its name. The end of a session unlinks the lock file of its owner.
        let end = self.shared.session.as_ref().map_or(WatchFlags::empty(), |_| WatchFlags::DELETE);
        let watch = hub.as_ref().and_then(|hub| hub.watch(self.frames(), WatchFlags::MOVED_TO | end));
        let mut pause = Duration::from_millis(1);
        let mut looks = Looks::new();
        loop {
            // Read before the lookup, so that a change between the two is not missed.
            let seen = watch.as_ref().map(|watch| watch.hub.generation());
            if let Some(version) = newer()? {
                return Ok(Some(version));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            looks.check(|| format!("a version of `{name}` above {newer_than}"))?;
            let slice = interrupt::slice(left);
            if let (Some(watch), Some(seen)) = (&watch, seen) {
                watch.hub.wait(seen, slice);
            } else {
                std::thread::sleep(left.map_or(pause, |left| left.min(pause)));
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    }
}

/// The process's inotify instance.
struct Hub {
    inotify: OwnedFd,
    /// A forked child shares the instance and would consume its parent's events, so it creates another one.
    process: Pid,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts wake-ups.
    generation: u64,
    /// Whether a thread is reading events now.
    read: bool,
    /// Waiting calls for each watch descriptor.
    watches: HashMap<i32, usize>,
}

/// The watch of one call on one directory.
struct Watch {
    hub: Arc<Hub>,
    descriptor: i32,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot leave the data under these locks inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// `None` if the user has no instances left.
    fn for_this_process() -> Option<Arc<Self>> {
        static HUB: Mutex<Option<Arc<Hub>>> = Mutex::new(None);
        let mut hub = locked(&HUB);
        if let Some(hub) = hub.as_ref().filter(|hub| hub.process == getpid()) {
            return Some(hub.clone());
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).ok()?;
        let new = Self { inotify, process: getpid(), state: Mutex::default(), changed: Condvar::new() };
        *hub = Some(Arc::new(new));
        hub.clone()
    }

    fn watch(self: &Arc<Self>, directory: &Directory, events: WatchFlags) -> Option<Watch> {
        let path = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
        let mut state = locked(&self.state);
        let descriptor = inotify::add_watch(&self.inotify, path, events).ok()?;
        *state.watches.entry(descriptor).or_default() += 1;
        Some(Watch { hub: self.clone(), descriptor })
    }

    fn generation(&self) -> u64 {
        locked(&self.state).generation
    }

    /// Blocks until the generation is no longer `seen`, until the limit, or until a spurious wake-up.
    fn wait(&self, seen: u64, limit: Option<Duration>) {
        let mut state = locked(&self.state);
        if state.generation != seen {
            return;
        }
        if state.read {
            // The reader wakes this thread, also when it leaves and another thread must read.
            match limit {
                Some(limit) => drop(self.changed.wait_timeout(state, limit)),
                None => drop(self.changed.wait(state)),
            }
            return;
        }
        state.read = true;
        drop(state);
        let changed = self.read(limit);
        let mut state = locked(&self.state);
        state.read = false;
        state.generation += u64::from(changed);
        self.changed.notify_all();
    }

    /// Waits for events and reads them all; their content does not matter, since all waiting threads check again.
    fn read(&self, limit: Option<Duration>) -> bool {
        let timeout = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut descriptors = [PollFd::new(&self.inotify, PollFlags::IN)];
        if !matches!(poll(&mut descriptors, timeout.as_ref()), Ok(1..)) {
            return false;
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        while events.next().is_ok() {}
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = locked(&self.hub.state);
        if let Some(count) = state.watches.get_mut(&self.descriptor) {
            *count -= 1;
            if *count == 0 {
                state.watches.remove(&self.descriptor);
                // Fails only if the directory, and its watch with it, no longer exists.
                let _ = inotify::remove_watch(&self.hub.inotify, self.descriptor);
            }
        }
    }
}
