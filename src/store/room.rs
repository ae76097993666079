//! Makes room in a full store with a sweep.

use std::time::Duration;

use super::{Store, control::Control, sweep::SweepReport};
use crate::error::Result;

/// How long a call in a full store waits for the store lock, to sweep.
const PATIENCE: Duration = Duration::from_secs(1);

impl Store {
    /// Runs `attempt`. If the store is full, sweeps it and runs `attempt` again.
    pub(super) fn with_room<R>(&self, mut attempt: impl FnMut() -> Result<R>) -> Result<R> {
        match attempt() {
            Err(error) if error.is_no_space() && self.make_room() => attempt(),
            result => result,
        }
    }

    /// Like [`with_room`](Store::with_room), for a caller that has the store lock.
    #[cfg(feature = "map")]
    pub(super) fn with_room_locked<R>(
        &self,
        control: &mut Control<'_>,
        mut attempt: impl FnMut() -> Result<R>,
    ) -> Result<R> {
        match attempt() {
            Err(error) if error.is_no_space() && self.make_room_locked(control) => attempt(),
            result => result,
        }
    }

    /// Sweeps a full store; whether that removed anything.
    pub(super) fn make_room(&self) -> bool {
        let control = Control::lock_within(&self.shared.root, PATIENCE);
        control.is_ok_and(|mut control| self.make_room_locked(&mut control))
    }

    /// Like [`make_room`](Store::make_room), for a caller that has the store lock.
    pub(super) fn make_room_locked(&self, control: &mut Control<'_>) -> bool {
        self.sweep_locked(control).is_ok_and(|swept: SweepReport| swept.bytes > 0)
    }
}
